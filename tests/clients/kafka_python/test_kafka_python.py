"""kafka-python produces and consumes: the newest version and 2.0.2 run the same tests.

What a version has not (idempotence in 2.0.2) is asked of the newer one alone, by name.
"""

import itertools

import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic

VERSION = tuple(int(part) for part in kafka.__version__.split(".")[:2])
HAS_IDEMPOTENCE = VERSION >= (2, 1)
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
SECONDS = 30


def producer(broker, **settings):
    if HAS_IDEMPOTENCE:
        # On by default in 3.x, where it forbids acks 0 and 1.
        settings.setdefault("enable_idempotence", settings.get("acks", "all") == "all")
    return KafkaProducer(bootstrap_servers=broker.bootstrap, **settings)


def consumer(broker, **settings):
    settings.setdefault("auto_offset_reset", "earliest")
    settings.setdefault("consumer_timeout_ms", SECONDS * 1000)
    return KafkaConsumer(bootstrap_servers=broker.bootstrap, **settings)


def create(broker, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)])
    admin.close()


def read(broker, topic, count, **settings):
    """The first `count` records of a topic, by hand-assigned partitions."""
    with_deadline = consumer(broker, **settings)
    partitions = [TopicPartition(topic, number)
                  for number in with_deadline.partitions_for_topic(topic)]
    with_deadline.assign(partitions)
    with_deadline.seek_to_beginning(*partitions)
    records = list(itertools.islice(with_deadline, count))
    with_deadline.close()
    return records


@pytest.mark.parametrize("acks", [0, 1, "all"])
@pytest.mark.parametrize("codec", CODECS)
def test_round_trip(broker, topic, codec, acks):
    """Keys, values, headers and timestamps come back as they were sent, in order."""
    create(broker, topic, 1)
    sent = [(b"key-%d" % number, b"value-%d " % number + b"x" * (number % 500),
             [("number", b"%d" % number), ("empty", b"")], 1_700_000_000_000 + number)
            for number in range(500)]
    writing = producer(broker, acks=acks, compression_type=codec, linger_ms=20)
    for key, value, headers, timestamp in sent:
        writing.send(topic, value, key, headers, timestamp_ms=timestamp)
    writing.flush(SECONDS)
    writing.close()
    got = read(broker, topic, len(sent))
    assert [(each.key, each.value, each.headers, each.timestamp) for each in got] == sent
    assert [each.offset for each in got] == list(range(len(sent)))


def test_answers_carry_the_offset(broker, topic):
    create(broker, topic, 1)
    writing = producer(broker, acks="all")
    answers = [writing.send(topic, b"%d" % number).get(SECONDS) for number in range(20)]
    writing.close()
    assert [answer.offset for answer in answers] == list(range(20))
    assert {(answer.topic, answer.partition) for answer in answers} == {(topic, 0)}


def test_null_key_null_value_empty_value(broker, topic):
    create(broker, topic, 1)
    writing = producer(broker, acks="all")
    writing.send(topic, b"no key")
    writing.send(topic, None, b"tombstone")
    writing.send(topic, b"", b"empty")
    writing.flush(SECONDS)
    writing.close()
    got = read(broker, topic, 3)
    assert [(each.key, each.value) for each in got] == [
        (None, b"no key"), (b"tombstone", None), (b"empty", b"")]


def test_a_topic_appears_when_first_written_to(broker, topic):
    writing = producer(broker, acks="all")
    assert writing.send(topic, b"first").get(SECONDS).offset == 0
    writing.close()
    assert [each.value for each in read(broker, topic, 1)] == [b"first"]


def test_partitions_keep_their_own_order(broker, topic):
    create(broker, topic, 8)
    writing = producer(broker, acks="all", linger_ms=5)
    for number in range(2000):
        writing.send(topic, b"%d" % number, partition=number % 8)
    writing.flush(SECONDS)
    writing.close()
    got = read(broker, topic, 2000)
    for partition in range(8):
        mine = [int(each.value) for each in got if each.partition == partition]
        assert mine == list(range(partition, 2000, 8))


def test_equal_keys_meet_in_one_partition(broker, topic):
    create(broker, topic, 4)
    writing = producer(broker, acks="all", linger_ms=5)
    for number in range(400):
        writing.send(topic, b"%d" % number, b"key-%d" % (number % 40))
    writing.flush(SECONDS)
    writing.close()
    where = {}
    for each in read(broker, topic, 400):
        where.setdefault(each.key, set()).add(each.partition)
    assert len(where) == 40
    assert all(len(partitions) == 1 for partitions in where.values())
    assert len(set.union(*where.values())) > 1


