"""kill -9 under the load of librdkafka's idempotent producer: 50 cycles, acks=all.

Promise: nothing acknowledged is lost, doubled or out of order. The producer never hears of the
kills; it reconnects and sends again what was not answered. (librdkafka allows idempotence only
with acks=all; the cycles with acks=1 are in tests/e2e/kill.rs.)

THALWEG_KILL_CYCLES sets another number of cycles (a broker that starts slowly needs fewer).
"""

import os
import random
import threading

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import Broker

CYCLES = int(os.environ.get("THALWEG_KILL_CYCLES", "50"))
PARTITIONS = 4
TOPIC = "killed"
SECONDS = 60


class Load(threading.Thread):
    """Produces numbered records without pause until told to stop, and keeps every report."""

    def __init__(self, bootstrap):
        super().__init__(name="load", daemon=True)
        self.stopping = threading.Event()
        self.reported = threading.Condition()
        self.acknowledged = [{} for _ in range(PARTITIONS)]  # number -> offset
        self.sent = [0] * PARTITIONS
        self.errors = []
        self.left = None
        self.producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all",
            "linger.ms": 2, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20, "message.timeout.ms": 300_000,
            "queue.buffering.max.messages": 20_000, "log_level": 0})

    def report(self, error, message):
        with self.reported:
            if error is not None:
                self.errors.append(str(error))
            else:
                number = int(message.value().split()[0])
                self.acknowledged[message.partition()][number] = message.offset()
            self.reported.notify_all()

    def count(self):
        return sum(len(each) for each in self.acknowledged)

    def await_more(self, more):
        """So many further acknowledgements; false when they do not come."""
        with self.reported:
            wanted = self.count() + more
            self.reported.wait_for(lambda: self.errors or self.count() >= wanted, SECONDS)
            assert not self.errors, self.errors[:3]
            return self.count() >= wanted

    def run(self):
        filler = b" " + b"f" * 100
        while not self.stopping.is_set() and not self.errors:
            for partition in range(PARTITIONS):
                try:
                    self.producer.produce(TOPIC, b"%d" % self.sent[partition] + filler,
                                          partition=partition, on_delivery=self.report)
                    self.sent[partition] += 1
                except BufferError:  # the queue is full while the broker is away
                    self.producer.poll(0.01)
            self.producer.poll(0)
        self.left = self.producer.flush(SECONDS)


@pytest.fixture
def own_broker():
    started = Broker("kill").start()
    yield started
    started.stop()


def test_kill_cycles(own_broker):
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(SECONDS)
    load = Load(own_broker.bootstrap)
    load.start()
    chance = random.Random(20261121)
    for cycle in range(CYCLES):
        # Each cycle sees new acknowledgements before its kill, or it would prove nothing; how
        # many differs, so that the kill falls at any moment of the load.
        assert load.await_more(100 + chance.randrange(2000)), \
            f"cycle {cycle}: nothing is acknowledged any more"
        own_broker.kill()
        own_broker.start()
    load.stopping.set()
    load.join(3 * SECONDS)
    assert not load.errors, load.errors[:3]
    assert load.left == 0, f"{load.left} records could not be delivered"
    print(f"{CYCLES} cycles, {load.count()} records acknowledged")

    consumer = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": "not-joined",
                         "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, each, OFFSET_BEGINNING) for each in range(PARTITIONS)])
    stored = [[] for _ in range(PARTITIONS)]
    total = sum(load.sent)
    while sum(map(len, stored)) < total:
        batch = consumer.consume(10_000, 10)
        assert batch, f"{sum(map(len, stored))} of {total} records are there"
        for message in batch:
            assert message.error() is None, message.error()
            stored[message.partition()].append((int(message.value().split()[0]), message.offset()))
    # Once more past the expected end: a doubled record would come after it.
    assert not consumer.consume(1, 2), "more records are stored than were sent"
    consumer.close()
    for partition in range(PARTITIONS):
        numbers = [number for number, _ in stored[partition]]
        assert numbers == list(range(load.sent[partition])), "lost, doubled or reordered"
        told = load.acknowledged[partition]
        assert dict(stored[partition]) == told, "a record is not at its acknowledged offset"
    own_broker.stop()
    own_broker.remove()
