"""The admin client of aiokafka: topics, settings, groups, records that go."""

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidPartitionsError, OffsetOutOfRangeError

from asking import admin_of, becomes, consumer_of, create, numbers, read, run, write

TOPIC_ALREADY_EXISTS, INVALID_CONFIG = 36, 40


def test_topics_are_made_grown_and_deleted(broker, topic):
    async def go():
        await create(broker, topic, 2, **{"cleanup.policy": "compact"})
        async with admin_of(broker) as admin:
            async def partitions():
                [found] = await admin.describe_topics([topic])
                return sorted(each["partition"] for each in found["partitions"])

            async def is_listed():
                return topic in await admin.list_topics()

            assert await is_listed()
            again = await admin.create_topics([NewTopic(topic, 1, 1)])
            assert again.topic_errors[0][1] == TOPIC_ALREADY_EXISTS
            trial = await admin.create_topics([NewTopic(f"{topic}-b", 1, 1)], validate_only=True)
            assert trial.topic_errors[0][1] == 0
            assert f"{topic}-b" not in await admin.list_topics()
            await admin.create_partitions({topic: NewPartitions(5)})
            await becomes([0, 1, 2, 3, 4], partitions)
            with pytest.raises(InvalidPartitionsError):
                await admin.create_partitions({topic: NewPartitions(3)})
            await admin.delete_topics([topic])
            await becomes(False, is_listed)

    run(go())


def test_the_cluster_is_described(broker):
    async def go():
        async with admin_of(broker) as admin:
            told = await admin.describe_cluster()
            [node] = told["brokers"]
            assert f"{node['host']}:{node['port']}" == broker.bootstrap
            assert told["controller_id"] == node["node_id"]
            assert len(told["cluster_id"]) == 22

    run(go())


def test_settings_are_described_and_altered(broker, topic):
    async def go():
        await create(broker, topic)
        async with admin_of(broker) as admin:
            async def value():
                [answer] = await admin.describe_configs([ConfigResource(
                    ConfigResourceType.TOPIC, topic, {"retention.ms": None})])
                [(error, _, _, _, [(name, its_value, *_)])] = answer.resources
                assert (error, name) == (0, "retention.ms")
                return its_value

            def change(text):
                return admin.alter_configs([ConfigResource(
                    ConfigResourceType.TOPIC, topic, {"retention.ms": text})])

            assert await value() == "604800000"
            [answer] = await change("7200000")
            assert answer.resources[0][0] == 0
            await becomes("7200000", value)
            [answer] = await change("soon")
            assert answer.resources[0][0] == INVALID_CONFIG
            node = (await admin.describe_cluster())["controller_id"]
            [answer] = await admin.describe_configs([ConfigResource(
                ConfigResourceType.BROKER, str(node))])
            names = {name for name, *_ in answer.resources[0][4]}
            assert {"log.retention.ms", "num.partitions"} <= names

    run(go())


def test_groups_are_listed_and_described(broker, topic):
    async def go():
        await create(broker, topic, 2)
        await write(broker, topic, 20, 2)
        async with (consumer_of(broker, topic, group_id=topic, client_id="its-name") as consumer,
                    admin_of(broker) as admin):
            await read(consumer, 20)
            await consumer.commit()
            assert (topic, "consumer") in {each[:2] for each in await admin.list_consumer_groups()}
            [answer] = await admin.describe_consumer_groups([topic])
            error, name, state, kind, _, members, *_ = answer.groups[0]
            assert (error, name, state, kind) == (0, topic, "Stable", "consumer")
            assert ["its-name" in each for each in members] == [True]
            offsets = await admin.list_consumer_group_offsets(topic)
            assert {each.partition: at.offset for each, at in offsets.items()} == {0: 10, 1: 10}
            asked = await admin.list_consumer_group_offsets(
                topic, partitions=[TopicPartition(topic, 1)])
            assert [at.offset for at in asked.values()] == [10]

    run(go())


def test_records_are_deleted(broker, topic):
    partition = TopicPartition(topic, 0)

    async def go():
        await create(broker, topic)
        await write(broker, topic, 10)
        async with admin_of(broker) as admin:
            assert await admin.delete_records({partition: RecordsToDelete(4)}) == {partition: 4}
            with pytest.raises(OffsetOutOfRangeError):
                await admin.delete_records({partition: RecordsToDelete(11)})
        async with consumer_of(broker, topic) as consumer:
            assert numbers(await read(consumer, 6)) == [4, 5, 6, 7, 8, 9]

    run(go())
