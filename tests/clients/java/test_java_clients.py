"""The Apache Kafka producer and consumer; what they do is in RoundTrip.java.

One JVM runs all cases; each is a test of its own here.
"""

import pathlib
import re

import pytest

from java_tools import compiled, java

HERE = pathlib.Path(__file__).parent
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CASES = [
    *(f"round-trip-{codec}-acks-{acks}" for codec in CODECS for acks in ["0", "1", "all"]),
    *(f"idempotent-{codec}" for codec in CODECS),
    "partitions-keep-their-order",
    "topic-appears-when-first-written-to",
    "seek-ends-and-times",
    "null-key-and-null-value",
]


@pytest.fixture(scope="module")
def outcomes(broker):
    done = java("RoundTrip", broker.bootstrap,
                extra_path=compiled(HERE / "RoundTrip.java"), seconds=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (outcome, why) for outcome, name, why in re.findall(
        r"^(passed|failed) ([^:\n]+)(.*)$", done.stdout, re.MULTILINE)}


@pytest.mark.parametrize("case", CASES)
def test_java_client(outcomes, case):
    assert outcomes[case][0] == "passed", outcomes[case][1]


def test_no_case_is_left_out(outcomes):
    assert set(outcomes) == set(CASES)
