"""Kafka's own command-line tools against a running broker, each as its documentation shows it.

What is expected was taken from Apache Kafka 4.3.1, against which these tests pass as well
(THALWEG_TEST_BROKER=apache-kafka); ids, ports, paths and times are left out of the comparison.
"""

import json
import re
import time

import brokers
from java_tools import java
from tools import CLASSES

COLLIDE = ("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore "
           "('_') could collide. To avoid issues it is best to use either, but not both.")


def until(wanted, ask):
    """Asks until the answer is right: a broker of Kafka hears of a change after its requester."""
    deadline = time.monotonic() + 20
    while not wanted(answer := ask()):
        assert brokers.IS_KAFKA and time.monotonic() < deadline, answer
    return answer


def columns(lines):
    """Words of each line; a tool's columns are as wide as it likes."""
    return [line.split() for line in lines]


def described(lines):
    """Output of kafka-topics --describe without ids, and the settings in order. Kafka with
    eligible leader replicas sets min.insync.replicas for all brokers, and shows it."""
    shown = []
    for line in lines:
        line = re.sub(r"TopicId: [\w-]{22}", "TopicId: ID", line)
        head, is_topic, configs = line.partition("Configs: ")
        if line.startswith("Topic:"):
            head = line if not is_topic else head
            words = [word for word in configs.split(",") if word != "min.insync.replicas=1"]
            line = re.sub(r"\s*Configs:$", "", head.rstrip()) + "\tConfigs: "
            line = (line + ",".join(sorted(words))).rstrip()
        shown.append(re.sub(r"\s+Elr:.*$", "", line))
    return shown


# Topics.

def test_topics_as_in_the_tutorial(run, refused):
    create = ("kafka-topics --create --topic my_first_topic --bootstrap-server localhost:9092 "
              "--partitions 1 --replication-factor 1")
    assert run(create) == [COLLIDE, "Created topic my_first_topic."]
    assert "Topic 'my_first_topic' already exists." in refused(create)
    assert run("kafka-topics --create --if-not-exists --topic my_first_topic "
               "--bootstrap-server localhost:9092") == [COLLIDE]
    describe = "kafka-topics --describe --topic my_first_topic --bootstrap-server localhost:9092"
    head = "Topic: my_first_topic\tTopicId: ID\tPartitionCount: %d\tReplicationFactor: 1\tConfigs:"
    partition = "\tTopic: my_first_topic\tPartition: %d\tLeader: 1\tReplicas: 1\tIsr: 1"
    assert described(run(describe)) == [head % 1, partition % 0]
    assert "my_first_topic" in run("kafka-topics --list --bootstrap-server localhost:9092")
    alter = "kafka-topics --alter --topic my_first_topic --bootstrap-server localhost:9092"
    assert run(alter + " --partitions 2") == []
    assert described(run(describe)) == [head % 2, partition % 0, partition % 1]
    assert ("The topic my_first_topic currently has 2 partition(s); 1 would not be an increase."
            in refused(alter + " --partitions 1"))
    delete = "kafka-topics --delete --topic my_first_topic --bootstrap-server localhost:9092"
    assert run(delete) == []
    assert "Topic 'my_first_topic' does not exist as expected" in refused(delete)
    assert "Topic 'my_first_topic' does not exist as expected" in refused(describe)


def test_topics_with_settings(run, refused, topic):
    create = f"kafka-topics --create --topic {topic} --bootstrap-server localhost:9092 "
    assert run(create + "--partitions 3 --config retention.ms=60000 "
               "--config segment.bytes=1048576") == [f"Created topic {topic}."]
    lines = described(
        run(f"kafka-topics --describe --topic {topic} --bootstrap-server localhost:9092"))
    assert lines[0].endswith("Configs: retention.ms=60000,segment.bytes=1048576")
    assert len(lines) == 4
    bad = f"kafka-topics --create --topic {topic}-bad --bootstrap-server localhost:9092 "
    assert "Unable to replicate the partition 3 time(s)" in refused(bad + "--replication-factor 3")
    # The tool checks the value by itself; what it does not know, the broker checks.
    assert "Invalid value x for configuration retention.ms" in refused(
        bad + "--config retention.ms=x")
    assert f"{topic}-bad" not in run("kafka-topics --list --bootstrap-server localhost:9092")
    for troubled in ["under-replicated-partitions", "unavailable-partitions",
                     "under-min-isr-partitions", "at-min-isr-partitions"]:
        found = run(f"kafka-topics --describe --{troubled} --bootstrap-server localhost:9092")
        # One in-sync replica is as many as it takes.
        assert bool(found) == (troubled == "at-min-isr-partitions"), (troubled, found)


