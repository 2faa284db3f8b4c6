"""kafka-python's own integration tests, pointed at a broker that runs already.

They come from its source distribution (tests/support/environment kafka-python-own) and run
unchanged. Its own harness starts broker 0 with listeners that are advertised, sessions of any
length and no wait for more members: so does this one.
"""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

import brokers
from brokers import SUPPORT, Broker, free_port

# Test, and what it needs that is not there. Whatever else fails is a fault; one of these that
# passes has to leave the list.
EXCEPTIONS = {
    "test_create_describe_delete_acls": "ACLs",
    "test_transactional_producer_messages": "transactions",
    "test_transactional_producer_offsets": "transactions",
    "test_ssl_handshake": "TLS",
    "test_legacy_kafka_client_ssl": "TLS",
}
# SASL, which its tests leave out with a running broker, and one for Kafka before 0.10.1.
SKIPPED = 10
SECONDS_MAX = 400


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """passed, failed or skipped by test."""
    if brokers.IS_KAFKA:
        pytest.skip("kafka-python runs these against Kafka itself")
    made = subprocess.run([SUPPORT / "environment", "kafka-python-own"], check=True,
                          capture_output=True, text=True)
    environment = made.stdout.strip()
    report = tmp_path_factory.mktemp("own") / "report.xml"
    port = free_port()
    broker = Broker("own", port, [
        "--advertise", f"127.0.0.1:{port}", "--set", "node.id=0",
        "--set", "group.min.session.timeout.ms=1000",
        "--set", "group.initial.rebalance.delay.ms=0"]).start()
    # The version is that which the client infers from the versions of the APIs. KAFKA_ROOT has to
    # be a folder, which is not looked into.
    about = {"KAFKA_URI": f"kafka://{broker.bootstrap}", "KAFKA_VERSION": "4.3.0",
             "KAFKA_ROOT": environment}
    run = subprocess.run(
        [f"{environment}/bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-q",
         "--tb=native", "--show-capture=no", "-o", "log_level=ERROR", "--timeout=60",
         f"--junit-xml={report}", "test/integration"],
        cwd=f"{environment}/own", env={**os.environ, **about}, capture_output=True, text=True,
        timeout=SECONDS_MAX)
    broker.stop()
    assert report.exists(), run.stdout[-3000:] + run.stderr[-3000:]
    print(run.stdout[-20000:])
    broker.remove()
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        is_failed = case.find("failure") is not None or case.find("error") is not None
        is_skipped = case.find("skipped") is not None
        found[case.get("name")] = ("failed" if is_failed else
                                   "skipped" if is_skipped else "passed")
    return found


def of(outcomes, outcome):
    return sorted(name for name, found in outcomes.items() if found == outcome)


def test_all_pass_that_need_nothing_that_is_not_there(outcomes):
    assert of(outcomes, "failed") == sorted(EXCEPTIONS)


def test_none_is_left_out(outcomes):
    assert len(of(outcomes, "passed")) > 50
    assert len(of(outcomes, "skipped")) == SKIPPED, of(outcomes, "skipped")
