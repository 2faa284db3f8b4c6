"""Tools for what is not here: each says at once what is missing, or does as with a Kafka that has
none of it either.
"""

import subprocess

import pytest

import brokers
from java_tools import LOGGING, class_path, java
from tools import CLASSES

AT = "--bootstrap-server localhost:9092"
only_thalweg = pytest.mark.skipif(brokers.IS_KAFKA, reason="it has what is missing here")


def test_acls(refused, topic):
    """As with Kafka without an authorizer."""
    acls = f"kafka-acls {AT} "
    for command in ["--list", f"--list --topic {topic}", "--add --allow-principal User:reader "
                    f"--operation Read --topic {topic}", f"--remove --force --topic {topic}"]:
        assert "SecurityDisabledException: No Authorizer is configured" in refused(acls + command)


def test_empty_lists(run):
    """What there is none of is told as nothing."""
    assert run(f"kafka-client-metrics {AT} --list") == []
    assert run(f"kafka-share-groups {AT} --list") == []
    assert run(f"kafka-streams-groups {AT} --list") == []
    assert len(run(f"kafka-groups {AT} --list --share")) <= 1
    assert len(run(f"kafka-transactions {AT} find-hanging --broker-id 1")) == 1


@only_thalweg
@pytest.mark.parametrize("command, missing", [
    (f"kafka-transactions {AT} list", "does not support LIST_TRANSACTIONS"),
    (f"kafka-transactions {AT} describe --transactional-id x",
     "failed due to authorization failure"),
    (f"kafka-producer-perf-test {AT} --topic t --num-records 1 --record-size 1 --throughput -1 "
     "--transactional-id x", "Transactional Id authorization failed"),
    (f"kafka-share-groups {AT} --describe --group g", "does not support SHARE_GROUP_DESCRIBE"),
    (f"kafka-streams-groups {AT} --describe --group g",
     "does not support STREAMS_GROUP_DESCRIBE"),
    (f"kafka-client-metrics {AT} --alter --name m --interval 1000 --metrics org.apache.kafka.",
     "This broker takes no metrics of clients"),
    (f"kafka-cluster unregister {AT} --id 7",
     "does not support the broker unregistration API"),
    (f"kafka-metadata-quorum {AT} remove-controller --controller-id 1 "
     "--controller-directory-id AAAAAAAAAAAAAAAAAAAAAA", "does not support REMOVE_RAFT_VOTER"),
    (f"kafka-features {AT} downgrade --feature group.version=0",
     "only supports versions 1-1"),
])
def test_what_is_missing_is_named(jvm, broker, command, missing):
    done = jvm.run(command, broker.bootstrap, seconds=30)
    assert missing in done.out + done.err, f"{done.code}\n{done.out}\n{done.err}"


@only_thalweg
def test_share_consumer(broker):
    # Ends with a hook of the JVM: in one of its own.
    done = java(CLASSES["kafka-console-share-consumer"], "--bootstrap-server", broker.bootstrap,
                "--topic", "t", "--timeout-ms", "1000", seconds=60)
    assert "The cluster does not support the share group protocol" in done.stderr


@only_thalweg
def test_delegation_tokens(refused, tmp_path):
    """Kafka refuses them, too, where connections are not secure."""
    settings = tmp_path / "client.properties"
    settings.write_text("request.timeout.ms=10000\n")
    tokens = f"kafka-delegation-tokens {AT} --command-config {settings} "
    assert "does not support DESCRIBE_DELEGATION_TOKEN" in refused(tokens + "--describe")
    assert "does not support CREATE_DELEGATION_TOKEN" in refused(
        tokens + "--create --max-life-time-period -1")


# What is left of an application.

def test_streams_application_reset(run, topic):
    """Input is read from the beginning again, and the application's own topics are gone."""
    own = [f"{topic}-app-store-changelog", f"{topic}-app-by-key-repartition"]
    for name in [topic, *own]:
        run(f"kafka-topics --create --topic {name} --partitions 1 {AT}")
    run(f"kafka-console-producer --topic {topic} {AT}", "one\ntwo\nthree\n")
    group = f"kafka-consumer-groups {AT} --group {topic}-app "
    run(group + f"--reset-offsets --topic {topic} --to-latest --execute")
    reset = f"kafka-streams-application-reset {AT} --application-id {topic}-app "
    shown = run(reset + f"--input-topics {topic}")
    assert f"Topic: {topic} Partition: 0 Offset: 0" in shown
    assert not set(own) & set(run(f"kafka-topics --list {AT}"))
    [_, offsets] = run(group + "--describe")
    assert offsets.split()[3:6] == ["0", "3", "3"]


def test_replica_verification(run, broker, topic):
    """It looks at all replicas again and again, and finds that none is behind."""
    run(f"kafka-topics --create --topic {topic} --partitions 2 {AT}")
    run(f"kafka-console-producer --topic {topic} {AT}", "one\ntwo\n")
    tool = subprocess.Popen(
        ["java", "-Xmx256m", LOGGING, "-cp", str(class_path()),
         CLASSES["kafka-replica-verification"], "--broker-list", broker.bootstrap,
         "--topics-include", topic, "--report-interval-ms", "200"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = brokers.Output(tool.stdout, broker.directory / "replica-verification")
    try:
        # It asks for nothing but records, in the newest version that it knows.
        found = output.find(r"max lag is (\d+) for partition \S+ at offset \d+ among 2 partitions",
                            brokers.START_SECONDS)
        assert found and found[1] == "0", output.said[-2000:]
    finally:
        tool.kill()
        tool.wait()
