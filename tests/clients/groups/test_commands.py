"""`thalweg group` against a running broker, ours or Kafka."""

import contextlib
import json
import signal
import subprocess
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import THALWEG, Output

SECONDS = 60


def run(broker, *arguments, code=0):
    done = subprocess.run([THALWEG, "group", "-b", broker.bootstrap, *arguments],
                          capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def asked(broker, *arguments):
    return json.loads(run(broker, *arguments, "--output", "json"))


def offsets(broker, group):
    [described] = asked(broker, "describe", group)
    return {(each["topic"], each["partition"]): (each["offset"], each["end"], each["lag"])
            for each in described["partitions"]}


def prepare(broker, topic):
    """Ten records in each of two partitions; the time of record n is n seconds."""
    ask = AdminClient({"bootstrap.servers": broker.bootstrap})
    ask.create_topics([NewTopic(topic, 2, 1)])[topic].result(SECONDS)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(10):
        for partition in range(2):
            producer.produce(topic, b"x", partition=partition, timestamp=1000 + number * 1000)
    producer.flush(SECONDS)


def test_offsets_are_moved(broker, topic, tmp_path):
    prepare(broker, topic)
    group = f"{topic}-g"

    def reset(*place, scope=("--topic", topic)):
        moved = asked(broker, "reset-offsets", "--group", group, *scope, *place)
        return [each["new_offset"] for each in moved]

    assert reset("--to-latest") == [10, 10]
    assert "does not exist" in run(broker, "describe", group, code=1), "a dry run changes nothing"
    assert reset("--to-offset", "4", "--execute") == [4, 4]
    assert offsets(broker, group) == {(topic, 0): (4, 10, 6), (topic, 1): (4, 10, 6)}
    assert reset("--shift-by", "-1", "--execute", scope=("--topic", f"{topic}:1")) == [3]
    assert reset("--to-current", scope=("--all-topics",)) == [4, 3]
    assert reset("--shift-by", "100") == [10, 10], "an offset outside becomes one inside"
    assert reset("--to-datetime", "1970-01-01T00:00:03.000") == [2, 2]
    assert reset("--to-datetime", "1970-01-01T00:00:02.001Z") == [2, 2]
    assert reset("--by-duration", "PT1H") == [10, 10]
    assert reset("--to-earliest", "--dry-run") == [0, 0]
    file = tmp_path / "offsets"
    file.write_text(f'"{group}","{topic}",0,7\nother,{topic},0,1\n{topic},1,8\n')
    assert reset("--from-file", str(file), "--execute", scope=()) == [7, 8]
    assert offsets(broker, group) == {(topic, 0): (7, 10, 3), (topic, 1): (8, 10, 2)}
    assert [each for each in asked(broker, "list") if each["group"] == group] \
        == [{"group": group, "type": "classic", "state": "Empty", "protocol_type": ""}]
    run(broker, "delete-offsets", group, "--topic", f"{topic}:0")
    assert offsets(broker, group) == {(topic, 1): (8, 10, 2)}
    run(broker, "delete", group)
    assert group not in listed(broker)
    assert "GROUP_ID_NOT_FOUND" in run(broker, "delete", group, code=1)


def test_members_are_described(broker, topic):
    prepare(broker, topic)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic,
                         "client.id": "reader", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe([topic])
    got = []
    deadline = time.monotonic() + SECONDS
    while len(got) < 20 and time.monotonic() < deadline:
        got += [each for each in consumer.consume(20, 0.2) if not each.error()]
    consumer.commit(asynchronous=False)
    with polling(consumer):
        check_described(broker, topic)
        refused = run(broker, "reset-offsets", topic, "--topic", topic, "--to-earliest", code=1)
        assert "is Stable" in refused
        assert "NON_EMPTY_GROUP" in run(broker, "delete", topic, code=1)
        assert topic in listed(broker, "--state", "preparingrebalance,stable", "--type", "classic")
        assert topic not in listed(broker, "--state", "empty")
        assert topic not in listed(broker, "--type", "consumer")
    consumer.close()
    assert topic in listed(broker, "--state", "empty", "--type", "classic")


@contextlib.contextmanager
def polling(consumer):
    """It has to go on polling to stay a member; also when the test fails meanwhile it ends."""
    stopping = threading.Event()

    def poll():
        while not stopping.is_set():
            consumer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def listed(broker, *arguments):
    return [each["group"] for each in asked(broker, "list", *arguments)]


def check_described(broker, topic):
    """Of one member, which has read both partitions to their ends."""
    [described] = asked(broker, "describe", topic)
    assert (described["type"], described["state"]) == ("classic", "Stable")
    [member] = described["members"]
    assert member["assignment"] == {topic: [0, 1]}
    assert (member["client_id"], member["host"]) == ("reader", "/127.0.0.1")
    assert {each["member"] for each in described["partitions"]} == {member["member"]}
    assert {each["lag"] for each in described["partitions"]} == {0}
    shown = run(broker, "describe", topic, "--members", "--verbose").splitlines()
    assert shown[0].split() \
        == ["GROUP", "MEMBER", "INSTANCE", "HOST", "CLIENT", "PARTITIONS", "ASSIGNMENT"]
    assert shown[1].split()[-2:] == ["2", f"{topic}:0,1"]
    assert run(broker, "describe", topic, "--state").splitlines()[1].split()[1:3] \
        == ["classic", "Stable"]


def consume(broker, topic, *arguments, shown="%p %o\\n"):
    return [THALWEG, "consume", "-b", broker.bootstrap, topic, "--group", f"{topic}-g",
            "-f", shown, *arguments]


def printed(text):
    return [tuple(map(int, line.split())) for line in text.splitlines()]


def test_the_command_goes_on_where_its_group_was(broker, topic):
    prepare(broker, topic)

    def read(*arguments):
        done = subprocess.run(consume(broker, topic, *arguments), capture_output=True, text=True,
                              timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return printed(done.stdout)

    # Seven of twenty, in the middle of what one fetch gave; then the rest; then nothing.
    first, rest, nothing = read("-n", "7"), read(), read()
    assert (len(first), nothing) == (7, [])
    assert sorted(first + rest) == [(p, o) for p in range(2) for o in range(10)]
    assert offsets(broker, f"{topic}-g") == {(topic, p): (10, 10, 0) for p in range(2)}


def test_commands_and_clients_share_a_topic(broker, topic, tmp_path):
    """The command, as leader and as follower, beside librdkafka in one group."""
    prepare(broker, topic)
    group = f"{topic}-g"
    command = subprocess.Popen(consume(broker, topic, "--follow"), stdout=subprocess.PIPE)
    try:
        output = Output(command.stdout, tmp_path / "printed")

        def first(count):
            found = output.find(r"([^\n]*\n){%d}" % count, SECONDS)
            assert found, output.said
            return printed(found.group())

        assert sorted(first(20)) == [(p, o) for p in range(2) for o in range(10)]
        other = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group,
                          "partition.assignment.strategy": "range"})
        other.subscribe([topic])
        deadline = time.monotonic() + SECONDS
        while len(other.assignment()) != 1:
            assert time.monotonic() < deadline, other.assignment()
            other.poll(0.1)
        [mine] = other.assignment()
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for partition in range(2):
            producer.produce(topic, b"more", partition=partition)
        producer.flush(SECONDS)
        assert first(21)[-1] == (1 - mine.partition, 10)
        message = other.poll(SECONDS)
        assert (message.partition(), message.offset()) == (mine.partition, 10)
        other.close()
    finally:
        command.kill()
        command.wait()


