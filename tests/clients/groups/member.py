"""Members of a group, one thread each, that tell what happens to them.

    member.py CLIENT BOOTSTRAP GROUP TOPIC PROTOCOL ASSIGNOR COUNT

CLIENT is kafka-python or confluent; PROTOCOL is classic or consumer (KIP-848). Each line of the
output is one event as JSON: the monotonic time in nanoseconds, the member's number, what, and the
partitions or records it is about. Records are told before they are committed. Ends, leaving the
group, when its input ends.
"""

import json
import os
import sys
import threading
import time

SESSION_MS = 6000
HEARTBEAT_MS = 300
ASSIGNORS = {"range": "RangePartitionAssignor", "roundrobin": "RoundRobinPartitionAssignor",
             "sticky": "StickyPartitionAssignor"}

stopping = threading.Event()


def tell(member, what, partitions=(), **more):
    event = {"at": time.monotonic_ns(), "member": member, "what": what,
             "partitions": sorted(partitions), **more}
    os.write(1, (json.dumps(event) + "\n").encode())


def confluent(member, bootstrap, group, topic, protocol, assignor):
    from confluent_kafka import Consumer, KafkaException

    settings = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False,
                "auto.offset.reset": "earliest", "group.protocol": protocol,
                "client.id": f"{group}-{member}"}
    if protocol == "consumer":
        settings["group.remote.assignor"] = assignor
    else:
        settings |= {"partition.assignment.strategy": assignor, "session.timeout.ms": SESSION_MS,
                     "heartbeat.interval.ms": HEARTBEAT_MS}
    consumer = Consumer(settings)

    def telling(what):
        return lambda _, partitions: tell(member, what, [each.partition for each in partitions])

    consumer.subscribe([topic], on_assign=telling("assigned"), on_revoke=telling("revoked"),
                       on_lost=telling("lost"))
    while not stopping.is_set():
        got = [each for each in consumer.consume(200, 0.1) if not each.error()]
        if not got:
            continue
        tell(member, "records", records=[[each.partition(), each.offset()] for each in got])
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as refused:
            tell(member, "refused", why=str(refused))
    consumer.close()


def kafka_python(member, bootstrap, group, topic, protocol, assignor):
    import kafka.coordinator.assignors as assignors
    from kafka import ConsumerRebalanceListener, KafkaConsumer
    from kafka.errors import KafkaError

    assert protocol == "classic" and assignors
    module = __import__(f"kafka.coordinator.assignors.{assignor}", fromlist=["_"])
    if assignor == "sticky":
        module = __import__("kafka.coordinator.assignors.sticky.sticky_assignor", fromlist=["_"])
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False,
        auto_offset_reset="earliest", client_id=f"{group}-{member}",
        partition_assignment_strategy=[getattr(module, ASSIGNORS[assignor])],
        session_timeout_ms=SESSION_MS, heartbeat_interval_ms=HEARTBEAT_MS)

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            tell(member, "assigned", [each.partition for each in assigned])

        def on_partitions_revoked(self, revoked):
            tell(member, "revoked", [each.partition for each in revoked])

        def on_partitions_lost(self, lost):
            tell(member, "lost", [each.partition for each in lost])

    consumer.subscribe([topic], listener=Listener())
    # A leader of kafka-python 3.0.12 that joins before it knows the partitions of what it has
    # subscribed to joins again when it hears of them, and forgets that assignment, heartbeats and
    # all, if a poll's time is over just then. So does it with Apache Kafka; a member that knows
    # them first joins once.
    consumer.partitions_for_topic(topic)
    while not stopping.is_set():
        got = consumer.poll(timeout_ms=100, max_records=200)
        records = [[each.partition, each.offset] for batch in got.values() for each in batch]
        if not records:
            continue
        tell(member, "records", records=records)
        try:
            consumer.commit()
        except KafkaError as refused:
            tell(member, "refused", why=str(refused))
    consumer.close()


def main():
    client, bootstrap, group, topic, protocol, assignor, count = sys.argv[1:]
    run = {"confluent": confluent, "kafka-python": kafka_python}[client]
    threads = [threading.Thread(target=run,
                                args=(number, bootstrap, group, topic, protocol, assignor))
               for number in range(int(count))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopping.set()
    for thread in threads:
        thread.join()


main()