# Records.

def test_console_producer_and_consumer(run, topic):
    produce = f"kafka-console-producer --topic {topic} --bootstrap-server localhost:9092"
    assert run(produce, "This is my first event\nThis is my second event\n") == []
    consume = (f"kafka-console-consumer --topic {topic} --from-beginning "
               "--bootstrap-server localhost:9092 --timeout-ms 30000 ")
    assert run(consume + "--max-messages 2") == ["This is my first event",
                                                 "This is my second event"]
    with_keys = " --reader-property parse.key=true --reader-property key.separator=:"
    assert run(produce + with_keys + " --compression-codec zstd", "k:three\nk:four\n") == []
    shown = ("--max-messages 4 --formatter-property print.key=true "
             "--formatter-property print.offset=true --formatter-property print.partition=true")
    assert columns(run(consume + shown))[2:] == [["Partition:0", "Offset:2", "k", "three"],
                                                 ["Partition:0", "Offset:3", "k", "four"]]
    one = (f"kafka-console-consumer --topic {topic} --partition 0 --offset 3 --max-messages 1 "
           "--bootstrap-server localhost:9092 --timeout-ms 30000")
    assert run(one) == ["four"]


def test_console_consumer_in_a_group_resumes(run, topic):
    run(f"kafka-console-producer --topic {topic} --bootstrap-server localhost:9092",
        "one\ntwo\nthree\n")
    consume = (f"kafka-console-consumer --topic {topic} --group {topic} --from-beginning "
               "--bootstrap-server localhost:9092 --timeout-ms 30000 --max-messages ")
    assert run(consume + "2") == ["one", "two"]
    assert run(consume + "1") == ["three"]


def test_get_offsets_and_delete_records(run, topic, tmp_path):
    run(f"kafka-topics --create --topic {topic} --partitions 2 --bootstrap-server localhost:9092")
    with_keys = "--reader-property parse.key=true --reader-property key.separator=:"
    run(f"kafka-console-producer --topic {topic} --bootstrap-server localhost:9092 {with_keys}",
        "k:one\nk:two\nk:three\n")
    offsets = "kafka-get-offsets --bootstrap-server localhost:9092"
    whole = f"{offsets} --topic {topic}"
    ends = run(whole)
    assert sorted(ends) in ([f"{topic}:0:0", f"{topic}:1:3"], [f"{topic}:0:3", f"{topic}:1:0"])
    used = 0 if f"{topic}:0:3" in ends else 1
    assert run(whole + " --time earliest") == [f"{topic}:0:0", f"{topic}:1:0"]
    one = f"{offsets} --topic-partitions {topic}:{used} --time"
    # Several records may be of the same millisecond; then it is the first of them.
    [newest] = run(f"{one} max-timestamp")
    assert newest in [f"{topic}:{used}:{offset}" for offset in range(3)]
    assert run(f"{one} earliest-local") == [f"{topic}:{used}:0"]
    assert run(f"{one} latest-tiered") == []
    assert run(f"{one} 0") == [f"{topic}:{used}:0"]
    file = tmp_path / "delete.json"
    file.write_text(json.dumps({"version": 1, "partitions": [
        {"topic": topic, "partition": used, "offset": 2}]}))
    assert run("kafka-delete-records --bootstrap-server localhost:9092 "
               f"--offset-json-file {file}") == [
        "Executing records delete operation", "Records delete operation completed:",
        f"partition: {topic}-{used}\tlow_watermark: 2"]
    assert run(f"{one} earliest") == [f"{topic}:{used}:2"]
    file.write_text(json.dumps({"version": 1, "partitions": [
        {"topic": topic, "partition": used, "offset": 9}]}))
    assert "OffsetOutOfRangeException" in "".join(
        run(f"kafka-delete-records --bootstrap-server localhost:9092 --offset-json-file {file}"))


