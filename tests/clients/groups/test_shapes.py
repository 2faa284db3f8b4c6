"""Groups of every shape and kind of member, while members join, leave, die and stall.

All kinds run at the same time, each in a group and on a topic of its own: most of their time they
wait for sessions to end. What must hold is in group.py.
"""

import concurrent.futures

import pytest

from brokers import Broker
from group import Group

KINDS = [
    ("kafka-python", "classic", "range"),
    ("kafka-python", "classic", "roundrobin"),
    ("kafka-python", "classic", "sticky"),
    ("confluent", "classic", "range"),
    ("confluent", "classic", "roundrobin"),
    ("confluent", "classic", "cooperative-sticky"),
    ("confluent", "consumer", "uniform"),
    ("confluent", "consumer", "range"),
    ("java", "consumer", "uniform"),
    ("java", "consumer", "range"),
    ("java", "classic", "range"),
    ("java", "classic", "cooperative-sticky"),
]
# Groups under way at a time: as many as two cores can start clients for.
AT_A_TIME = 4


@pytest.fixture(scope="module")
def broker():
    started = Broker("groups", settings={
        "group.initial.rebalance.delay.ms": 0,
        "group.consumer.min.session.timeout.ms": 6000,
        "group.consumer.session.timeout.ms": 6000,
        "group.consumer.min.heartbeat.interval.ms": 300,
        "group.consumer.heartbeat.interval.ms": 300,
    }).start()
    yield started
    started.stop()
    started.remove()


def shapes(broker, kind):
    """One member, fewer members than partitions, as many, more; then they go, each its own way."""
    group = Group(broker, "-".join(kind), *kind)
    try:
        first = group.start()
        group.await_members(first)
        second = group.start()
        group.await_members(first, second)
        third = group.start(2)
        group.await_members(first, second, third)
        fourth = group.start()
        group.await_members(first, second, third, fourth)
        second.leave()
        group.await_members(first, third, fourth)
        third.kill()
        group.await_members(first, fourth)
        fourth.stall()
        group.await_members(first)
        fourth.go_on()
        group.await_members(first, fourth)
        group.finish()
    finally:
        group.end()


@pytest.fixture(scope="module")
def outcomes(broker, request):
    chosen = [item.callspec.params["kind"] for item in request.session.items
              if item.originalname == "test_shapes"]
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {kind: pool.submit(shapes, broker, kind) for kind in chosen}


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_shapes(outcomes, kind):
    outcomes[kind].result(300)
