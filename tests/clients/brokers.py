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
import threading

REPO = pathlib.Path(__file__).resolve().parents[2]
SUPPORT = REPO / "tests" / "support"
THALWEG = os.environ.get("THALWEG_BIN", REPO / "target" / "debug" / "thalweg")
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


class Output:
    """What a process says: appended to a file line by line, and awaited."""

    def __init__(self, stream, path):
        self.said = ""
        self.has_ended = False
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read, args=(stream, path), daemon=True)
        self.reader.start()

    def _read(self, stream, path):
        with stream, open(path, "ab", buffering=0) as log:
            for line in stream:
                log.write(line)
                with self.news:
                    self.said += re.sub("\x1b\\[[0-9;]*m", "", line.decode(errors="replace"))
                    self.news.notify_all()
        with self.news:
            self.has_ended = True
            self.news.notify_all()

    def find(self, pattern, seconds):
        """The match, once there is one; None when the process ends or time is over before."""
        def found():
            return re.search(pattern, self.said, re.DOTALL)

        with self.news:
            self.news.wait_for(lambda: found() or self.has_ended, seconds)
            return found()


class Thalweg:
    def __init__(self, directory, port, arguments, settings):
        self.data_dir = directory / "data"
        self.log = directory / "log"
        self.port = port
        self.arguments = [*arguments,
                          *(word for key, value in settings.items()
                            for word in ("--set", f"{key}={value}"))]
        self.process = None
        self.output = None

    def start(self):
        self.process = subprocess.Popen(
            [THALWEG, "serve", "--listen", f"127.0.0.1:{self.port}",
             "--data-dir", self.data_dir, *self.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = Output(self.process.stdout, self.log)
        named = self.output.find(r"listening on \S+:(\d+)\n.*ready in ", START_SECONDS)
        if named is None:
            self.process.kill()
            code = self.wait(None)
            raise AssertionError(f"the broker was not ready within {START_SECONDS} s, or ended "
                                 f"before, with {code}:\n{self.output.said}")
        self.port = int(named.group(1))

    def wait(self, seconds):
        """Its exit code, once all that it said is in the log."""
        code = self.process.wait(seconds)
        self.output.reader.join()
        return code

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.wait(None)

    def stop(self):
        """A clean stop; the exit code is checked."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.wait(STOP_SECONDS)
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
