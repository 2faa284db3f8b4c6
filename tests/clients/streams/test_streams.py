"""Kafka Streams: counts, windows and joins are right, whatever happens to instances or broker.

What the application does is in Application.java, what must come out in application.py.
"""

import shutil
import time

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec

from application import PARTITIONS, SECONDS, WORDS, Application, Results
from brokers import IS_KAFKA, Broker

USERS = ["ada", "bea", "cyd", "dan", "eva", "fay", "gil", "hal"]


@pytest.fixture(scope="module")
def broker():
    started = Broker("streams", settings={"group.initial.rebalance.delay.ms": 0}).start()
    yield started
    started.stop()
    started.remove()


@pytest.fixture
def begin(broker, topic):
    """An application with users and lines to read, and who reads what it writes."""
    made = []

    def begin(of=broker, **settings):
        application = Application(of, topic, **settings)
        made.append((application, Results(application)))
        application.write_users(USERS)
        application.write_lines(300)
        application.flush()
        return made[-1]

    yield begin
    for application, results in made:
        application.end()
        results.close()


def configs_of(application, topic):
    """What was asked for when the topic was made."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found = application.admin.describe_configs([resource])[resource].result(SECONDS)
    return {key: entry.value for key, entry in found.items()
            if entry.source == 1 and key != "min.insync.replicas"}


def await_purged(application, topic):
    """Until all that was read of a repartition topic is deleted."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    def offsets(spec):
        asked = application.admin.list_offsets({each: spec for each in partitions})
        return [asked[each].result(SECONDS).offset for each in partitions]

    ends = offsets(OffsetSpec.latest())
    assert sum(ends) > 0
    deadline = time.monotonic() + SECONDS
    while (starts := offsets(OffsetSpec.earliest())) != ends:
        assert time.monotonic() < deadline, (starts, ends)


def test_counts_windows_and_joins(begin):
    application, results = begin()
    instance = application.start()
    results.await_all()
    application.write_lines(600)
    application.flush()
    results.await_all()
    check_internal_topics(application)
    await_purged(application, application.topic("by-word-repartition"))
    instance.close()
    results.check_order()


def check_internal_topics(application):
    """They are there with the settings that Streams has asked for."""
    named = {name.removeprefix(application.name + "-")
             for name in application.admin.list_topics(timeout=SECONDS).topics
             if name.startswith(application.name + "-")}
    changelog = {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"}
    # A day longer than the window and the hour in which it may still change.
    windowed = changelog | {"cleanup.policy": "compact,delete", "retention.ms": "90060000"}
    joining = changelog | {"cleanup.policy": "delete", "retention.ms": "90002000"}
    assert {name: configs_of(application, application.topic(name)) for name in named
            if name.endswith(("-changelog", "-repartition"))} == {
        "by-word-repartition": {
            "cleanup.policy": "delete", "message.timestamp.type": "CreateTime",
            "retention.ms": "-1", "segment.bytes": "52428800"},
        "words-changelog": changelog, "seen-changelog": changelog, "users-changelog": changelog,
        "windows-changelog": windowed,
        "paying-this-join-store-changelog": joining, "paying-other-join-store-changelog": joining,
    }


def test_state_is_used_again_or_read_from_the_changelogs(begin):
    application, results = begin()
    instance = application.start()
    results.await_all()
    instance.close()
    application.write_lines(300)
    application.flush()
    instance = application.start_again(0)
    results.await_all()
    assert sum(event["records"] for event in instance.told("restored")) == 0
    instance.close()
    application.write_lines(300)
    application.flush()
    shutil.rmtree(instance.state)
    instance = application.start_again(0)
    results.await_all()
    # Each word has been counted, once at least; the rest of its counts may be compacted away.
    restored = instance.told("restored")
    assert {event["store"] for event in restored} >= {"words", "seen", "users", "windows"}
    assert sum(event["records"] for event in restored if event["store"] == "words") >= len(WORDS)
    instance.close()
    results.check_order()


def test_instances_come_and_go(begin):
    """Two share the tasks, and each keeps the state of the other's at hand."""
    application, results = begin(**{"num.standby.replicas": 1})
    first = application.start()
    results.await_all()
    every, _ = first.tasks()
    assert len(every) == 2 * PARTITIONS
    second = application.start()
    application.write_lines(300)
    application.flush()

    def is_half(active, standby):
        # All but the tasks without state stand by where they are not active.
        return len(active) == PARTITIONS and active | standby == every

    first.await_tasks(is_half)
    second.await_tasks(is_half)
    application.write_lines(300)
    application.flush()
    results.await_all()
    first.close()
    application.write_lines(300)
    application.flush()
    second.await_tasks(lambda active, standby: active == every)
    results.await_all()
    first = application.start_again(0)
    first.await_tasks(is_half)
    results.check_order()
    # What it has read and not committed is read again: counted twice, but never left out.
    second.kill()
    application.write_lines(300)
    application.flush()
    first.await_tasks(lambda active, standby: active == every)
    results.await_all(exactly=False)


def test_a_killed_broker(begin):
    """It dies and comes back while two instances work, and nothing is left out or counted twice."""
    broker = Broker("streams-kill", settings={"group.initial.rebalance.delay.ms": 0}).start()
    try:
        application, results = begin(broker, **{"num.standby.replicas": 1})
        instances = [application.start(), application.start()]
        for instance in instances:
            instance.await_running()
        for _ in range(3):
            # More than is read when the broker dies.
            application.write_lines(600)
            results.await_more()
            broker.kill()
            application.write_lines(50)
            broker.start()
        application.write_lines(300)
        application.flush()
        results.await_all()
        for instance in instances:
            instance.close()
        results.check_order()
    finally:
        broker.stop()
    broker.remove()


@pytest.mark.skipif(IS_KAFKA, reason="it has what is missing here")
@pytest.mark.parametrize("setting, missing", [
    # Java's clients drop the sentence that goes with it.
    ("processing.guarantee=exactly_once_v2", "Transactional Id authorization failed"),
    ("group.protocol=streams", "The cluster does not support the STREAMS group protocol"),
])
def test_what_is_missing_is_named(begin, setting, missing):
    application, results = begin(**dict([setting.split("=")]))
    instance = application.start()
    failed = instance.await_told("failed")
    assert missing in failed["why"], failed["why"]
    instance.await_told("state", lambda event: event["state"] == "ERROR")
