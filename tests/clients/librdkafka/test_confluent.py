"""librdkafka through the confluent-kafka wheel produces and consumes."""

import pytest
from confluent_kafka import (OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SECONDS = 30


def create(broker, topic, partitions, **config):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    wanted = NewTopic(topic, partitions, 1, config={
        key.replace("_", "."): str(value) for key, value in config.items()})
    admin.create_topics([wanted])[topic].result(SECONDS)


def write(broker, topic, records, **settings):
    """Sends (partition, key, value, headers) and returns the delivered messages, as reported."""
    reports = []

    def delivered(error, message):
        assert error is None, error
        reports.append(message)

    producer = Producer({"bootstrap.servers": broker.bootstrap,
                         **{key.replace("_", "."): value for key, value in settings.items()}})
    for partition, key, value, headers in records:
        producer.produce(topic, value, key, partition, on_delivery=delivered, headers=headers)
        producer.poll(0)
    assert producer.flush(SECONDS) == 0, "records were left in the queue"
    return reports


def read(broker, topic, partitions, count, **settings):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "not-joined",
                         "enable.auto.commit": False, "enable.partition.eof": False,
                         **{key.replace("_", "."): value for key, value in settings.items()}})
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(partitions)])
    messages = []
    while len(messages) < count:
        batch = consumer.consume(count - len(messages), SECONDS)
        assert batch, f"only {len(messages)} of {count} came within {SECONDS} s"
        for message in batch:
            assert message.error() is None, message.error()
            messages.append(message)
    consumer.close()
    return messages


@pytest.mark.parametrize("acks", [0, 1, "all"])
@pytest.mark.parametrize("codec", CODECS)
def test_round_trip(broker, topic, codec, acks):
    create(broker, topic, 1)
    records = [(0, b"key-%d" % number, b"value-%d " % number + b"x" * (number % 700),
                [("number", b"%d" % number), ("none", None)]) for number in range(1000)]
    reports = write(broker, topic, records, acks=acks, compression_type=codec, linger_ms=20)
    got = read(broker, topic, 1, len(records))
    assert [(each.key(), each.value(), each.headers()) for each in got] == [
        (key, value, headers) for _, key, value, headers in records]
    assert [each.offset() for each in got] == list(range(len(records)))
    if acks != 0:
        assert [each.offset() for each in reports] == list(range(len(records)))


@pytest.mark.parametrize("codec", CODECS)
def test_idempotent_producer(broker, topic, codec):
    create(broker, topic, 4)
    records = [(number % 4, None, b"%d" % number, None) for number in range(4000)]
    write(broker, topic, records, enable_idempotence=True, compression_type=codec, linger_ms=1,
          batch_num_messages=37)
    got = read(broker, topic, 4, len(records))
    for partition in range(4):
        mine = [int(each.value()) for each in got if each.partition() == partition]
        assert mine == list(range(partition, 4000, 4))


def test_null_key_null_value_empty_value(broker, topic):
    create(broker, topic, 1)
    write(broker, topic, [(0, None, b"no key", None), (0, b"tombstone", None, None),
                          (0, b"", b"", None)])
    assert [(each.key(), each.value()) for each in read(broker, topic, 1, 3)] == [
        (None, b"no key"), (b"tombstone", None), (b"", b"")]


def test_a_topic_appears_when_first_written_to(broker, topic):
    write(broker, topic, [(-1, None, b"first", None)])
    assert [each.value() for each in read(broker, topic, 1, 1)] == [b"first"]


def test_watermarks_and_offsets_for_times(broker, topic):
    create(broker, topic, 1)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(60):
        producer.produce(topic, b"%d" % number, partition=0,
                         timestamp=1_700_000_000_000 + 1000 * number)
    assert producer.flush(SECONDS) == 0
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "not-joined"})
    partition = TopicPartition(topic, 0)
    assert consumer.get_watermark_offsets(partition, SECONDS) == (0, 60)
    asked = TopicPartition(topic, 0, 1_700_000_000_000 + 30_500)
    assert consumer.offsets_for_times([asked], SECONDS)[0].offset == 31
    consumer.close()


def test_fetch_limits_still_deliver_everything(broker, topic):
    """Small limits cut batches apart; KIP-74 promises progress all the same."""
    create(broker, topic, 2)
    records = [(number % 2, None, b"%d " % number + b"x" * 5000, None) for number in range(600)]
    write(broker, topic, records, linger_ms=50)
    got = read(broker, topic, 2, len(records), fetch_message_max_bytes=4096,
               fetch_max_bytes=8192, message_max_bytes=8192, receive_message_max_bytes=1 << 20)
    for partition in range(2):
        mine = [int(each.value().split()[0]) for each in got if each.partition() == partition]
        assert mine == list(range(partition, 600, 2))


def test_the_end_of_a_partition_is_told(broker, topic):
    create(broker, topic, 1)
    write(broker, topic, [(0, None, b"one", None)])
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "not-joined",
                         "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert consumer.poll(SECONDS).value() == b"one"
    end = consumer.poll(SECONDS)
    assert end.error().code() == KafkaError._PARTITION_EOF
    assert end.offset() == 1
    consumer.close()


def test_a_record_over_the_topics_limit_is_refused(broker, topic):
    create(broker, topic, 1, max_message_bytes=10_000)
    refusals = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 5_000_000})
    producer.produce(topic, b"x" * 50_000, on_delivery=lambda error, _: refusals.append(error))
    assert producer.flush(SECONDS) == 0
    producer.produce(topic, b"small", on_delivery=lambda error, _: refusals.append(error))
    assert producer.flush(SECONDS) == 0
    assert [error and error.code() for error in refusals] == [KafkaError.MSG_SIZE_TOO_LARGE, None]


def test_admin_creates_describes_grows_and_deletes(broker, topic):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    create(broker, topic, 2, retention_ms=1234567)
    with pytest.raises(KafkaException) as refusal:
        create(broker, topic, 2)
    assert refusal.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    described = admin.describe_configs([resource])[resource].result(SECONDS)
    assert described["retention.ms"].value == "1234567"
    assert described["cleanup.policy"].value == "delete"
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(SECONDS)
    assert len(admin.list_topics(timeout=SECONDS).topics[topic].partitions) == 5
    admin.delete_topics([topic])[topic].result(SECONDS)
    assert topic not in admin.list_topics(timeout=SECONDS).topics


def test_a_name_that_is_not_allowed_is_refused(broker):
    with pytest.raises(KafkaException) as refusal:
        create(broker, "no/slashes", 1)
    assert refusal.value.args[0].code() == KafkaError.TOPIC_EXCEPTION