def test_performance_tools(run, topic):
    produced = run(f"kafka-producer-perf-test --topic {topic} --num-records 2000 "
                   "--record-size 100 --throughput -1 --bootstrap-server localhost:9092")
    assert re.match(r"2000 records sent, [\d.]+ records/sec ", produced[-1])
    consumed = run(f"kafka-consumer-perf-test --bootstrap-server localhost:9092 --topic {topic} "
                   "--num-records 2000")
    assert consumed[-2].startswith("start.time, end.time, data.consumed.in.MB, MB.sec")
    assert consumed[-1].split(", ")[4] == "2000"
    latencies = run("kafka-e2e-latency --bootstrap-server localhost:9092 --num-records 50 "
                    f"--topic {topic}-e2e --producer-acks all --record-size 100")
    assert latencies[-2].startswith("Avg latency: ")
    assert latencies[-1].startswith("Percentiles: 50th = ")


def test_verifiable_producer_and_consumer(run, broker, topic):
    # Ends with a hook of the JVM: in one of its own.
    done = java(CLASSES["kafka-verifiable-producer"], "--bootstrap-server", broker.bootstrap,
                "--topic", topic, "--max-messages", 5)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    sent = [(e["value"], e["offset"]) for e in events if e["name"] == "producer_send_success"]
    assert sent == [(str(number), number) for number in range(5)]
    assert events[-1]["name"] == "tool_data" and events[-1]["acked"] == 5
    lines = run(f"kafka-verifiable-consumer --bootstrap-server localhost:9092 --topic {topic} "
                f"--group-id {topic} --max-messages 5")
    events = [json.loads(line) for line in lines]
    assert [event["name"] for event in events] == [
        "startup_complete", "partitions_assigned", "records_consumed", "offsets_committed",
        "partitions_revoked", "shutdown_complete"]
    partition = {"topic": topic, "partition": 0}
    assert events[1]["partitions"] == [partition]
    assert events[2]["count"] == 5 and events[2]["partitions"][0]["maxOffset"] == 4
    assert events[3]["offsets"] == [partition | {"offset": 5}] and events[3]["success"]


# Settings.

CONFIGS = "kafka-configs --bootstrap-server localhost:9092 "


def test_configs_of_topics(run, refused, topic):
    run(f"kafka-topics --create --topic {topic} --bootstrap-server localhost:9092")
    entity = CONFIGS + f"--entity-type topics --entity-name {topic} "
    head = f"Dynamic configs for topic {topic} are:"
    assert run(entity + "--describe") == [head]
    updated = [f"Completed updating config for topic {topic}."]
    assert run(entity + "--alter --add-config max.message.bytes=128000,"
               "leader.replication.throttled.replicas=[0:1,1:1]") == updated
    assert run(entity + "--describe") == [
        head,
        "  leader.replication.throttled.replicas=0:1,1:1 sensitive=false "
        "synonyms={DYNAMIC_TOPIC_CONFIG:leader.replication.throttled.replicas=0:1,1:1}",
        "  max.message.bytes=128000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message."
        "bytes=128000, DEFAULT_CONFIG:message.max.bytes=1048588}"]
    assert run(entity + "--alter --delete-config max.message.bytes,"
               "leader.replication.throttled.replicas") == updated
    assert run(entity + "--describe") == [head]
    shown = run(entity + "--describe --all")
    assert ("  segment.bytes=1073741824 sensitive=false synonyms={DEFAULT_CONFIG:"
            "log.segment.bytes=1073741824}") in shown
    assert "InvalidConfigurationException" in refused(entity + "--alter --add-config no.such=1")
    assert "InvalidConfigurationException" in refused(entity + "--alter --add-config flush.ms=x")
    assert "UnknownTopicOrPartitionException" in refused(
        CONFIGS + "--entity-type topics --entity-name none-such --alter --add-config flush.ms=1")
    # A key that was never set can be removed.
    assert run(entity + "--alter --delete-config flush.ms") == updated


