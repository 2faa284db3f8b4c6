"""What the tests of aiokafka share: clients that are closed again, topics, reading with a limit.

Each test is one coroutine, run with a limit of its own.
"""

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

SECONDS = 60


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, SECONDS))


@contextlib.asynccontextmanager
async def admin_of(broker):
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def producer_of(broker, **settings):
    return AIOKafkaProducer(bootstrap_servers=broker.bootstrap, **settings)


def consumer_of(broker, *topics, **settings):
    settings = {"auto_offset_reset": "earliest", "heartbeat_interval_ms": 300,
                "session_timeout_ms": 10000, "metadata_max_age_ms": 1000, **settings}
    return AIOKafkaConsumer(*topics, bootstrap_servers=broker.bootstrap, **settings)


async def becomes(expected, ask):
    """Asks again until the answer is `expected`: Kafka answers a change before it is seen."""
    async def asking():
        while await ask() != expected:
            pass

    try:
        await asyncio.wait_for(asking(), SECONDS / 2)
    except TimeoutError:
        assert await ask() == expected


async def create(broker, topic, partitions=1, **configs):
    async with admin_of(broker) as admin:
        answer = await admin.create_topics([NewTopic(
            topic, partitions, 1, topic_configs=configs)])
        assert [error for _, error, *_ in answer.topic_errors] == [0]

        async def led():
            [found] = await admin.describe_topics([topic])
            return sum(each["leader"] >= 0 for each in found["partitions"])

        await becomes(partitions, led)


async def write(broker, topic, count, partitions=1, first=0):
    """Numbers as values, number n to partition n modulo `partitions`."""
    async with producer_of(broker, enable_idempotence=True) as producer:
        for number in range(first, first + count):
            await producer.send(topic, str(number).encode(), partition=number % partitions)


async def read(consumer, count):
    """The next `count` records of a consumer."""
    records = []
    while len(records) < count:
        batches = await consumer.getmany(timeout_ms=500)
        records += [record for batch in batches.values() for record in batch]
    assert len(records) == count
    return records


def numbers(records):
    return [int(record.value) for record in records]
