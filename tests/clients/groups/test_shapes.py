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
# Members of several kinds in one group, and groups that change from one protocol to the other.
MIXED = {
    "three-clients": [
        ("kafka-python", "classic", "range"), ("confluent", "classic", "range"),
        ("java", "classic", "range"), ("kafka-python", "classic", "range"),
    ],
    "classic-meets-consumer": [
        # The last members of the newer protocol die, so that the group is a classic one again.
        ("java", "classic", "cooperative-sticky"), ("confluent", "consumer", "uniform"),
        ("java", "consumer", "uniform"), ("confluent", "classic", "cooperative-sticky"),
    ],
    "consumer-meets-classic": [
        ("confluent", "consumer", "uniform"), ("java", "classic", "range"),
        ("java", "consumer", "uniform"), ("confluent", "classic", "range"),
    ],
}
GROUPS = {"-".join(kind): [kind] for kind in KINDS} | MIXED
# Groups under way at a time: as many as two cores can start clients for.
AT_A_TIME = 4


@pytest.fixture(scope="module")
def broker(request):
    started = Broker("groups", settings={
        "group.initial.rebalance.delay.ms": 0,
        "group.consumer.min.session.timeout.ms": 6000,
        "group.consumer.session.timeout.ms": 6000,
        "group.consumer.min.heartbeat.interval.ms": 300,
        "group.consumer.heartbeat.interval.ms": 300,
    }).start()
    yield started
    started.stop()
    if request.session.testsfailed:
        print(f"the broker's directory is kept: {started.directory}")
    else:
        started.remove()


def shapes(broker, name):
    """One member, fewer members than partitions, as many, more; then they go, each its own way."""
    group = Group(broker, name, *GROUPS[name])
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
    chosen = [item.callspec.params["name"] for item in request.session.items
              if item.originalname == "test_shapes"]
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {name: pool.submit(shapes, broker, name) for name in chosen}


@pytest.mark.parametrize("name", GROUPS)
def test_shapes(outcomes, name):
    outcomes[name].result(300)