def test_configs_of_brokers(run, refused):
    own = CONFIGS + "--entity-type brokers --entity-name 1 "
    all = CONFIGS + "--entity-type brokers --entity-default "
    key = "log.cleaner.threads"
    head = "Dynamic configs for broker 1 are:"
    defaults = "Default configs for brokers in the cluster are:"
    assert run(own + f"--alter --add-config {key}=2") == [
        "Completed updating config for broker 1."]
    line = (f"  {key}=2 sensitive=false synonyms={{DYNAMIC_BROKER_CONFIG:{key}=2, "
            f"DEFAULT_CONFIG:{key}=1}}")
    until(lambda lines: line in lines, lambda: run(own + "--describe"))
    run(own + f"--alter --delete-config {key}")
    shown = until(lambda lines: not any(key in line for line in lines),
                  lambda: run(own + "--describe"))
    assert shown[0] == head
    assert run(all + f"--alter --add-config {key}=2") == [
        "Completed updating default config for brokers in the cluster."]
    line = f"  {key}=2 sensitive=false synonyms={{DYNAMIC_DEFAULT_BROKER_CONFIG:{key}=2}}"
    shown = until(lambda lines: line in lines, lambda: run(all + "--describe"))
    assert shown[0] == defaults
    run(all + f"--alter --delete-config {key}")
    until(lambda lines: not any(key in line for line in lines), lambda: run(all + "--describe"))
    assert "InvalidRequestException" in refused(own + "--alter --add-config node.id=2")
    level = run(CONFIGS + "--entity-type broker-loggers --entity-name 1 --describe")
    assert level[0] == "Dynamic configs for broker-logger 1 are:"
    assert any(re.match(r"  root=\w+ sensitive=false synonyms=\{\}", line) for line in level)


def test_configs_of_groups_and_client_metrics(run, refused, topic):
    entity = CONFIGS + f"--entity-type groups --entity-name {topic} "
    key = "consumer.session.timeout.ms"
    assert run(entity + f"--alter --add-config {key}=50000") == [
        f"Completed updating config for group {topic}."]
    shown = [f"Dynamic configs for group {topic} are:",
             f"  {key}=50000 sensitive=false synonyms={{DYNAMIC_GROUP_CONFIG:{key}=50000, "
             f"DEFAULT_CONFIG:group.{key}=45000}}"]
    assert run(entity + "--describe") == shown
    every = run(CONFIGS + "--entity-type groups --describe")
    assert every[every.index(shown[0]):][:2] == shown
    assert "InvalidConfigurationException" in refused(entity + f"--alter --add-config {key}=1")
    run(entity + f"--alter --delete-config {key}")
    assert run(entity + "--describe") == [
        f"The group '{topic}' doesn't exist and doesn't have dynamic config."]
    assert run(CONFIGS + "--entity-type client-metrics --describe") == []


def test_configs_of_quotas(run, refused):
    entity = "--entity-type users --entity-name user1 --entity-type clients --entity-name clientA"
    quotas = "producer_byte_rate=1024,consumer_byte_rate=2048,request_percentage=200"
    assert run(f"{CONFIGS} --alter --add-config '{quotas}' {entity}") == [
        "Completed updating config for user user1."]
    shown = run(f"{CONFIGS} --describe {entity}")
    head, _, values = shown[0].partition(" are ")
    assert head == "Quota configs for user-principal 'user1', client-id 'clientA'"
    assert sorted(values.split(", ")) == ["consumer_byte_rate=2048.0", "producer_byte_rate=1024.0",
                                          "request_percentage=200.0"]
    keys = ",".join(word.split("=")[0] for word in quotas.split(","))
    run(f"{CONFIGS} --alter --delete-config '{keys}' {entity}")
    assert run(f"{CONFIGS} --describe {entity}") == []
    assert "InvalidRequestException" in refused(
        f"{CONFIGS} --alter --add-config producer_byte_rate=-1 {entity}")


