"""confluent-kafka (librdkafka) in groups: commits, the classic protocol, KIP-848."""

import sys
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import Broker

SECONDS = 30


def admin(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def create(broker, topic, partitions):
    # Kept by name: its futures die with it.
    ask = admin(broker)
    ask.create_topics([NewTopic(topic, partitions, 1)])[topic].result(SECONDS)


def consumer(broker, group, **settings):
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group,
                     "auto.offset.reset": "earliest", **settings})


def patiently(ask):
    """Kafka's coordinator is named a moment before it coordinates."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_COORDINATOR or time.monotonic() > deadline:
                raise


def committed(broker, group, topic, partitions):
    asking = consumer(broker, group)
    asked = [TopicPartition(topic, index) for index in range(partitions)]
    found = patiently(lambda: asking.committed(asked, timeout=SECONDS))
    asking.close()
    return [(each.offset, each.metadata) for each in found]


@pytest.fixture
def own_broker(request):
    """A broker of the test's own, with the settings that it is parametrized with."""
    started = Broker(request.node.name, settings=getattr(request, "param", {})).start()
    try:
        yield started
    finally:
        started.stop()
    started.remove()


def test_commits_outlive_kill_and_restart(own_broker):
    """What was answered is there after kill -9, and after a clean stop."""
    broker = own_broker
    create(broker, "t", 4)
    committing = consumer(broker, "g")
    for offset in range(50):
        offsets = [TopicPartition("t", index, offset + index, f"m{offset}") for index in range(3)]
        patiently(lambda: committing.commit(offsets=offsets, asynchronous=False))
    broker.kill()
    expected = [(49, "m49"), (50, "m49"), (51, "m49"), (-1001, None)]
    broker.start()
    assert committed(broker, "g", "t", 4) == expected
    broker.stop()
    broker.start()
    assert committed(broker, "g", "t", 4) == expected
    committing.close()


@pytest.mark.parametrize("own_broker", [{
    "offsets.topic.segment.bytes": 1 << 20,
    "log.cleaner.backoff.ms": 100,
    "log.cleaner.min.cleanable.ratio": 0.1,
}], indirect=True, ids=["small-segments"])
def test_commits_are_compacted(own_broker):
    """Sixty commits of a thousand partitions take the room of one, and loading finds the last."""

    expected = [(590 + index, None) for index in range(1000)]

    def on_disk():
        try:
            logs = [path.stat() for path in own_broker.data_dir.rglob("0*.log")]
        except FileNotFoundError:  # a cleaning took it away while we looked
            return sys.maxsize
        return sum(log.st_blocks * 512 for log in logs)

    create(own_broker, "t", 1000)
    committing = consumer(own_broker, "g")
    for number in range(60):
        offsets = [TopicPartition("t", index, 10 * number + index) for index in range(1000)]
        patiently(lambda: committing.commit(offsets=offsets, asynchronous=False))
    committing.close()
    deadline = time.monotonic() + SECONDS
    while on_disk() > 2_000_000:
        assert time.monotonic() < deadline, f"{on_disk()} bytes remain after {SECONDS} s"
        assert committed(own_broker, "g", "t", 1000) == expected
    own_broker.kill()
    own_broker.start()
    assert committed(own_broker, "g", "t", 1000) == expected


def test_groups_are_listed_and_deleted(broker, topic):
    create(broker, topic, 1)
    for group in [f"{topic}-a", f"{topic}-b"]:
        committing = consumer(broker, group)
        offsets = [TopicPartition(topic, 0, 7)]
        patiently(lambda: committing.commit(offsets=offsets, asynchronous=False))
        committing.close()
    ask = admin(broker)
    listed = ask.list_consumer_groups().result(SECONDS).valid
    ours = {each.group_id for each in listed if each.group_id.startswith(topic)}
    assert ours == {f"{topic}-a", f"{topic}-b"}
    ask.delete_consumer_groups([f"{topic}-a"])[f"{topic}-a"].result(SECONDS)
    assert committed(broker, f"{topic}-a", topic, 1) == [(-1001, None)]
    assert committed(broker, f"{topic}-b", topic, 1) == [(7, None)]


def test_the_offsets_topic_is_the_brokers(broker, topic):
    """It is flagged internal, and clients do not write to it."""
    create(broker, topic, 1)
    committed(broker, topic, topic, 1)
    metadata = admin(broker).list_topics(timeout=SECONDS)
    assert len(metadata.topics["__consumer_offsets"].partitions) == 50
    outcome = []
    writing = Producer({"bootstrap.servers": broker.bootstrap})
    writing.produce("__consumer_offsets", b"x", on_delivery=lambda error, _: outcome.append(error))
    writing.flush(SECONDS)
    assert [each.name() for each in outcome] == ["TOPIC_EXCEPTION"]
