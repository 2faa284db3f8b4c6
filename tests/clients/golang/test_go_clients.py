"""The clients written in Go: franz-go, Sarama, kafka-go; what they do is in the folders here.

One process for each client runs all of its cases, some at a time, and all three run side by side:
most of a case is waiting for a heartbeat. Each case is a test of its own here.
"""

import pathlib
import re
import subprocess

import pytest

from brokers import SUPPORT

HERE = pathlib.Path(__file__).parent
SECONDS = 300
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
ROUND_TRIPS = [f"round-trip-{codec}-acks-{acks}" for codec in CODECS for acks in ["0", "1", "all"]]
IDEMPOTENT = [f"idempotent-{codec}" for codec in CODECS]
CASES = {
    "franz": [
        *ROUND_TRIPS, *IDEMPOTENT, "null-and-empty", "topic-appears-when-first-written-to",
        "starts-at-offsets", "starts-at-times", "pause-and-resume", "truncated-below-the-reader",
        "big-records", "regex-without-a-group", "static-member-returns",
        *(f"{what}-{balancer}" for what in ["group", "regex"]
          for balancer in ["cooperative-sticky", "sticky", "range", "round-robin",
                           "kip-848-uniform", "kip-848-range"]),
        "topics", "configs", "partitions", "delete-records", "list-offsets", "committed-offsets",
        "cluster", "log-dirs", "quotas", "leaders-and-replicas", "producers", "refused-politely",
    ],
    "sarama": [
        *ROUND_TRIPS, *IDEMPOTENT, "async-producer", "null-and-empty",
        "topic-appears-when-first-written-to", "offsets-and-times", "too-large",
        *(f"as-for-kafka-{version}" for version in [
            "0.11.0.0", "1.1.0", "2.1.0", "2.8.0", "3.6.0", "4.0.0", "4.3.1"]),
        *(f"group-{strategy}" for strategy in [
            "cooperative-sticky", "sticky", "range", "round-robin"]),
        "static-member-returns", "offset-manager", "topics", "configs", "records-and-offsets",
        "group-offsets", "cluster", "quotas", "refused-politely",
    ],
    "kafkago": [
        *ROUND_TRIPS, "null-and-empty", "topic-appears-when-first-written-to",
        "reader-offsets-and-times", "too-large", "group-range", "group-round-robin",
        "group-generations", "conn-topics", "conn-records", "conn-seek", "client-topics",
        "client-configs", "client-records", "client-group-offsets", "client-cluster",
        "client-quotas", "refused-politely",
    ],
}


@pytest.fixture(scope="module")
def outcomes(broker):
    """What became of each case, by client and name."""
    made = subprocess.run([SUPPORT / "environment", "golang"], check=True, capture_output=True,
                          text=True)
    programs = pathlib.Path(made.stdout.strip()) / "bin"
    running = {client: subprocess.Popen([programs / client, broker.bootstrap], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
               for client in CASES}
    try:
        said = {client: each.communicate(timeout=SECONDS)[0] for client, each in running.items()}
    finally:
        for each in running.values():
            each.kill()
    for client, each in running.items():
        assert each.returncode == 0, f"{client} ended with {each.returncode}:\n{said[client]}"
    return {(client, name): (outcome, why) for client in CASES for outcome, name, why in
            re.findall(r"^(passed|failed) ([\w.-]+)(.*)$", said[client], re.MULTILINE)}


@pytest.mark.parametrize("client, case", [
    (client, case) for client, cases in CASES.items() for case in cases])
def test_go_client(outcomes, client, case):
    outcome, why = outcomes[client, case]
    assert outcome == "passed", why


def test_sources_are_formatted():
    done = subprocess.run(["gofmt", "-l", HERE], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_no_case_is_left_out(outcomes):
    assert set(outcomes) == {(client, case) for client, cases in CASES.items() for case in cases}