# The cluster.

def test_broker_api_versions(run):
    shown = run("kafka-broker-api-versions --bootstrap-server localhost:9092")
    assert re.match(r"\S+ \(id: 1 rack: null isFenced: false\) -> \($", shown[0])
    versions = dict(re.findall(r"^\t(\w+)\(\d+\): (.*?),?$", "\n".join(shown), re.MULTILINE))
    for api, range in {"Produce": "0 to 13 [usable: 13]", "Metadata": "0 to 13 [usable: 13]",
                       "IncrementalAlterConfigs": "0 to 1 [usable: 1]",
                       "DescribeTopicPartitions": "0 [usable: 0]"}.items():
        assert versions[api] == range
    # What there is, is what Kafka has.
    assert not any("unknown" in name.lower() for name in versions)


def test_log_dirs(run, broker, topic):
    run(f"kafka-topics --create --topic {topic} --partitions 2 --bootstrap-server localhost:9092")
    run(f"kafka-console-producer --topic {topic} --bootstrap-server localhost:9092", "x\n")
    shown = run("kafka-log-dirs --bootstrap-server localhost:9092 --describe "
                f"--topic-list {topic}")
    assert shown[:2] == ["Querying brokers for log directories information",
                         "Received log directory information from brokers 1"]
    [described] = json.loads(shown[2])["brokers"]
    [directory] = described["logDirs"]
    assert described["broker"] == 1 and directory["error"] is None
    assert directory["logDir"] == str(broker.data_dir)
    sizes = {p["partition"]: p["size"] for p in directory["partitions"]}
    assert sorted(sizes) == [f"{topic}-0", f"{topic}-1"]
    # One record with no key and a value of one byte, in a batch of its own.
    assert sorted(sizes.values()) == [0, 69]
    assert not any(p["offsetLag"] or p["isFuture"] for p in directory["partitions"])


def test_leader_election(run, refused, topic):
    run(f"kafka-topics --create --topic {topic} --bootstrap-server localhost:9092")
    elect = "kafka-leader-election --bootstrap-server localhost:9092 --election-type "
    assert run(elect + "preferred --all-topic-partitions") == []
    assert run(elect + f"preferred --topic {topic} --partition 0") == [
        f"Valid replica already elected for partitions {topic}-0"]
    assert run(elect + f"unclean --topic {topic} --partition 0") == [
        f"Valid replica already elected for partitions {topic}-0"]
    assert "No such topic as none-such" in refused(
        elect + "unclean --topic none-such --partition 0")


def test_reassign_partitions(run, refused, topic, tmp_path):
    run(f"kafka-topics --create --topic {topic} --bootstrap-server localhost:9092")
    reassign = "kafka-reassign-partitions --bootstrap-server localhost:9092 "
    topics, plan = tmp_path / "topics.json", tmp_path / "plan.json"
    topics.write_text(json.dumps({"version": 1, "topics": [{"topic": topic}]}))
    shown = run(f"{reassign} --generate --topics-to-move-json-file {topics} --broker-list 1")
    assert shown[0] == "Current partition replica assignment"
    assert shown[2] == "Proposed partition reassignment configuration"
    assert json.loads(shown[3])["partitions"] == [
        {"topic": topic, "partition": 0, "replicas": [1], "log_dirs": ["any"]}]
    plan.write_text(shown[3])
    for throttle in ["", "--throttle 1000"]:
        shown = run(f"{reassign} --execute --reassignment-json-file {plan} {throttle}")
        assert shown[-1] == f"Successfully started partition reassignment for {topic}-0"
        assert run(f"{reassign} --verify --reassignment-json-file {plan}") == [
            "Status of partition reassignment:",
            f"Reassignment of partition {topic}-0 is completed.",
            "Clearing broker-level throttles on broker 1",
            f"Clearing topic-level throttles on topic {topic}"]
    shown = run(f"{CONFIGS} --entity-type topics --entity-name {topic} --describe")
    assert len(shown) == 1, "no throttle is left"
    assert run(f"{reassign} --list") == ["No partition reassignments found."]
    plan.write_text(plan.read_text().replace("[1]", "[2]"))
    assert "Unknown broker id 2" in refused(
        f"{reassign} --execute --reassignment-json-file {plan}")
    plan.write_text(plan.read_text().replace("[2]", "[1]"))
    assert any("NoReassignmentInProgress" in line or "None of the specified" in line for line in
               run(f"{reassign} --cancel --reassignment-json-file {plan}"))


