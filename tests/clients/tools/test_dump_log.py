"""Kafka's own kafka-dump-log reads the segments: sealed ones at any time, all after a clean stop.

The tool checks each batch's CRC (`isvalid: true`) and, with --deep-iteration, decodes each record.
"""

import json
import re
import subprocess
import sys
import time

import pytest

from brokers import THALWEG, Broker
from java_tools import java

DUMP_LOG = "org.apache.kafka.tools.DumpLogSegments"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TOPICS = "org.apache.kafka.tools.TopicCommand"


def dump(files, *options, has_gaps=False):
    done = java(DUMP_LOG, *options, "--files", ",".join(map(str, files)))
    assert done.returncode == 0, done.stderr
    # It reports trouble in words, with exit code 0, some of them on standard error; what
    # compaction took away is not trouble.
    for trouble in ["isvalid: false", "Found", "Mismatches", "Unable", "rror"]:
        assert trouble not in done.stdout + done.stderr, done.stdout[-3000:] + done.stderr[-3000:]
    # It takes the first record of a later segment for one that follows on -1.
    gaps = re.findall(r"^ +\d+ is followed by \d+$", done.stderr, re.MULTILINE)
    assert has_gaps or not gaps, gaps
    return done.stdout


def check_indexes(files):
    """Each is sane, and each of its entries is that of the batch it points to."""
    assert "passed sanity check" in dump(files, "--index-sanity-check")
    dump(files, "--verify-index-only")


def batches(text):
    """(base offset, last offset, codec) of each batch line."""
    return [(int(base), int(last), codec) for base, last, codec in re.findall(
        r"baseOffset: (\d+) lastOffset: (\d+) .*?compresscodec: (\w+)", text)]


def payloads(text):
    return re.findall(r"\| offset: (\d+) .* payload: (\S*)", text)


def create(broker, topic, *options):
    done = java(TOPICS, "--bootstrap-server", broker.bootstrap, "--create", "--topic", topic,
                *options)
    assert done.returncode == 0, done.stdout + done.stderr


