"""A group under test: member processes that come, go, die and stall, and what they told.

What must hold, whatever happens to members or broker:
- a partition has one owner at most at any time, from the moment a member hears that it is assigned
  to the moment it hears that it is revoked, or is killed or stopped;
- every record that was acknowledged to its producer is told by some member.
"""

import itertools
import json
import pathlib
import signal
import subprocess
import threading
import time

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import REPO, SUPPORT
from java_tools import LOGGING, class_path, compiled

HERE = pathlib.Path(__file__).parent
PARTITIONS = 4
# Sessions last 6 s; the rest is for a slow machine.
SECONDS = 60


def python_of(client):
    made = subprocess.run([SUPPORT / "environment", client], check=True, capture_output=True,
                          text=True)
    return pathlib.Path(made.stdout.strip()) / "bin" / "python"


def command_of(client):
    if client == "java":
        path = f"{compiled(HERE / 'Member.java')}:{class_path()}"
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", LOGGING,
                "-cp", path, "Member"]
    return [python_of(client), HERE / "member.py"]


class Process:
    """Some members in one process."""

    def __init__(self, group, client, protocol, assignor, count):
        self.group = group
        self.events = []
        # The partitions of each member, by its number.
        self.shares = {number: set() for number in range(count)}
        errors = open(group.errors, "ab")
        self.inner = subprocess.Popen(
            [*command_of(client), client, group.bootstrap, group.name, group.topic, protocol,
             assignor, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.inner.stdout:
            self._take(json.loads(line))
        # Who looks then must find that it has ended.
        self.inner.wait()
        self.group.hear()

    def _take(self, event):
        with self.group.hearing:
            self.events.append(event)
            if event["what"] == "assigned":
                self.shares[event["member"]] |= set(event["partitions"])
            elif event["what"] in ("revoked", "lost"):
                self.shares[event["member"]] -= set(event["partitions"])
            for partition, offset in event.get("records", ()):
                self.group.told[partition].add(offset)
            self.group.hear()

    def mark(self, what):
        """Whatever its members own, they own it no longer."""
        self._take({"at": time.monotonic_ns(), "member": None, "what": what, "partitions": []})

    def leave(self):
        self.inner.stdin.close()
        assert self.inner.wait(SECONDS) == 0
        self.reader.join()

    def kill(self):
        self.mark("killed")
        self.inner.send_signal(signal.SIGKILL)
        self.inner.wait()
        self.reader.join()

    def stall(self):
        self.inner.send_signal(signal.SIGSTOP)
        self.mark("stalled")

    def go_on(self):
        self.inner.send_signal(signal.SIGCONT)


class Group:
    """Its name is its topic's, too. Kinds are (client, protocol, assignor), taken in turn."""

    def __init__(self, broker, name, *kinds):
        self.name = name
        self.topic = name
        self.bootstrap = broker.bootstrap
        self.errors = broker.directory / f"{name}.errors"
        self.kinds = itertools.cycle(kinds)
        self.processes = []
        self.acknowledged = [0] * PARTITIONS
        # Offsets that some member told, by partition.
        self.told = [set() for _ in range(PARTITIONS)]
        self.heard = 0
        self.hearing = threading.Condition()
        self.produced_enough = threading.Event()
        self.is_cut_off = threading.Event()
        self.ask_anew()
        self.admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(SECONDS)
        self.producing = threading.Thread(target=self._produce, daemon=True)
        self.producing.start()

    def _produce(self):
        """Some records a second, until there are enough."""
        def is_in_trouble(error):
            if error.code() == KafkaError._ALL_BROKERS_DOWN:
                self.is_cut_off.set()

        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all",
                             "enable.idempotence": True, "error_cb": is_in_trouble})

        def acknowledged(error, message):
            assert error is None, error
            partition = message.partition()
            self.acknowledged[partition] = max(self.acknowledged[partition], message.offset() + 1)

        while not self.produced_enough.wait(0.02):
            for partition in range(PARTITIONS):
                producer.produce(self.topic, b"x", partition=partition,
                                 on_delivery=acknowledged)
            producer.poll(0)
        assert producer.flush(SECONDS) == 0

    def start(self, count=1):
        """So many members of the next kind."""
        process = Process(self, *next(self.kinds), count)
        self.processes.append(process)
        return process

    def ask_anew(self):
        """After the broker was away: librdkafka's admin client then loses requests."""
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})

    def described(self):
        """The state, and the partitions of each member by its id, as the broker says."""
        asked = self.admin.describe_consumer_groups([self.name], request_timeout=SECONDS)
        found = asked[self.name].result(SECONDS)
        return found.state.name, {
            member.member_id: {each.partition for each in member.assignment.topic_partitions}
            for member in found.members}

    def hear(self):
        """A member told something, or its process ended."""
        with self.hearing:
            self.heard += 1
            self.hearing.notify_all()

    def looks(self):
        """One look now, and one after each thing that is heard, while there is time."""
        deadline = time.monotonic() + SECONDS
        while (left := deadline - time.monotonic()) > 0:
            before = self.heard
            yield
            with self.hearing:
                self.hearing.wait_for(lambda: self.heard != before, left)

    def await_members(self, *processes):
        """Until the members of these, and no others, share all partitions evenly."""
        for _ in self.looks():
            with self.hearing:
                shares = [set(share) for each in processes for share in each.shares.values()]
            sizes = [len(share) for share in shares]
            if (sum(sizes) == PARTITIONS and set().union(*shares) == set(range(PARTITIONS))
                    and max(sizes) - min(sizes) <= 1):
                state, described = self.described()
                if state == "STABLE" and sorted(map(sorted, described.values())) \
                        == sorted(map(sorted, shares)):
                    return
            for process in processes:
                assert process.inner.poll() is None, \
                    f"a member of {self.name} ended:\n{self.errors.read_text()}"
        raise AssertionError(f"{self.name}: {shares} after {SECONDS} s")

    def await_told(self, more):
        """So many more records of each partition."""
        wanted = [len(told) + more for told in self.told]
        for _ in self.looks():
            if all(len(told) >= least for told, least in zip(self.told, wanted)):
                return
        raise AssertionError(f"{self.name} reads no more")

    def rebalances(self):
        """How often its members heard of a change of their partitions."""
        return sum(event["what"] in ("assigned", "revoked", "lost")
                   for process in self.processes for event in list(process.events))

    def await_records(self):
        """Stop producing; every acknowledged record is told by somebody, none is skipped."""
        self.produced_enough.set()
        self.producing.join()
        assert min(self.acknowledged) > 0
        for _ in self.looks():
            missing = [sorted(set(range(end)) - told)
                       for end, told in zip(self.acknowledged, self.told)]
            if not any(missing):
                return
        raise AssertionError(f"{self.name} skipped {missing}")

    def check_owners(self):
        """No partition had two owners at a time."""
        events = [(event["at"], number, event) for number, process in enumerate(self.processes)
                  for event in process.events]
        owners = {}
        for _, number, event in sorted(events, key=lambda each: each[:2]):
            member = (number, event["member"])
            if event["what"] in ("killed", "stalled"):
                owners = {each: owner for each, owner in owners.items() if owner[0] != number}
            for partition in event["partitions"]:
                if event["what"] == "assigned":
                    other = owners.get(partition, member)
                    assert other == member, \
                        f"{self.name}-{partition} goes to {member} while {other} has it:\n" \
                        + self.told_of_partitions()
                    owners[partition] = member
                elif owners.get(partition) == member:
                    del owners[partition]

    def told_of_partitions(self):
        """Who had what, and when, in seconds from the first event on."""
        events = sorted((event["at"], number, event["member"], event["what"], event["partitions"])
                        for number, process in enumerate(self.processes)
                        for event in process.events if event["what"] != "records")
        return "\n".join(f"{(at - events[0][0]) / 1e9:8.3f} {number}.{member} {what} {partitions}"
                         for at, number, member, what, partitions in events)

    def end(self):
        self.produced_enough.set()
        for process in self.processes:
            if process.inner.poll() is None:
                process.inner.kill()
                process.inner.wait()

    def finish(self):
        """All that must hold at the end."""
        self.await_records()
        for process in self.processes:
            if process.inner.poll() is None:
                process.leave()
        self.check_owners()
