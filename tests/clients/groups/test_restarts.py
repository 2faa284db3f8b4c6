"""The broker goes and comes back: every group goes on where it was.

A broker that was killed, and one that was stopped, is started again while groups of several kinds
read from it. Nothing is skipped, and no group rebalances for it: members, generations and
assignments are in the log. A member that died meanwhile is noticed.
"""

import subprocess

import pytest

from brokers import THALWEG, Broker
from group import SECONDS, Group

KINDS = [
    ("kafka-python", "classic", "range"),
    ("java", "classic", "cooperative-sticky"),
    ("confluent", "consumer", "uniform"),
]
# Groups of which a member dies while the broker is away.
BEREAVED = [("confluent", "classic", "roundrobin"), ("confluent", "consumer", "range")]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_groups_go_on(how):
    broker = Broker(f"restart-{how}", settings={
        "group.initial.rebalance.delay.ms": 0,
        "group.consumer.min.session.timeout.ms": 6000,
        "group.consumer.min.heartbeat.interval.ms": 300,
    }).start()
    groups = [Group(broker, "-".join(kind), kind) for kind in KINDS + BEREAVED]
    try:
        for group in groups[len(KINDS):]:
            # Of the newer protocol; members of the other one say it themselves.
            subprocess.run([THALWEG, "config", "-b", broker.bootstrap, "set", "--group",
                            group.name, "consumer.session.timeout.ms=6000",
                            "consumer.heartbeat.interval.ms=300"], check=True)
        started = [(group, group.start(), group.start(2)) for group in groups]
        for group, *processes in started:
            group.await_members(*processes)
            group.await_told(20)
        whole, bereaved = started[:len(KINDS)], started[len(KINDS):]
        before = [(group.rebalances(), group.described()) for group, *_ in whole]
        getattr(broker, how)()
        for group in groups:
            assert group.is_cut_off.wait(SECONDS), f"{group.name} does not miss its broker"
        for _, _, dying in bereaved:
            dying.kill()
        broker.start()
        for group in groups:
            group.ask_anew()
        for group, *_ in whole:
            group.await_told(20)
        assert [(group.rebalances(), group.described()) for group, *_ in whole] == before, \
            "a restart is no rebalance"
        for group, staying, _ in bereaved:
            group.await_members(staying)
        for group in groups:
            group.finish()
    finally:
        for group in groups:
            group.end()
        broker.stop()
    broker.remove()
