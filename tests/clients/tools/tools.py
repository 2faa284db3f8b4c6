"""Kafka's command-line tools, called as their documentation shows, in one JVM (RunTools.java)."""

import base64
import dataclasses
import pathlib
import selectors
import shlex
import subprocess
import time

from java_tools import LOGGING, class_path, compiled

HERE = pathlib.Path(__file__).parent
# The scripts of Kafka's bin folder and what they start.
CLASSES = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-share-consumer": "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-e2e-latency": "org.apache.kafka.tools.EndToEndLatency",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-replica-verification": "org.apache.kafka.tools.ReplicaVerificationTool",
    "kafka-share-groups": "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    "kafka-streams-application-reset": "org.apache.kafka.tools.StreamsResetter",
    "kafka-streams-groups": "org.apache.kafka.tools.streams.StreamsGroupCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}


@dataclasses.dataclass
class Outcome:
    """What a command did; trailing spaces of its lines are dropped."""
    code: int
    out: str
    err: str

    def lines(self):
        return [line.rstrip() for line in self.out.splitlines() if line.strip()]


class Tools:
    """The JVM. A command that takes too long ends it, and the test with it."""

    def __init__(self):
        path = f"{compiled(HERE / 'RunTools.java')}:{class_path()}"
        self.process = subprocess.Popen(
            ["java", "-Xmx512m", LOGGING, "-cp", path, "RunTools"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.readable = selectors.DefaultSelector()
        self.readable.register(self.process.stdout, selectors.EVENT_READ)

    def run(self, command, bootstrap, input="", seconds=60):
        """Runs a command line; localhost:9092 in it, as documentation has it, is the broker."""
        script, *arguments = shlex.split(command.replace("localhost:9092", bootstrap))
        fields = [CLASSES[script], input, *arguments]
        line = b" ".join(base64.b64encode(field.encode()) for field in fields)
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        answer, deadline = b"", time.monotonic() + seconds
        while not answer.endswith(b"\n"):
            if not self.readable.select(max(0, deadline - time.monotonic())):
                self.process.kill()
                raise AssertionError(f"no end of {command!r} within {seconds} s")
            piece = self.process.stdout.read1()
            assert piece, f"the JVM ended while it ran {command!r}"
            answer += piece
        code, out, err = answer.decode().rstrip("\n").split(" ")
        return Outcome(int(code), *(base64.b64decode(text).decode() for text in (out, err)))

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
