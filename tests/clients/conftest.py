"""What every foreign-client test is given: a running broker and a topic name of its own."""

import itertools
import re

import pytest

from brokers import Broker

serial = itertools.count()


def pytest_report_header():
    import brokers

    return "broker under test: " + ("Apache Kafka" if brokers.IS_KAFKA else "thalweg serve")


@pytest.fixture(scope="session")
def broker(request):
    """One broker for the whole run of a suite, stopped cleanly at its end."""
    started = Broker("suite").start()
    yield started
    if request.session.testsfailed:
        print(f"\nthe broker's directory is kept: {started.directory}\n{started.log_tail()}")
    started.stop()
    if not request.session.testsfailed:
        started.remove()


@pytest.fixture
def topic(request):
    """A topic name that no other test uses."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", request.node.name)
    return f"{name[:80]}-{next(serial)}"
