"""aiokafka in groups: members come and go, offsets are committed and found again."""

import asyncio

import pytest
from aiokafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError

from asking import consumer_of, create, numbers, read, run, write

PARTITIONS = 6
ASSIGNORS = [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor]


class Member(ConsumerRebalanceListener):
    """A consumer that reads on its own and tells what it has."""

    def __init__(self, group):
        self.group = group
        self.partitions = set()

    async def join(self, broker, topic, **settings):
        self.consumer = consumer_of(broker, group_id=topic, **settings)
        self.consumer.subscribe([topic], listener=self)
        await self.consumer.start()
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        async for record in self.consumer:
            async with self.group.news:
                self.group.seen.add(int(record.value))
                self.group.news.notify_all()

    async def on_partitions_revoked(self, revoked):
        self.partitions = set()

    async def on_partitions_assigned(self, assigned):
        async with self.group.news:
            self.partitions = {each.partition for each in assigned}
            self.group.news.notify_all()

    async def leave(self):
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        await self.consumer.stop()
        self.partitions = set()


class Group:
    def __init__(self):
        self.news = asyncio.Condition()
        self.seen = set()

    async def until(self, holds):
        async with self.news:
            await asyncio.wait_for(self.news.wait_for(holds), 40)

    async def shared(self, members):
        """Every partition has one owner, and each member as many as the others."""
        def evenly():
            had = sorted(each for member in members for each in member.partitions)
            return had == list(range(PARTITIONS)) and {
                len(member.partitions) for member in members} == {PARTITIONS // len(members)}

        await self.until(evenly)


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_members_come_and_go(broker, topic, assignor):
    async def go():
        await create(broker, topic, PARTITIONS)
        group = Group()
        members = [Member(group) for _ in range(3)]
        written = 0
        steps = [(members[0].join, members[:1]), (members[1].join, members[:2]),
                 (members[2].join, members), (members[0].leave, members[1:]),
                 (members[2].leave, members[1:2])]
        for step, present in steps:
            if step.__name__ == "join":
                await step(broker, topic, partition_assignment_strategy=[assignor])
            else:
                await step()
            await group.shared(present)
            await write(broker, topic, 60, PARTITIONS, written)
            written += 60
            await group.until(lambda: len(group.seen) == written)
        await members[1].leave()
        # Who goes in good order has committed what it read.
        async with consumer_of(broker, group_id=topic) as consumer:
            for partition in range(PARTITIONS):
                assert await consumer.committed(
                    TopicPartition(topic, partition)) == written // PARTITIONS

    run(go())


def test_offsets_committed_by_hand_are_where_the_next_one_starts(broker, topic):
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)

    async def go():
        await create(broker, topic, 2)
        await write(broker, topic, 40, 2)
        settings = {"group_id": topic, "enable_auto_commit": False}
        async with consumer_of(broker, topic, **settings) as consumer:
            await read(consumer, 40)
            await consumer.commit({zero: OffsetAndMetadata(7, "seven of twenty"), one: 15})
            assert [await consumer.committed(each) for each in (zero, one)] == [7, 15]
        async with consumer_of(broker, topic, **settings) as consumer:
            records = await read(consumer, 13 + 5)
            assert sorted(numbers(records)) == sorted(
                [*range(14, 40, 2), *range(31, 40, 2)])
            await consumer.seek_to_committed()
            assert await consumer.position(zero) == 7

    run(go())


def test_a_member_that_was_put_out_may_not_commit(broker, topic):
    async def go():
        await create(broker, topic)
        await write(broker, topic, 10)
        settings = {"group_id": topic, "enable_auto_commit": False, "session_timeout_ms": 6000}
        async with consumer_of(broker, topic, **settings) as consumer:
            await read(consumer, 10)
            # What a member of another generation sends.
            consumer._coordinator.generation += 1
            with pytest.raises(CommitFailedError):
                await consumer.commit()

    run(go())


def test_static_members_keep_what_they_have(broker, topic):
    async def go():
        await create(broker, topic, PARTITIONS)
        group = Group()
        members = [Member(group) for _ in range(2)]
        for name, member in zip("ab", members):
            await member.join(broker, topic, group_instance_id=name)
        await group.shared(members)
        had = members[0].partitions
        # A member of a name does not leave when it stops, and finds its partitions again.
        await members[0].leave()
        await members[0].join(broker, topic, group_instance_id="a")
        await group.shared(members)
        assert members[0].partitions == had
        for member in members:
            await member.leave()

    run(go())


def test_a_pattern_finds_topics_that_come_later(broker, topic):
    async def go():
        await create(broker, f"{topic}-a")
        await write(broker, f"{topic}-a", 5)
        async with consumer_of(broker, group_id=topic) as consumer:
            consumer.subscribe(pattern=f"^{topic}-.$")
            assert {record.topic for record in await read(consumer, 5)} == {f"{topic}-a"}
            await create(broker, f"{topic}-b")
            await write(broker, f"{topic}-b", 5)
            assert {record.topic for record in await read(consumer, 5)} == {f"{topic}-b"}

    run(go())
