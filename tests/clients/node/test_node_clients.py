"""The clients of Node.js: kafkajs, and @platformatic/kafka, which speaks KIP-848, too.

What they do is in the folders beside this file. One process runs all cases of a client, many at a
time; each case is a test of its own here.
"""

import os
import pathlib
import re
import subprocess

import pytest

from brokers import SUPPORT, Broker, Output

HERE = pathlib.Path(__file__).parent
SECONDS = 300
ROUND_TRIPS = ["round-trip-{}-acks-0", "round-trip-{}-acks-1", "round-trip-{}-acks-all",
               "idempotent-{}"]
BOTH = [
    "partitions-keep-their-order", "topic-appears", "topic-does-not-appear",
    "null-key-and-null-value", "too-large", "is-listed-described-and-deleted",
    "topics-are-made-grown-and-deleted", "refusals-say-why",
    "settings-are-described-and-altered", "offsets-of-topics", "offsets-of-groups",
    "acls-are-refused",
]
# The two protocols of groups.
CONSUMING = ["members-come-and-go", "modes", "goes-on-where-it-stopped", "commits-by-hand",
             "pause-and-resume", "ends-and-times", "without-offsets-it-fails", "large-messages"]
CASES = {
    "kafkajs": [
        *BOTH,
        *(name.format(codec) for codec in ["none", "gzip", "snappy", "lz4", "zstd"]
          for name in ROUND_TRIPS),
        "many-topics-in-one-call", "members-come-and-go", "silent-member-is-put-out",
        "groups-are-apart", "starts-where-asked", "seek-goes-both-ways",
        "out-of-range-starts-again", "pause-and-resume", "each-batch-resolves-and-commits",
        "commits-by-hand", "subscribes-by-pattern", "large-messages", "describes-the-cluster",
        "reassignments",
    ],
    "platformatic": [
        *BOTH,
        *(name.format(codec) for codec in ["none", "gzip", "snappy", "lz4"]
          for name in ROUND_TRIPS),
        *(f"{name}-{protocol}" for name in CONSUMING for protocol in ["classic", "consumer"]),
        "stream-of-messages", "members-have-names", "member-is-removed",
        "consumer-group-is-listed", "quotas", "log-directories",
    ],
}


def settings():
    made = subprocess.run([SUPPORT / "environment", "node"], check=True, capture_output=True,
                          text=True)
    return {**os.environ, "THALWEG_NODE_ENV": made.stdout.strip()}


@pytest.fixture(scope="module")
def outcomes(broker):
    """What became of each case, by client; both run at the same time."""
    running = {client: subprocess.Popen(
        ["node", HERE / client / "main.mjs", broker.bootstrap], env=settings(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for client in CASES}
    told = {}
    try:
        for client, process in running.items():
            output, _ = process.communicate(timeout=SECONDS)
            print(output)
            assert process.returncode == 0, output
            told[client] = {name: (outcome, why) for outcome, name, why in re.findall(
                r"^(passed|failed) ([^:\n]+)(.*)$", output, re.MULTILINE)}
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return told


@pytest.mark.parametrize("client, case", [
    (client, case) for client, cases in CASES.items() for case in cases])
def test_node_client(outcomes, client, case):
    outcome, why = outcomes[client].get(case, ("missing", "the case was not run"))
    assert outcome == "passed", why


@pytest.mark.parametrize("client", CASES)
def test_no_case_is_left_out(outcomes, client):
    assert set(outcomes[client]) == set(CASES[client])


def test_clients_go_on_when_the_broker_comes_back():
    """Killed, and stopped in good order; what was acknowledged comes once, in its order."""
    broker = Broker("node-restart").start()
    clients = subprocess.Popen(
        ["node", HERE / "restart.mjs", broker.bootstrap], env=settings(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told = Output(clients.stdout, broker.directory / "clients.log")

    def get_on(records):
        """Both clients have written so many more."""
        for client in CASES:
            until = records + max((int(number) for number in re.findall(
                rf"written {client} (\d+)", told.said)), default=0)
            assert told.find(rf"written {client} {until}\n", 60), told.said

    try:
        for go_away in [broker.kill, broker.stop, broker.kill]:
            get_on(30)
            go_away()
            broker.start()
        get_on(30)
        clients.stdin.close()
        assert told.find("every record came", 90), told.said
    finally:
        clients.kill()
        clients.wait()
        broker.stop()
    broker.remove()
