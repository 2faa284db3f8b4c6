"""The two lines that every Kafka tutorial begins with, run as they stand.

They name localhost:9092, so a broker of their own listens there. When something else already
does, its port is put in the place of 9092 and the test says so; nothing else is changed.
"""

import socket
import subprocess
import sys

import pytest

from brokers import Broker

PRODUCE = """
from kafka import KafkaProducer
KafkaProducer(bootstrap_servers='localhost:9092').send('orders', b'New order created')
"""
# The loop of the snippet never ends by itself; the break is the only line added.
CONSUME = """
from kafka import KafkaConsumer
for message in KafkaConsumer('orders', bootstrap_servers='localhost:9092',
                             auto_offset_reset='earliest'):
    print(message.value)
    break
"""
# The loop of README.md; again the break is added.
CONSUME_IN_A_GROUP = """
from kafka import KafkaConsumer
consumer = KafkaConsumer('orders', group_id='billing', bootstrap_servers='localhost:9092',
                         auto_offset_reset='earliest', enable_auto_commit=False)
for message in consumer:
    print(message.value)
    consumer.commit()
    break
consumer.close()
"""


@pytest.fixture
def orders_broker():
    port = 9092
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            port = 0
    started = Broker("orders", port).start()
    yield started
    started.stop()
    started.remove()


def run(snippet, port):
    if port != 9092:
        print(f"port 9092 is taken on this machine: the snippet runs with {port} in its place")
        snippet = snippet.replace("9092", str(port))
    return subprocess.run([sys.executable, "-c", snippet], timeout=60, check=True,
                          capture_output=True, text=True)


def test_the_first_lines_of_every_tutorial(orders_broker):
    run(PRODUCE, orders_broker.port)
    assert run(CONSUME, orders_broker.port).stdout == "b'New order created'\n"


def test_a_group_goes_on_where_it_was(orders_broker):
    run(PRODUCE, orders_broker.port)
    run(PRODUCE.replace("New order", "Second order"), orders_broker.port)
    shown = [run(CONSUME_IN_A_GROUP, orders_broker.port).stdout for _ in range(2)]
    assert shown == ["b'New order created'\n", "b'Second order created'\n"]