def test_a_megabyte_record(broker, topic):
    """max.request.size and message.max.bytes are both about 1 MiB by default."""
    create(broker, topic, 1)
    value = bytes(range(256)) * 3900
    writing = producer(broker, acks="all")
    writing.send(topic, value).get(SECONDS)
    writing.close()
    assert [each.value for each in read(broker, topic, 1)] == [value]


def test_a_record_over_the_limit_is_refused(broker, topic):
    create(broker, topic, 1)
    # acks=1: to the newest version's idempotent producer a refusal is final.
    writing = producer(broker, acks=1, max_request_size=8 << 20)
    with pytest.raises(kafka.errors.MessageSizeTooLargeError):
        writing.send(topic, b"x" * (2 << 20)).get(SECONDS)
    assert writing.send(topic, b"small").get(SECONDS).offset == 0
    writing.close()


def test_seek_and_ends(broker, topic):
    create(broker, topic, 1)
    writing = producer(broker, acks="all")
    for number in range(100):
        writing.send(topic, b"%d" % number)
    writing.flush(SECONDS)
    writing.close()
    reading = consumer(broker)
    partition = TopicPartition(topic, 0)
    assert reading.beginning_offsets([partition]) == {partition: 0}
    assert reading.end_offsets([partition]) == {partition: 100}
    reading.assign([partition])
    reading.seek(partition, 73)
    assert next(reading).value == b"73"
    assert reading.position(partition) == 74
    reading.seek_to_end(partition)
    assert reading.position(partition) == 100
    reading.close()


def test_offsets_for_times(broker, topic):
    create(broker, topic, 1)
    writing = producer(broker, acks="all")
    for number in range(50):
        writing.send(topic, b"%d" % number, timestamp_ms=1_700_000_000_000 + 1000 * number)
    writing.flush(SECONDS)
    writing.close()
    reading = consumer(broker)
    partition = TopicPartition(topic, 0)
    found = reading.offsets_for_times({partition: 1_700_000_000_000 + 20_500})
    assert found[partition].offset == 21
    assert found[partition].timestamp == 1_700_000_000_000 + 21_000
    assert reading.offsets_for_times({partition: 1_800_000_000_000}) == {partition: None}
    reading.close()


def test_an_offset_out_of_range_is_reset(broker, topic):
    create(broker, topic, 1)
    writing = producer(broker, acks="all")
    writing.send(topic, b"only").get(SECONDS)
    writing.close()
    reading = consumer(broker, auto_offset_reset="earliest")
    partition = TopicPartition(topic, 0)
    reading.assign([partition])
    reading.seek(partition, 5000)
    assert next(reading).offset == 0
    reading.close()


def test_a_waiting_consumer_sees_what_comes(broker, topic):
    """A fetch that found nothing is answered when something arrives."""
    create(broker, topic, 1)
    reading = consumer(broker)
    reading.assign([TopicPartition(topic, 0)])
    assert reading.poll(timeout_ms=300) == {}
    writing = producer(broker, acks=1)
    for number in range(10):
        writing.send(topic, b"%d" % number).get(SECONDS)
        assert next(reading).value == b"%d" % number
    writing.close()
    reading.close()


def test_metadata_names_topics_and_partitions(broker, topic):
    create(broker, topic, 3)
    reading = consumer(broker)
    assert topic in reading.topics()
    assert reading.partitions_for_topic(topic) == {0, 1, 2}
    reading.close()


def test_admin_creates_grows_and_deletes(broker, topic):
    create(broker, topic, 1)
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    with pytest.raises(kafka.errors.TopicAlreadyExistsError):
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    admin.create_partitions({topic: NewPartitions(total_count=5)})
    reading = consumer(broker)
    assert reading.partitions_for_topic(topic) == {0, 1, 2, 3, 4}
    admin.delete_topics([topic])
    admin.close()
    reading.close()
    reading = consumer(broker)
    assert topic not in reading.topics()
    reading.close()


@pytest.mark.skipif(not HAS_IDEMPOTENCE, reason="kafka-python 2.0.2 has no idempotent producer")
@pytest.mark.parametrize("in_flight", [1, 5])
@pytest.mark.parametrize("codec", CODECS)
def test_idempotent_producer(broker, topic, codec, in_flight):
    create(broker, topic, 3)
    writing = producer(broker, acks="all", enable_idempotence=True, compression_type=codec,
                       max_in_flight_requests_per_connection=in_flight, linger_ms=1)
    for number in range(1500):
        writing.send(topic, b"%d" % number, partition=number % 3)
    writing.flush(SECONDS)
    writing.close()
    got = read(broker, topic, 1500)
    for partition in range(3):
        mine = [int(each.value) for each in got if each.partition == partition]
        assert mine == list(range(partition, 1500, 3))