def test_reassign_between_log_directories(run, refused, broker, topic, tmp_path):
    """The tool asks for a directory where the plan names one: its own is where a replica is."""
    run(f"kafka-topics --create --topic {topic} --bootstrap-server localhost:9092")
    reassign = "kafka-reassign-partitions --bootstrap-server localhost:9092 "
    plan, own, other = tmp_path / "plan.json", str(broker.data_dir), str(tmp_path)

    def write(directory):
        plan.write_text(json.dumps({"version": 1, "partitions": [
            {"topic": topic, "partition": 0, "replicas": [1], "log_dirs": [directory]}]}))

    write(own)
    for throttle in ["", "--replica-alter-log-dirs-throttle 1000"]:
        shown = run(f"{reassign} --execute --reassignment-json-file {plan} {throttle}")
        assert shown[-2:] == [
            f"Successfully started partition reassignment for {topic}-0",
            f"Successfully started moving log directory to {own} for replica {topic}-0 with "
            "broker 1"]
        assert run(f"{reassign} --verify --reassignment-json-file {plan}") == [
            "Status of partition reassignment:",
            f"Reassignment of partition {topic}-0 is completed.",
            f"Reassignment of replica {topic}-0-1 completed successfully.",
            "Clearing broker-level throttles on broker 1",
            f"Clearing topic-level throttles on topic {topic}"]
    write(other)
    said = refused(f"{reassign} --execute --reassignment-json-file {plan}")
    assert f"Failed to alter dir for {topic}-0-1" in said
    assert "LogDirNotFoundException" in said
    assert f"Partition {topic}-0 on broker 1 is not being moved from log dir {own} to {other}." in \
        run(f"{reassign} --verify --reassignment-json-file {plan}")


def test_cluster_quorum_and_features(run, refused):
    [identity] = run("kafka-cluster cluster-id --bootstrap-server localhost:9092")
    assert re.fullmatch(r"Cluster ID: [\w-]{22}", identity)
    endpoints = columns(run("kafka-cluster list-endpoints --bootstrap-server localhost:9092"))
    assert endpoints[0] == ["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"]
    assert endpoints[1][:2] == ["1", "127.0.0.1"]
    assert endpoints[1][3:] == ["null", "unfenced", "broker"]
    quorum = "kafka-metadata-quorum --bootstrap-server localhost:9092 describe "
    status = dict(re.split(r":\s+", line, maxsplit=1) for line in run(quorum + "--status"))
    assert status["ClusterId"] == identity.removeprefix("Cluster ID: ")
    assert status["LeaderId"] == "1" and int(status["HighWatermark"]) > 0
    assert status["MaxFollowerLag"] == status["MaxFollowerLagTimeMs"] == "0"
    assert [voter["id"] for voter in json.loads(status["CurrentVoters"])] == [1]
    assert status["CurrentObservers"] == "[]"
    head, voter = columns(run(quorum + "--replication"))
    assert head == ["NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp",
                    "LastCaughtUpTimestamp", "Status"]
    assert voter[0] == "1" and voter[3] == "0" and voter[-1] == "Leader"
    shown = run("kafka-features --bootstrap-server localhost:9092 describe")
    levels = {words[1]: words[words.index("FinalizedVersionLevel:") + 1]
              for words in columns(shown)}
    assert levels["metadata.version"] == "4.3-IV0"
    upgrade = "kafka-features --bootstrap-server localhost:9092 upgrade --feature "
    assert "does not support this feature" in refused(upgrade + "no.such.feature=1") \
        or brokers.IS_KAFKA
    assert "supports versions" in refused(upgrade + "metadata.version=31")


