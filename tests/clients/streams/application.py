"""A Kafka Streams application under test: its topics, its instances, and what must come out."""

import json
import pathlib
import signal
import subprocess
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from java_tools import LOGGING, class_path, compiled

HERE = pathlib.Path(__file__).parent
PARTITIONS = 3
SECONDS = 60
# Of the first line; all others are seconds later, and none is too old to be kept.
FIRST_TIMESTAMP = int(time.time() - 3 * 3600) * 1000
WINDOW_MS = 60_000
WORDS = ["one", "two", "three", "four", "five", "six", "seven"]
SETTINGS = {
    "commit.interval.ms": 200,
    "repartition.purge.interval.ms": 200,
    "consumer.session.timeout.ms": 6000,
    "consumer.heartbeat.interval.ms": 300,
    # A minute is the least; acceptable.recovery.lag is never reached here.
    "probing.rebalance.interval.ms": 60_000,
}


class Instance:
    """A process of the application, and what it told."""

    def __init__(self, broker, name, number, settings):
        self.events = []
        self.hearing = threading.Condition()
        self.errors = broker.directory / f"{name}-{number}.errors"
        self.state = broker.directory / f"{name}-{number}.state"
        path = f"{compiled(HERE / 'Application.java', 'java-applications')}:" \
            f"{class_path('java-applications')}"
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", LOGGING,
                 "-cp", path, "Application", broker.bootstrap, name, self.state,
                 *(f"{key}={value}" for key, value in settings.items())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.hearing:
                self.events.append(json.loads(line))
                self.hearing.notify_all()
        self.process.wait()
        with self.hearing:
            self.hearing.notify_all()

    def told(self, what):
        with self.hearing:
            return [event for event in self.events if event["what"] == what]

    def await_told(self, what, is_it=lambda event: True, seconds=SECONDS, after=0):
        """The first such event after so many events."""
        def found():
            return next((event for event in self.events[after:]
                         if event["what"] == what and is_it(event)), None)

        with self.hearing:
            self.hearing.wait_for(lambda: found() or self.process.poll() is not None, seconds)
            event = found()
        assert event, f"no {what!r} within {seconds} s:\n{self.events}\n{self.said()}"
        return event

    def await_running(self):
        self.await_told("state", lambda event: event["state"] == "RUNNING")

    def await_tasks(self, is_it):
        """Asks for its tasks until they are as wanted; both sets are returned."""
        deadline = time.monotonic() + SECONDS
        while not is_it(*(tasks := self.tasks())):
            assert time.monotonic() < deadline, (tasks, self.said())
        return tasks

    def tasks(self):
        """The ids of its active tasks, and of its standby tasks."""
        before = len(self.events)
        self.process.stdin.write(b"tasks\n")
        self.process.stdin.flush()
        event = self.await_told("tasks", after=before)
        return set(event["active"]), set(event["standby"])

    def said(self):
        return self.errors.read_text()[-4000:]

    def close(self):
        """As its user would; what it has done is committed then."""
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0, self.said()
        self.reader.join()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join()


class Application:
    def __init__(self, broker, name, **settings):
        self.broker = broker
        self.name = name
        self.settings = SETTINGS | settings
        self.instances = []
        self.lines = []
        self.users = {}
        self.payments = []
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        topics = [self.topic(each) for each in (
            "lines", "users", "payments", "words", "seen", "windows", "greetings", "paid")]
        made = self.admin.create_topics([NewTopic(each, PARTITIONS, 1) for each in topics])
        for each in made.values():
            each.result(SECONDS)
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "acks": "all", "enable.idempotence": True,
            # As the Java clients, or Streams would join what is in different partitions.
            "partitioner": "murmur2_random"})

    def topic(self, of):
        return f"{self.name}-{of}"

    def start(self):
        instance = Instance(self.broker, self.name, len(self.instances), self.settings)
        self.instances.append(instance)
        return instance

    def start_again(self, number):
        """On the state that it left."""
        assert self.instances[number].process.poll() is not None
        self.instances[number] = Instance(self.broker, self.name, number, self.settings)
        return self.instances[number]

    def produce(self, of, key, value, timestamp):
        def acknowledged(error, message):
            assert error is None, error

        self.producer.produce(self.topic(of), value, key, timestamp=timestamp,
                              on_delivery=acknowledged)
        self.producer.poll(0)

    def write_users(self, names):
        for user in names:
            self.users[user] = user.upper()
            # Before any line: of the same time, either may be read first.
            self.produce("users", user, user.upper(), FIRST_TIMESTAMP - 1)
        self.flush()

    def write_lines(self, count):
        """Lines of the users in turn, each paid for within the second by every third of them."""
        users = sorted(self.users)
        for _ in range(count):
            number = len(self.lines)
            timestamp = FIRST_TIMESTAMP + 2000 * number
            user = users[number % len(users)]
            line = f"{number} {WORDS[number % 7]} {WORDS[number % 5]}"
            self.lines.append((user, line, timestamp))
            self.produce("lines", user, line, timestamp)
            if number % 3 == 0:
                self.payments.append(f"{line}|paid-{number}")
                self.produce("payments", user, f"paid-{number}", timestamp + 500)

    def flush(self):
        assert self.producer.flush(SECONDS) == 0

    def expected(self):
        """What each topic must hold in the end: its latest values, or all of them."""
        words, windows, seen = Counter(), Counter(), {}
        for user, line, timestamp in self.lines:
            number, *found = line.split()
            words.update(found)
            windows[f"{user}@{timestamp - timestamp % WINDOW_MS}"] += 1
            for word in found:
                seen.setdefault(word, set()).add(number)
        return {
            "words": dict(words), "windows": dict(windows), "seen": seen,
            "greetings": [f"{self.users[user]} wrote {line}" for user, line, _ in self.lines],
            "paid": self.payments,
        }

    def end(self):
        for instance in self.instances:
            if instance.process.poll() is None:
                instance.kill()