def attentive():
    """In the child: a shell that runs the tests in the background has SIGINT ignored, and that is
    inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped(command, number):
    """Asked to stop by a signal, a command says by its exit code which one, as Kafka's do."""
    command.send_signal(number)
    assert command.wait(SECONDS) == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_membership(broker, topic, tmp_path, number):
    prepare(broker, topic)
    command = subprocess.Popen(consume(broker, topic, "--follow"), stdout=subprocess.PIPE,
                               preexec_fn=attentive)
    try:
        output = Output(command.stdout, tmp_path / "printed")
        assert output.find(r"([^\n]*\n){20}", SECONDS), output.said
        stopped(command, number)
    finally:
        command.kill()
        command.wait()
    [described] = asked(broker, "describe", f"{topic}-g")
    assert (described["state"], described["members"]) == ("Empty", [])
    assert offsets(broker, f"{topic}-g") == {(topic, p): (10, 10, 0) for p in range(2)}


def test_a_signal_ends_the_wait_for_others(broker, topic):
    """The member that is there does not poll: the group waits for it to join again."""
    prepare(broker, topic)
    group = f"{topic}-g"
    idle = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group,
                     "partition.assignment.strategy": "range"})
    idle.subscribe([topic])
    deadline = time.monotonic() + SECONDS
    while not idle.assignment():
        assert time.monotonic() < deadline
        idle.poll(0.1)
    command = subprocess.Popen(consume(broker, topic), stdout=subprocess.DEVNULL)
    try:
        while len(asked(broker, "describe", group)[0]["members"]) < 2:
            assert time.monotonic() < deadline
        stopped(command, signal.SIGTERM)
        while len(asked(broker, "describe", group)[0]["members"]) > 1:
            assert time.monotonic() < deadline
    finally:
        command.kill()
        command.wait()
        idle.close()


def test_a_reader_that_goes_ends_the_membership(broker, topic):
    """More than a pipe holds is still to come when its reader goes."""
    prepare(broker, topic)
    command = subprocess.Popen(consume(broker, topic, "--follow", shown="x" * 100_000),
                               stdout=subprocess.PIPE)
    try:
        assert command.stdout.read(10)
        command.stdout.close()
        assert command.wait(SECONDS) == 0
    finally:
        command.kill()
        command.wait()
    [described] = asked(broker, "describe", f"{topic}-g")
    assert (described["state"], described["members"]) == ("Empty", [])
