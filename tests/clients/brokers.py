"""A broker for a test: started, killed, started again, stopped.

Which broker: `thalweg serve` (THALWEG_BIN, default target/debug/thalweg), or with
THALWEG_TEST_BROKER=apache-kafka the real one, against which these tests were written: what fails
there is a wrong test. Both listen on loopback on a port of their own and keep their data below
target/.

Only processes started here are ended, by their id.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
SUPPORT = REPO / "tests" / "support"
IS_KAFKA = os.environ.get("THALWEG_TEST_BROKER", "thalweg") == "apache-kafka"
# Long enough for a slow machine, short enough that a hang is told as one.
START_SECONDS = 60
STOP_SECONDS = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scratch(name):
    """A new empty folder on the repository's disk (/tmp may be memory, which has no direct I/O)."""
    parent = REPO / "target" / "test-data"
    parent.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(tempfile.mkdtemp(prefix=name + "-", dir=parent))


class Thalweg:
    def __init__(self, directory, port, arguments, settings):
        self.data_dir = directory / "data"
        self.log = directory / "log"
        self.port = port
        self.arguments = [*arguments,
                          *(word for key, value in settings.items()
                            for word in ("--set", f"{key}={value}"))]
        self.process = None

    def start(self):
        binary = os.environ.get("THALWEG_BIN", REPO / "target" / "debug" / "thalweg")
        with open(self.log, "ab") as log:
            start_of_this_run = log.tell()
            self.process = subprocess.Popen(
                [binary, "serve", "--listen", f"127.0.0.1:{self.port}",
                 "--data-dir", self.data_dir, *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = self.log.read_bytes()[start_of_this_run:].decode(errors="replace")
            said = re.sub("\x1b\\[[0-9;]*m", "", said)
            named = re.search(r"listening on \S+:(\d+)", said)
            if named and re.search(r"ready in ", said):
                self.port = int(named.group(1))
                return
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the broker ended at its start with {self.process.returncode}:\n{said}")
            time.sleep(0.005)
        raise AssertionError(f"the broker did not say that it is ready:\n{said}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """A clean stop; the exit code is checked."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no stop within {STOP_SECONDS} s of SIGTERM; log: {self.log}")
        assert code == 0, f"SIGTERM ended with {code}; log: {self.log}"


class ApacheKafka:
    def __init__(self, directory, port, arguments, settings):
        assert not arguments, "thalweg's arguments mean nothing to Kafka"
        self.settings = settings
        self.directory = directory
        self.data_dir = directory / "data"
        self.log = directory / "log"
        self.port = port or free_port()

    def script(self, command, *arguments):
        subprocess.run([SUPPORT / "apache-kafka", command, "--dir", self.directory, *arguments],
                       check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "KAFKA_HEAP_OPTS": "-Xmx512m"})

    def start(self):
        settings = [word for key, value in self.settings.items()
                    for word in ("--set", f"{key}={value}")]
        self.script("start", "--port", str(self.port), *settings)

    def kill(self):
        os.kill(int((self.directory / "pid").read_text()), signal.SIGKILL)

    def stop(self):
        self.script("stop")


class Broker:
    """One broker on one directory, whose port stays the same from start to start."""

    def __init__(self, name, port=0, arguments=(), settings=None):
        self.directory = scratch(name)
        kind = ApacheKafka if IS_KAFKA else Thalweg
        self.inner = kind(self.directory, port, list(arguments), settings or {})

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.inner.port}"

    @property
    def port(self):
        return self.inner.port

    @property
    def data_dir(self):
        return self.inner.data_dir

    def start(self):
        self.inner.start()
        return self

    def kill(self):
        """kill -9."""
        self.inner.kill()

    def stop(self):
        self.inner.stop()

    def log_tail(self):
        return self.inner.log.read_text(errors="replace")[-4000:]

    def segments(self):
        """Every segment's .log file, the partitions of internal topics left out."""
        return sorted(
            path for path in self.data_dir.rglob("*.log")
            if re.fullmatch(r"\d{20}\.log", path.name)
            and not path.parent.name.startswith("__"))

    def remove(self):
        """After a passed test; a failed one leaves its directory to be looked at."""
        shutil.rmtree(self.directory, ignore_errors=True)