def produce(broker, topic, lines, *options):
    done = subprocess.run(["kcat", "-b", broker.bootstrap, "-P", "-t", topic, "-p", "0", *options],
                          input="\n".join(lines).encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def read(broker, topic, form):
    """Every record as kcat shows it in this form, its words apart."""
    done = subprocess.run(["kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-o", "beginning",
                           "-e", "-q", "-f", form], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return [line.split() for line in done.stdout.decode().splitlines()]


@pytest.fixture
def own_broker():
    started = Broker("dump-log").start()
    yield started
    started.stop()
    started.remove()


def test_sealed_segments_of_a_running_broker(own_broker):
    """Several segments are full and sealed while the last one is still written to."""
    create(own_broker, "sealed", "--partitions", "1", "--config", f"segment.bytes={1 << 20}")
    lines = [f"{number}-" + "x" * 10_000 for number in range(700)]
    produce(own_broker, "sealed", lines, "-X", "batch.num.messages=20")
    segments = own_broker.segments()
    assert len(segments) > 5, segments
    sealed = segments[:-1]
    assert all(path.stat().st_size <= 1 << 20 for path in sealed)
    text = dump(sealed, "--deep-iteration", "--print-data-log")
    assert "isvalid: true" in text
    got = payloads(text)
    assert [int(offset) for offset, _ in got] == list(range(int(segments[-1].stem)))
    assert [payload for _, payload in got] == lines[:len(got)]


def test_every_segment_after_a_clean_stop(own_broker):
    """All codecs, as kcat wrote them: the codec in the file is the codec that was asked for."""
    lines = [f"{number}-" + "y" * 200 for number in range(400)]
    for codec in CODECS:
        produce(own_broker, codec, lines, "-z", codec, "-X", "linger.ms=50")
    own_broker.stop()
    segments = own_broker.segments()
    assert len(segments) == len(CODECS)
    seen = set()
    for segment in segments:
        text = dump([segment], "--deep-iteration", "--print-data-log")
        assert [payload for _, payload in payloads(text)] == lines
        seen.update(codec for _, _, codec in batches(text))
    assert seen == set(CODECS)


def test_what_was_flushed_reads_after_a_kill_and_a_clean_stop(own_broker):
    """Recovery leaves segments as readable as those of a broker that never died."""
    for turn in range(3):
        produce(own_broker, "killed", [f"{turn}-{number}" for number in range(200)],
                "-X", "acks=-1")
        own_broker.kill()
        own_broker.start()
    own_broker.stop()
    text = dump(own_broker.segments(), "--deep-iteration", "--print-data-log")
    assert [payload for _, payload in payloads(text)] == [
        f"{turn}-{number}" for turn in range(3) for number in range(200)]


@pytest.fixture
def cleaning_broker():
    started = Broker("dump-cleaned", settings={"log.cleaner.backoff.ms": "200"}).start()
    yield started
    started.stop()
    started.remove()


def sealed_bytes(broker):
    """What the sealed segments hold; a cleaning may take one away while we look."""
    try:
        return sum(path.stat().st_size for path in broker.segments()[:-1])
    except FileNotFoundError:
        return sys.maxsize


def test_cleaned_segments_and_their_indexes(cleaning_broker):
    """After a compaction: valid batches, each key once, indexes that fit; also as we verify it."""
    broker = cleaning_broker
    create(broker, "cleaned", "--partitions", "1", "--config", f"segment.bytes={1 << 20}",
           "--config", "cleanup.policy=compact", "--config", "min.cleanable.dirty.ratio=0.0")
    lines = [f"key-{number % 40}:{number}-" + "x" * 5_000 for number in range(1200)]
    for codec in CODECS:
        produce(broker, "cleaned", lines, "-K", ":", "-z", codec, "-X", "batch.num.messages=20")
    # Seals the segment with the latest of the other keys.
    more = [f"last:{number}-" + "x" * 5_000 for number in range(400)]
    produce(broker, "cleaned", more, "-K", ":", "-X", "batch.num.messages=20")
    latest = dict(line.split(":", 1) for line in lines + more)
    deadline = time.monotonic() + 60
    is_cleaned = False
    while not is_cleaned:
        assert time.monotonic() < deadline, broker.segments()
        is_cleaned = sealed_bytes(broker) <= 1 << 20
        # Readers see the latest of every key while the cleaning goes on, and after it.
        assert dict(read(broker, "cleaned", "%k %s\n")) == latest
    broker.stop()
    *cleaned, active = broker.segments()
    text = dump(cleaned, "--deep-iteration", "--print-data-log", has_gaps=True)
    keys = re.findall(r"\| offset: \d+ .* key: (\S+) payload", text)
    assert sorted(keys) == sorted(latest), "each key once"
    indexes = [path for path in active.parent.iterdir() if path.suffix.endswith("index")]
    assert len(indexes) == 2 * (len(cleaned) + 1), indexes
    check_indexes(indexes)
    verify = subprocess.run([THALWEG, "segment", "verify", *cleaned, active], capture_output=True)
    assert verify.returncode == 0, verify.stdout + verify.stderr


def test_index_files_are_kafkas(own_broker):
    """A file that ends in .index or .timeindex has Kafka's format, and every segment has both."""
    create(own_broker, "indexed", "--partitions", "1", "--config", f"segment.bytes={1 << 20}")
    produce(own_broker, "indexed", [f"{number}-" + "x" * 10_000 for number in range(300)],
            "-X", "batch.num.messages=20")
    own_broker.stop()
    segments = own_broker.segments()
    assert len(segments) > 1, segments
    check_indexes([path.with_suffix(suffix) for path in segments
                   for suffix in [".index", ".timeindex"]])


def test_committed_offsets_after_a_clean_stop(own_broker):
    """The records of __consumer_offsets are Kafka's: its tool decodes every one of them."""
    produce(own_broker, "read", [str(number) for number in range(7)])
    done = java("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server",
                own_broker.bootstrap, "--topic", "read", "--group", "readers", "--from-beginning",
                "--max-messages", "5", "--timeout-ms", "30000")
    assert done.returncode == 0 and done.stdout.split() == ["0", "1", "2", "3", "4"], done.stderr
    own_broker.stop()
    # The partition is the one that knows the group.
    logs = [path for path in own_broker.data_dir.rglob("*.log")
            if "metadata" not in path.parent.name and b"readers" in path.read_bytes()]
    assert len(logs) == 1, logs
    done = java(DUMP_LOG, "--offsets-decoder", "--files", logs[0])
    assert done.returncode == 0 and "rror" not in done.stdout, done.stdout + done.stderr
    records = [(json.loads(key), json.loads(value)) for key, value in re.findall(
        r" key: (\{.*?\}) payload: (\{.*\}|null)$", done.stdout, re.MULTILINE)
        if value != "null"]
    # In the versions that Kafka writes.
    assert {(key["type"], value["version"]) for key, value in records} == {("1", "4"), ("2", "3")}
    offsets = [(key["data"], value["data"]["offset"]) for key, value in records
               if key["type"] == "1"]
    assert offsets[-1] == ({"group": "readers", "topic": "read", "partition": 0}, 5)
    groups = [value["data"] for key, value in records if key["type"] == "2"]
    [member] = next(group["members"] for group in groups if group["members"])
    assert member["subscription"]["topics"] == ["read"]
    assert member["assignment"]["assignedPartitions"] == [{"topic": "read", "partitions": [0]}]
    assert groups[-1]["protocolType"] == "consumer"
    assert groups[-1]["members"] == [], "the reader has left"


def test_the_metadata_log(own_broker):
    """The log of metadata holds KRaft's records, in the versions that Kafka 4.3 writes."""
    create(own_broker, "described", "--partitions", "2", "--config", "retention.ms=60000")
    done = java("kafka.admin.ConfigCommand", "--bootstrap-server", own_broker.bootstrap,
                "--alter", "--add-config", "producer_byte_rate=1024", "--entity-type", "users",
                "--entity-default")
    assert done.returncode == 0, done.stdout + done.stderr
    own_broker.stop()
    [log] = [path for path in own_broker.data_dir.rglob("*.log")
             if path.parent.name == "__cluster_metadata-0"]
    done = java(DUMP_LOG, "--cluster-metadata-decoder", "--files", log)
    assert done.returncode == 0 and "rror" not in done.stdout, done.stdout + done.stderr
    records = [json.loads(record) for record in re.findall(
        r' payload: (\{"type":.*\})$', done.stdout, re.MULTILINE)]

    def of(kind):
        found = [record for record in records if record["type"] == kind]
        return [(record["version"], record["data"]) for record in found]

    [(version, topic)] = of("TOPIC_RECORD")
    assert (version, topic["name"]) == (0, "described")
    partitions = of("PARTITION_RECORD")
    assert [(version, data["partitionId"], data["replicas"], data["isr"], data["leader"])
            for version, data in partitions] == [(2, 0, [1], [1], 1), (2, 1, [1], [1], 1)]
    assert all(len(data["directories"]) == 1 for _, data in partitions)
    assert (0, {"resourceType": 2, "resourceName": "described", "name": "retention.ms",
                "value": "60000"}) in of("CONFIG_RECORD")
    assert of("CLIENT_QUOTA_RECORD") == [(0, {
        "entity": [{"entityType": "user", "entityName": None}], "key": "producer_byte_rate",
        "value": 1024.0, "remove": False})]
