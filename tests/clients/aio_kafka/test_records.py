"""aiokafka: what is written comes back as it was, from where it was asked for."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, OffsetOutOfRangeError

from asking import consumer_of, create, numbers, producer_of, read, run, write

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
RECORDS = 300
FIRST_TIMESTAMP = 1_700_000_000_000


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("settings", [
    {"acks": 0}, {"acks": 1}, {"acks": "all"}, {"enable_idempotence": True}], ids=str)
def test_records_come_back_as_they_were(broker, topic, codec, settings):
    def sent(number):
        return {"key": b"key-%d" % number, "value": b"value-%d" % number + b"x" * (number % 300),
                "timestamp_ms": FIRST_TIMESTAMP + number, "partition": 0,
                "headers": [("number", b"%d" % number), ("twice", b"1"), ("twice", b"2")]}

    async def go():
        await create(broker, topic)
        async with producer_of(broker, compression_type=codec, linger_ms=5, **settings) as producer:
            answers = [await producer.send(topic, **sent(number)) for number in range(RECORDS)]
            told = [await answer for answer in answers]
        if settings.get("acks") != 0:
            assert [answer.offset for answer in told] == list(range(RECORDS))
        async with consumer_of(broker, topic) as consumer:
            return await read(consumer, RECORDS)

    for number, record in enumerate(run(go())):
        expected = sent(number)
        assert (record.offset, record.key, record.value, record.timestamp) == (
            number, expected["key"], expected["value"], expected["timestamp_ms"])
        assert list(record.headers) == expected["headers"]


def test_partitions_keep_their_order(broker, topic):
    async def go():
        await create(broker, topic, 6)
        async with producer_of(broker, enable_idempotence=True, linger_ms=1) as producer:
            for number in range(3000):
                await producer.send(topic, b"%d" % number, partition=number % 6)
        async with consumer_of(broker, topic, max_partition_fetch_bytes=2000) as consumer:
            return await read(consumer, 3000)

    following = [0, 1, 2, 3, 4, 5]
    for record in run(go()):
        assert (int(record.value), record.offset) == (
            following[record.partition], following[record.partition] // 6)
        following[record.partition] += 6


def test_batches_by_hand(broker, topic):
    async def go():
        await create(broker, topic)
        async with producer_of(broker) as producer:
            batch = producer.create_batch()
            for number in range(10):
                batch.append(key=None, value=b"%d" % number, timestamp=FIRST_TIMESTAMP)
            batch.close()
            answer = await producer.send_batch(batch, topic, partition=0)
            assert (await answer).offset == 0
        async with consumer_of(broker, topic) as consumer:
            assert numbers(await read(consumer, 10)) == list(range(10))

    run(go())


def test_topic_appears_when_first_written_to(broker, topic):
    async def go():
        async with producer_of(broker) as producer:
            assert (await producer.send_and_wait(topic, b"first", key=b"k")).offset == 0
        async with consumer_of(broker, topic) as consumer:
            record = await consumer.getone()
            assert (record.key, record.value) == (b"k", b"first")

    run(go())


def test_nulls(broker, topic):
    async def go():
        await create(broker, topic)
        async with producer_of(broker, compression_type="gzip") as producer:
            await producer.send_and_wait(topic, b"no key", partition=0)
            await producer.send_and_wait(topic, None, key=b"tombstone", partition=0)
        async with consumer_of(broker, topic) as consumer:
            first, second = await read(consumer, 2)
            assert (first.key, first.value) == (None, b"no key")
            assert (second.key, second.value) == (b"tombstone", None)

    run(go())


def test_what_is_too_large_is_refused(broker, topic):
    async def go():
        await create(broker, topic, **{"max.message.bytes": "1000"})
        async with producer_of(broker, acks="all") as producer:
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(topic, b"x" * 5000, partition=0)
            assert (await producer.send_and_wait(topic, b"small", partition=0)).offset == 0

    run(go())


def test_ends_times_and_seek(broker, topic):
    partition = TopicPartition(topic, 0)

    async def go():
        await create(broker, topic)
        async with producer_of(broker) as producer:
            for number in range(100):
                await producer.send(topic, b"%d" % number, partition=0,
                                    timestamp_ms=FIRST_TIMESTAMP + 1000 * number)
        async with consumer_of(broker) as consumer:
            consumer.assign([partition])
            assert await consumer.beginning_offsets([partition]) == {partition: 0}
            assert await consumer.end_offsets([partition]) == {partition: 100}
            at = await consumer.offsets_for_times({partition: FIRST_TIMESTAMP + 42_500})
            assert (at[partition].offset, at[partition].timestamp) == (43, FIRST_TIMESTAMP + 43_000)
            later = await consumer.offsets_for_times({partition: FIRST_TIMESTAMP + 10**9})
            assert later == {partition: None}
            consumer.seek(partition, 87)
            assert numbers(await read(consumer, 13)) == list(range(87, 100))
            assert (await consumer.position(partition), consumer.highwater(partition)) == (100, 100)
            await consumer.seek_to_beginning(partition)
            assert (await consumer.getone()).value == b"0"
            await consumer.seek_to_end(partition)
            assert await consumer.position(partition) == 100

    run(go())


def test_out_of_range_is_told_when_nothing_else_is_asked_for(broker, topic):
    partition = TopicPartition(topic, 0)

    async def go():
        await create(broker, topic)
        await write(broker, topic, 10)
        async with consumer_of(broker, auto_offset_reset="none") as consumer:
            consumer.assign([partition])
            consumer.seek(partition, 500)
            with pytest.raises(OffsetOutOfRangeError) as told:
                await consumer.getone()
            assert told.value.args[0] == {partition: 500}

    run(go())


def test_pause_and_resume(broker, topic):
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)

    async def go():
        await create(broker, topic, 2)
        async with consumer_of(broker) as consumer:
            consumer.assign([zero, one])
            consumer.pause(one)
            await write(broker, topic, 20, 2)
            assert numbers(await read(consumer, 10)) == list(range(0, 20, 2))
            assert consumer.paused() == {one}
            consumer.resume(one)
            assert numbers(await read(consumer, 10)) == list(range(1, 20, 2))

    run(go())


def test_a_long_poll_ends_when_something_comes(broker, topic):
    async def go():
        await create(broker, topic)
        async with consumer_of(broker, topic, fetch_max_wait_ms=20_000) as consumer:
            waiting = asyncio.create_task(consumer.getone())
            await write(broker, topic, 1)
            # Less than the poll may last: it was the record that ended it.
            assert (await asyncio.wait_for(waiting, 15)).value == b"0"

    run(go())


def test_what_is_larger_than_a_fetch_comes(broker, topic):
    async def go():
        await create(broker, topic)
        async with producer_of(broker, max_request_size=1_000_000) as producer:
            for letter in b"abcdef":
                await producer.send_and_wait(topic, bytes([letter]) * 700_000, partition=0)
        async with consumer_of(broker, topic, fetch_max_bytes=100_000,
                               max_partition_fetch_bytes=100_000) as consumer:
            records = await read(consumer, 6)
            assert [record.value for record in records] == [
                bytes([letter]) * 700_000 for letter in b"abcdef"]

    run(go())
