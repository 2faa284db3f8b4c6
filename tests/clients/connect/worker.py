"""Processes of Kafka Connect: started, asked by their REST interface, stopped, killed."""

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from brokers import free_port
from java_tools import LOGGING, class_path

# A rebalance of workers takes a while on a slow machine.
SECONDS = 60
STRING = "org.apache.kafka.connect.storage.StringConverter"
COMMON = {
    "key.converter": STRING,
    "value.converter": STRING,
    "plugin.discovery": "service_load",
    "offset.flush.interval.ms": 500,
    # Of the sinks' own groups: those of a killed worker are missed soon.
    "consumer.session.timeout.ms": 6000,
    "consumer.heartbeat.interval.ms": 300,
}


def write_properties(path, settings):
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


class Process:
    """A main class of Connect's with its settings in files, and what it says in a file."""

    def __init__(self, main_class, log, *files):
        self.main_class = main_class
        self.log = log
        self.files = files
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", LOGGING,
                 "-cp", str(class_path("java-applications")),
                 f"org.apache.kafka.connect.{self.main_class}", *self.files],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def said(self):
        """The end of its log, without the requests that it was sent."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "RestServer)" not in line)[-4000:]

    def complaints(self):
        return re.findall(r"^\[.*?\] ERROR .*$", self.log.read_text(errors="replace"), re.MULTILINE)

    def look_again(self, deadline, seen):
        """Some time later, unless time is over or the worker has ended."""
        assert time.monotonic() < deadline, f"{seen} after {SECONDS} s:\n{self.said()}"
        try:
            code = self.process.wait(0.1)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"{self.main_class} ended with {code}:\n{self.said()}")

    def stop(self):
        """As its user would; what its sinks have written is committed then."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(SECONDS)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Worker(Process):
    """Its port stays the same from start to start."""

    def __init__(self, kind, folder, name, settings, *connectors):
        self.port = free_port()
        settings = COMMON | {"listeners": f"http://127.0.0.1:{self.port}"} | settings
        super().__init__(f"cli.Connect{kind}", folder / f"{name}.log",
                         write_properties(folder / f"{name}.properties", settings), *connectors)

    def ask(self, method, path, body=None):
        """Status and answer; a status of 0 where nobody listens."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode(errors="replace")
        except OSError as absent:
            return 0, str(absent)

    def await_answer(self, method, path, body=None, is_it=lambda answer: True):
        """Asks until the answer is right: a worker that starts or rebalances refuses."""
        deadline = time.monotonic() + SECONDS
        while True:
            status, answer = self.ask(method, path, body)
            if status // 100 == 2 and is_it(answer):
                return answer
            self.look_again(deadline, (path, status, answer))


def await_lines(path, wanted, worker, exactly=True):
    """Until a file has these lines; each once, in order, unless it may be more often."""
    deadline = time.monotonic() + SECONDS
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        # Of lines that came twice the first one counts.
        if (lines if exactly else list(dict.fromkeys(lines))) == wanted:
            return
        worker.look_again(deadline, f"{len(lines)} of {len(wanted)} lines, {lines[-1:]}")
