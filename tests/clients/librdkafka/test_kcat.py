"""kcat produces and consumes: librdkafka 2.0.2 on Debian 12.

That version tests for Produce v0 exactly before it compresses, so a broker that does not list
version 0 gets uncompressed batches without a word; the suite of Kafka's tools reads the codec back
from the segment.
"""

import json
import subprocess

import pytest

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def kcat(broker, *arguments, stdin=None):
    done = subprocess.run(["kcat", "-b", broker.bootstrap, *arguments], input=stdin,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def read(broker, topic):
    lines = kcat(broker, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("acks", ["0", "1", "-1"])
@pytest.mark.parametrize("codec", CODECS)
def test_round_trip(broker, topic, codec, acks):
    lines = [b"key-%d:value-%d%s" % (number, number, b"x" * (number % 300))
             for number in range(1000)]
    kcat(broker, "-P", "-t", topic, "-p", "0", "-K", ":", "-z", codec, "-H", "colour=green",
         "-H", "size=7", "-X", f"acks={acks}", "-X", "linger.ms=20", stdin=b"\n".join(lines))
    got = read(broker, topic)
    assert [(each["key"] + ":" + each["payload"]).encode() for each in got] == lines
    assert [each["offset"] for each in got] == list(range(len(lines)))
    assert all(each["headers"] == ["colour", "green", "size", "7"] for each in got)


@pytest.mark.parametrize("codec", CODECS)
def test_idempotent_producer(broker, topic, codec):
    lines = [b"%d" % number for number in range(2000)]
    kcat(broker, "-P", "-t", topic, "-p", "0", "-z", codec, "-X", "enable.idempotence=true",
         "-X", "batch.num.messages=50", stdin=b"\n".join(lines))
    assert [each["payload"].encode() for each in read(broker, topic)] == lines


def test_null_values(broker, topic):
    kcat(broker, "-P", "-t", topic, "-p", "0", "-K", ":", "-Z", stdin=b"gone:\nkept:yes")
    assert [(each["key"], each["payload"]) for each in read(broker, topic)] == [
        ("gone", None), ("kept", "yes")]


def test_a_file_as_one_message(broker, topic, tmp_path):
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(range(1, 256)) * 3000)
    kcat(broker, "-P", "-t", topic, "-p", "0", str(whole))
    assert kcat(broker, "-C", "-t", topic, "-e", "-q", "-D", "") == whole.read_bytes()


def test_metadata_list(broker, topic):
    kcat(broker, "-P", "-t", topic, stdin=b"one")
    listing = json.loads(kcat(broker, "-L", "-J", "-t", topic))
    assert [each["topic"] for each in listing["topics"]] == [topic]
    assert listing["topics"][0]["partitions"][0]["leader"] == listing["brokers"][0]["id"]
    assert listing["brokers"][0]["name"] == broker.bootstrap


def test_offsets_from_a_timestamp(broker, topic):
    kcat(broker, "-P", "-t", topic, "-p", "0", stdin=b"a\nb\nc")
    assert kcat(broker, "-Q", "-t", f"{topic}:0:1").split()[-1] == b"0"


def test_the_last_records_only(broker, topic):
    kcat(broker, "-P", "-t", topic, "-p", "0", stdin=b"a\nb\nc\nd")
    assert kcat(broker, "-C", "-t", topic, "-o", "-2", "-e", "-q") == b"c\nd\n"