def told_apart(found, wanted):
    """What is too much and what is missing, in few words."""
    if isinstance(found, dict):
        wrong = {key: (found.get(key), value) for key, value in wanted.items()
                 if found.get(key) != value}
        return f"{len(wrong)} values: {wrong}"[:1000]
    more, less = Counter(found) - Counter(wanted), Counter(wanted) - Counter(found)
    return f"{more.total()} too many: {more}"[:500] + f", {less.total()} missing: {less}"[:500]


class Results:
    """What the application has written so far, read on and on."""

    FORMS = {
        "words": lambda value: int.from_bytes(value, "big"),
        "windows": lambda value: int.from_bytes(value, "big"),
        "seen": lambda value: set(value.decode().split()),
        "greetings": bytes.decode,
        "paid": bytes.decode,
    }
    # Of these the latest value of each key counts; of the others every record.
    TABLES = ["words", "windows", "seen"]

    def __init__(self, application):
        self.application = application
        self.found = {of: {} if of in self.TABLES else [] for of in self.FORMS}
        self.count = 0
        self.consumer = Consumer({
            "bootstrap.servers": application.broker.bootstrap, "group.id": application.name + "-r",
            "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        self.consumer.assign([TopicPartition(application.topic(of), partition, 0)
                              for of in self.FORMS for partition in range(PARTITIONS)])

    def read_on(self):
        for got in self.consumer.consume(1000, 0.2):
            assert not got.error(), got.error()
            of = got.topic().rpartition("-")[2]
            value = self.FORMS[of](got.value())
            self.count += 1
            if of in self.TABLES:
                self.found[of][got.key().decode()] = value
            else:
                self.found[of].append(value)

    def lacking(self, exactly):
        """The topics that do not yet hold what they must."""
        lacking = {}
        for of, wanted in self.application.expected().items():
            found = self.found[of]
            if of not in self.TABLES:
                enough = Counter(found) == Counter(wanted) if exactly else set(found) == set(wanted)
            elif exactly or of == "seen":
                enough = found == wanted
            else:
                enough = all(found.get(key, 0) >= count for key, count in wanted.items())
            if not enough:
                lacking[of] = told_apart(found, wanted)
        return lacking

    def await_all(self, exactly=True):
        """Until all is there: each record counted once, or where that may not be, at least once."""
        deadline = time.monotonic() + SECONDS
        while lacking := self.lacking(exactly):
            assert time.monotonic() < deadline, lacking
            self.read_on()

    def await_more(self):
        """Until something comes that was not there."""
        before, deadline = self.count, time.monotonic() + SECONDS
        while self.count == before:
            assert time.monotonic() < deadline, "nothing is written any more"
            self.read_on()

    def check_order(self):
        """What is about one user is in the order in which it was written."""
        by_user = {}
        for greeting in self.found["greetings"]:
            user, _, line = greeting.partition(" wrote ")
            by_user.setdefault(user, []).append(int(line.split()[0]))
        assert all(numbers == sorted(numbers) for numbers in by_user.values()), by_user

    def close(self):
        self.consumer.close()
