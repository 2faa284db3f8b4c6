"""One JVM for all commands of a file, and the two ways that a command may end."""

import pytest

from tools import Tools


@pytest.fixture(scope="module")
def jvm():
    tools = Tools()
    yield tools
    tools.close()


@pytest.fixture
def run(jvm, broker):
    """Runs a command that succeeds: the lines that it printed."""
    def run(command, input="", code=0):
        done = jvm.run(command, broker.bootstrap, input)
        assert done.code == code, f"{command}\n{done.out}\n{done.err}"
        return done.lines()
    return run


@pytest.fixture
def refused(jvm, broker):
    """Runs a command that fails with exit code 1: all that it said."""
    def refused(command):
        done = jvm.run(command, broker.bootstrap)
        assert done.code == 1, f"{command}\n{done.out}\n{done.err}"
        return done.out + done.err
    return refused


@pytest.fixture
def topic(topic):
    """A name without '_', so that the tool has nothing to warn of."""
    return topic.replace("_", "-")