def test_transactions_describe_producers(run, topic):
    run(f"kafka-console-producer --topic {topic} --bootstrap-server localhost:9092",
        "one\ntwo\n")
    shown = columns(run("kafka-transactions --bootstrap-server localhost:9092 describe-producers "
                        f"--topic {topic} --partition 0"))
    assert shown[0] == ["ProducerId", "ProducerEpoch", "LatestCoordinatorEpoch", "LastSequence",
                        "LastTimestamp", "CurrentTransactionStartOffset"]
    [producer] = shown[1:]
    assert producer[1:4] == ["0", "-1", "1"] and producer[5] == "None"


# Groups.

GROUPS = "kafka-consumer-groups --bootstrap-server localhost:9092 "
OFFSETS_HEAD = ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG",
                "CONSUMER-ID", "HOST", "CLIENT-ID"]


def test_consumer_groups(run, topic):
    run(f"kafka-topics --create --topic {topic} --partitions 2 --bootstrap-server localhost:9092")
    with_keys = "--reader-property parse.key=true --reader-property key.separator=:"
    run(f"kafka-console-producer --topic {topic} --bootstrap-server localhost:9092 {with_keys}",
        "k:one\nk:two\nk:three\n")
    consume = (f"kafka-console-consumer --topic {topic} --group {topic} --from-beginning "
               "--bootstrap-server localhost:9092 --timeout-ms 30000 --max-messages ")
    assert run(consume + "2") == ["one", "two"]
    assert topic in run(GROUPS + "--list")
    assert [topic, "Empty"] in columns(run(GROUPS + "--list --state"))
    assert [topic, "Classic", "consumer"] in columns(
        run("kafka-groups --bootstrap-server localhost:9092 --list"))
    one = GROUPS + f"--group {topic} "

    def offsets():
        """(current, end, lag) of the partition that has records; the other one is empty."""
        head, *rows = columns(run(one + "--describe"))
        assert head == OFFSETS_HEAD
        assert all(row[:2] == [topic, topic] and row[6:] == ["-"] * 3 for row in rows)
        used, empty = sorted(rows, key=lambda row: row[4] == "0")
        assert empty[3:6] == ["0", "0", "0"]
        return tuple(map(int, used[3:6])), int(used[2])

    ends, used = offsets()
    assert ends == (2, 3, 1)
    assert columns(run(one + "--describe --members")) == [
        ["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"]]
    head, state = columns(run(one + "--describe --state"))
    assert head == ["GROUP", "COORDINATOR", "(ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"]
    assert state[0] == topic and state[2:] == ["(1)", "-", "Empty", "0"]

    reset = one + "--reset-offsets "
    new = [["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"]]
    both = sorted([topic, topic, str(index), "0"] for index in (0, 1))
    shown = columns(run(reset + f"--topic {topic} --to-earliest --dry-run"))
    assert shown[:1] == new and sorted(shown[1:]) == both
    assert offsets()[0] == (2, 3, 1), "nothing but a try"
    run(reset + f"--topic {topic} --to-earliest --execute")
    assert offsets()[0] == (0, 3, 3)
    assert run(consume + "3") == ["one", "two", "three"]
    assert columns(run(reset + f"--topic {topic}:{used} --shift-by -2 --execute")) == new + [
        [topic, topic, str(used), "1"]]
    assert offsets()[0] == (1, 3, 2)
    assert run(reset + f"--topic {topic}:{used} --to-offset 2 --export --dry-run") == [
        f"{topic},{used},2"]
    run(reset + "--all-topics --to-latest --execute")
    assert offsets()[0] == (3, 3, 0)

    shown = columns(run(one + f"--delete-offsets --topic {topic}"))
    assert shown[1] == ["TOPIC", "PARTITION", "STATUS"]
    assert sorted(shown[2:]) == [[topic, "0", "Successful"], [topic, "1", "Successful"]]
    assert run(one + "--delete") == [
        f"Deletion of requested consumer groups ('{topic}') was successful."]
    assert f"Group {topic} not found." in " ".join(run(one + "--describe"))
    assert topic not in run(GROUPS + "--list")
