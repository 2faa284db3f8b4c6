"""The broker goes and comes back: every group goes on where it was.

A broker that was killed, and one that was stopped, is started again while groups of several kinds
read from it. Nothing is skipped, and no group rebalances for it: members, generations and
assignments are in the log.
"""

import pytest

from brokers import Broker
from group import SECONDS, Group

KINDS = [
    ("kafka-python", "classic", "range"),
    ("java", "classic", "cooperative-sticky"),
    ("confluent", "consumer", "uniform"),
]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_groups_go_on(how):
    broker = Broker(f"restart-{how}", settings={"group.initial.rebalance.delay.ms": 0}).start()
    groups = [Group(broker, "-".join(kind), kind) for kind in KINDS]
    try:
        started = [(group, group.start(), group.start(2)) for group in groups]
        for group, *processes in started:
            group.await_members(*processes)
            group.await_told(20)
        before = [group.rebalances() for group in groups]
        getattr(broker, how)()
        for group in groups:
            assert group.is_cut_off.wait(SECONDS), f"{group.name} does not miss its broker"
        broker.start()
        for group in groups:
            group.await_told(20)
        assert [group.rebalances() for group in groups] == before, "a restart is no rebalance"
        for group in groups:
            group.finish()
    finally:
        for group in groups:
            group.end()
        broker.stop()
    broker.remove()
