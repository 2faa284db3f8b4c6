"""MirrorMaker 2 between two brokers: records, settings and the offsets of groups."""

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from brokers import Broker
from worker import SECONDS, Process, write_properties

PARTITIONS = 3
FIRST_TIMESTAMP = int(time.time() - 600) * 1000
SETTINGS = {
    "clusters": "a, b",
    "a->b.enabled": "true",
    "topics": "orders",
    "groups": "readers",
    "replication.factor": 1,
    "checkpoints.topic.replication.factor": 1,
    "heartbeats.topic.replication.factor": 1,
    "offset-syncs.topic.replication.factor": 1,
    "offset.storage.replication.factor": 1,
    "status.storage.replication.factor": 1,
    "config.storage.replication.factor": 1,
    "offset.storage.partitions": 1,
    "status.storage.partitions": 1,
    "scheduled.rebalance.max.delay.ms": 0,
    "sync.group.offsets.enabled": "true",
    # The place of every record is kept, and so every committed offset can be told.
    "offset.lag.max": 0,
} | {f"{each}.interval.seconds": 1 for each in [
    "refresh.topics", "refresh.groups", "sync.topic.configs", "sync.topic.acls",
    "sync.group.offsets", "emit.checkpoints", "emit.heartbeats"]}


class Side:
    """One of the two brokers."""

    def __init__(self, name):
        self.broker = Broker(f"mirror-{name}",
                             settings={"group.initial.rebalance.delay.ms": 0}).start()
        self.settings = {"bootstrap.servers": self.broker.bootstrap}
        self.admin = AdminClient(self.settings)

    def partitions(self, topic):
        """How many; 0 of a topic that is not there."""
        found = self.admin.list_topics(timeout=SECONDS).topics
        return len(found[topic].partitions) if topic in found else 0

    def retention(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        return self.admin.describe_configs([resource])[resource].result(SECONDS)[
            "retention.ms"].value

    def consumer(self, group):
        return Consumer(self.settings | {
            "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})

    def committed(self, topic):
        """Of the group, one offset for each partition; below zero where there is none."""
        consumer = self.consumer("readers")
        try:
            found = consumer.committed([TopicPartition(topic, number)
                                        for number in range(PARTITIONS)], SECONDS)
            return [each.offset for each in found]
        finally:
            consumer.close()

    def read(self, topic):
        """All there is, of each partition: key, value, headers and time of each record."""
        consumer = self.consumer("none")
        try:
            left, records = {}, {}
            for number in range(self.partitions(topic)):
                ends = consumer.get_watermark_offsets(TopicPartition(topic, number), SECONDS)
                records[number] = []
                if ends[1] > 0:
                    left[number] = ends[1]
            consumer.assign([TopicPartition(topic, number, 0) for number in left])
            deadline = time.monotonic() + SECONDS
            while left:
                assert time.monotonic() < deadline, left
                for got in consumer.consume(1000, 0.2):
                    assert not got.error(), got.error()
                    records[got.partition()].append(
                        (got.key(), got.value(), got.headers(), got.timestamp()[1]))
                    if got.offset() + 1 == left.get(got.partition()):
                        del left[got.partition()]
            return records
        finally:
            consumer.close()

    def end(self):
        self.broker.stop()
        self.broker.remove()


@pytest.fixture
def sides():
    both = [Side("from"), Side("to")]
    yield both
    for side in both:
        side.end()


@pytest.fixture
def mirror(sides, tmp_path):
    source, target = sides
    addresses = {"a.bootstrap.servers": source.broker.bootstrap,
                 "b.bootstrap.servers": target.broker.bootstrap}
    process = Process("mirror.MirrorMaker", tmp_path / "mirror.log",
                      write_properties(tmp_path / "mirror.properties", SETTINGS | addresses))
    yield process
    if process.process and process.process.poll() is None:
        process.kill()


class Orders:
    """What is written to the source, by partition."""

    def __init__(self, side):
        self.producer = Producer(side.settings | {"acks": "all", "enable.idempotence": True})
        self.records = {number: [] for number in range(PARTITIONS)}

    def write(self, count):
        for _ in range(count):
            number = sum(map(len, self.records.values()))
            record = (f"key {number}".encode(), f"order {number}".encode(),
                      [("number", str(number).encode())], FIRST_TIMESTAMP + number)
            self.records[number % PARTITIONS].append(record)
            self.producer.produce("orders", record[1], record[0], number % PARTITIONS,
                                  headers=record[2], timestamp=record[3])
        assert self.producer.flush(SECONDS) == 0


def until(process, wanted, look):
    """Looks until it is as wanted."""
    deadline = time.monotonic() + SECONDS
    while (found := look()) != wanted:
        process.look_again(deadline, str(found)[:2000])


def commit_the_end(side, orders):
    consumer = side.consumer("readers")
    consumer.commit(offsets=[TopicPartition("orders", number, len(all))
                             for number, all in orders.records.items()], asynchronous=False)
    consumer.close()


def test_mirror(sides, mirror):
    source, target = sides
    source.admin.create_topics([NewTopic("orders", PARTITIONS, 1, config={
        "retention.ms": "7200000"})])["orders"].result(SECONDS)
    orders = Orders(source)
    orders.write(900)
    mirror.start()
    until(mirror, orders.records, lambda: target.read("a.orders"))
    assert target.retention("a.orders") == "7200000"
    commit_the_end(source, orders)
    until(mirror, [300] * PARTITIONS, lambda: target.committed("a.orders"))
    assert target.partitions("heartbeats") == 1
    # Each second it has asked for ACLs, too, and heard that nobody heeds any.
    assert mirror.complaints() == []

    # Settings and partitions follow.
    mirror.stop()
    orders.write(300)
    source.admin.create_partitions([NewPartitions("orders", PARTITIONS + 1)])[
        "orders"].result(SECONDS)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "orders", set_config={
        "retention.ms": "3600000"})
    source.admin.alter_configs([resource])[resource].result(SECONDS)
    mirror.start()
    until(mirror, orders.records | {PARTITIONS: []}, lambda: target.read("a.orders"))
    until(mirror, "3600000", lambda: target.retention("a.orders"))
    commit_the_end(source, orders)
    until(mirror, [400] * PARTITIONS, lambda: target.committed("a.orders"))

    # What was on its way when the broker died comes again.
    target.broker.kill()
    orders.write(300)
    target.broker.start()
    until(mirror, orders.records | {PARTITIONS: []}, lambda: {
        number: list({record[1]: record for record in all}.values())
        for number, all in target.read("a.orders").items()})
