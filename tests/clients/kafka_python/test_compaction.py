"""A compacted topic as clients see it: the latest value of every key stays, under its offset."""

import itertools
import time

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import KafkaAdminClient, NewTopic

from brokers import Broker

pytestmark = pytest.mark.skipif(
    not hasattr(errors, "InvalidRecordError"),
    reason="this client does not know INVALID_RECORD; compaction is the broker's own work, and is "
           "tested with the current client")

SECONDS = 60
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
# Everything sealed is cleaned at once, and what is idle is sealed soon.
EAGER = {"cleanup.policy": "compact", "segment.bytes": str(1 << 20), "segment.ms": "1000",
         "min.cleanable.dirty.ratio": "0.0", "delete.retention.ms": "0"}


@pytest.fixture(scope="module")
def cleaning():
    started = Broker("compaction", settings={"log.cleaner.backoff.ms": "200"}).start()
    yield started
    started.stop()
    started.remove()


def create(broker, topic, **configs):
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={**EAGER, **configs})])
    admin.close()


def producing(broker, **settings):
    return KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", **settings)


def read(broker, topic):
    """Every record from the first to the end, in order."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest",
                             consumer_timeout_ms=SECONDS * 1000)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    records = []
    deadline = time.monotonic() + SECONDS
    # Past what was compacted away at the end, too.
    while consumer.position(partition) < end:
        assert time.monotonic() < deadline, (consumer.position(partition), end)
        records += itertools.chain(*consumer.poll(200).values())
    consumer.close()
    return records


def read_until(broker, topic, wanted, nudge):
    """What is read once `wanted` holds for it; `nudge` lets a segment be sealed meanwhile."""
    deadline = time.monotonic() + SECONDS
    while True:
        records = read(broker, topic)
        if wanted(records):
            return records
        assert time.monotonic() < deadline, f"still {len(records)} records"
        nudge()


@pytest.mark.parametrize("codec", CODECS)
def test_the_latest_value_of_every_key_stays_under_its_offset(cleaning, topic, codec):
    create(cleaning, topic)
    writing = producing(cleaning, compression_type=codec, linger_ms=20)
    sent = []
    for turn in range(6):
        for key in range(120):
            name, value = b"key-%d" % key, b"%d-%d-" % (turn, key) + b"x" * 4000
            if key % 10 == turn:
                value = None
            answer = writing.send(topic, value, name)
            sent.append((name, value, answer))
    writing.flush(SECONDS)
    latest = {}
    for name, value, answer in sent:
        latest[name] = (answer.get(SECONDS).offset, value)
    total = len(sent)

    def nudge():
        writing.send(topic, b"nudge", b"nudge").get(SECONDS)

    records = read_until(cleaning, topic, lambda found: len(found) < total / 3, nudge)
    found = {each.key: (each.offset, each.value) for each in records if each.key != b"nudge"}
    offsets = [each.offset for each in records]
    assert offsets == sorted(set(offsets))
    values = {name: kept for name, kept in latest.items() if kept[1] is not None}
    assert {name: kept for name, kept in found.items() if kept[1] is not None} == values
    # A second cleaning takes the tombstones.
    tombstones = {name for name, kept in latest.items() if kept[1] is None}
    assert tombstones
    records = read_until(cleaning, topic,
                         lambda found: not tombstones & {each.key for each in found}, nudge)
    assert {each.key for each in records} - {b"nudge"} == set(values)
    writing.close()


def test_a_record_without_a_key_is_refused(cleaning, topic):
    create(cleaning, topic)
    for codec in CODECS:
        writing = producing(cleaning, compression_type=codec, retries=0)
        with pytest.raises(errors.KafkaError) as refusal:
            writing.send(topic, b"no key").get(SECONDS)
        assert isinstance(refusal.value, errors.InvalidRecordError) or "INVALID_RECORD" in str(
            refusal.value), refusal.value
        writing.close()
    assert read(cleaning, topic) == []


def test_compact_and_delete_does_both(cleaning, topic):
    """Old segments go as a whole, and of the rest each key's latest record stays."""
    create(cleaning, topic, **{"cleanup.policy": "compact,delete",
                               "retention.bytes": str(3 << 20)})
    writing = producing(cleaning)
    for turn in range(5):
        for key in range(400):
            writing.send(topic, b"%d" % turn + b"x" * 3000, b"key-%d" % key)
    writing.flush(SECONDS)
    records = read_until(cleaning, topic, lambda found: len(found) < 900,
                         lambda: writing.send(topic, b"n", b"nudge").get(SECONDS))
    last = {each.key: each.value[:1] for each in records}
    assert all(last[b"key-%d" % key] == b"4" for key in range(400))
    writing.close()


def test_a_compacted_topic_survives_a_kill(cleaning, topic):
    own = Broker("compaction-kill", settings={"log.cleaner.backoff.ms": "200"}).start()
    create(own, topic)
    latest = {}
    for turn in range(4):
        writing = producing(own)
        for key in range(100):
            name, value = b"key-%d" % key, b"%d" % turn + b"x" * 6000
            latest[name] = value
            writing.send(topic, value, name)
        writing.flush(SECONDS)
        writing.close()
        # So often that the kill falls at another moment of the cleaning each turn.
        for _ in range(3 * turn):
            assert {each.key: each.value for each in read(own, topic)} == latest
        own.kill()
        own.start()
        assert {each.key: each.value for each in read(own, topic)} == latest
    own.stop()
    own.remove()
