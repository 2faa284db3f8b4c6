"""Kafka Connect: lines of a file become records, and lines of another file.

Workers keep connectors, offsets and states in compacted topics, share the tasks in a group of
protocols that are their own, and find their place again after a restart of theirs and the broker's.
"""

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from brokers import Broker
from worker import SECONDS, Worker, await_lines, write_properties

CONNECTORS = "org.apache.kafka.connect.file"


@pytest.fixture(scope="module")
def broker():
    started = Broker("connect", settings={"group.initial.rebalance.delay.ms": 0}).start()
    yield started
    started.stop()
    started.remove()


@pytest.fixture
def start(tmp_path):
    """Workers that end with the test."""
    made = []

    def start(*arguments):
        made.append(Worker(arguments[0], tmp_path, *arguments[1:]).start())
        return made[-1]

    yield start
    for worker in made:
        if worker.process.poll() is None:
            worker.kill()


class Files:
    """What the source reads, and what the sink writes."""

    def __init__(self, folder, topic):
        self.source, self.sink, self.lines = folder / "source", folder / "sink", []
        # Of the connectors; the sink's name is that of its group.
        self.source_name, self.sink_name = f"{topic}-source", f"{topic}-sink"
        self.source_path = f"/connectors/{self.source_name}"
        self.sink_path = f"/connectors/{self.sink_name}"
        self.source_settings = {
            "connector.class": f"{CONNECTORS}.FileStreamSourceConnector", "tasks.max": "1",
            "file": str(self.source), "topic": topic}
        self.sink_settings = {
            "connector.class": f"{CONNECTORS}.FileStreamSinkConnector", "tasks.max": "1",
            "file": str(self.sink), "topics": topic}

    def write(self, count):
        more = [f"line {len(self.lines) + number}" for number in range(count)]
        self.lines += more
        with open(self.source, "a") as file:
            file.writelines(line + "\n" for line in more)


def distributed(broker, name):
    return {
        "bootstrap.servers": broker.bootstrap, "group.id": name,
        "config.storage.topic": f"{name}-configs", "offset.storage.topic": f"{name}-offsets",
        "status.storage.topic": f"{name}-status", "offset.storage.partitions": 3,
        "config.storage.replication.factor": 1, "offset.storage.replication.factor": 1,
        "status.storage.replication.factor": 1, "scheduled.rebalance.max.delay.ms": 0,
        "session.timeout.ms": 6000, "heartbeat.interval.ms": 300,
    }


def test_standalone(broker, topic, tmp_path, start):
    """One process with its offsets in a file, stopped and started again."""
    files = Files(tmp_path, topic)
    connectors = [
        write_properties(tmp_path / f"{name}.properties", {"name": name} | settings)
        for name, settings in [(files.source_name, files.source_settings),
                               (files.sink_name, files.sink_settings)]]
    files.write(1000)
    worker = start("Standalone", "standalone", {
        "bootstrap.servers": broker.bootstrap,
        "offset.storage.file.filename": tmp_path / "offsets"}, *connectors)
    await_lines(files.sink, files.lines, worker)
    worker.stop()
    files.write(500)
    worker.start()
    await_lines(files.sink, files.lines, worker)


def is_running(connectors):
    """Whether the answer tells of a source and a sink with one running task each."""
    return len(connectors) == 2 and all(
        [task["state"] for task in each["status"]["tasks"]] == ["RUNNING"]
        for each in connectors.values())


def test_distributed(broker, topic, tmp_path, start):
    """Two workers: connectors by REST, a worker that goes, one that dies, a broker that dies."""
    files = Files(tmp_path, topic)
    settings = distributed(broker, topic)
    first = start("Distributed", "first", settings)
    files.write(1000)
    first.await_answer("PUT", files.source_path + "/config", files.source_settings)
    first.await_answer("PUT", files.sink_path + "/config", files.sink_settings)
    await_lines(files.sink, files.lines, first)
    check_internal_topics(broker, topic)

    second = start("Distributed", "second", settings)

    def is_shared(connectors):
        return is_running(connectors) and len(
            {each["status"]["tasks"][0]["worker_id"] for each in connectors.values()}) == 2

    second.await_answer("GET", "/connectors?expand=status", is_it=is_shared)
    files.write(500)
    await_lines(files.sink, files.lines, second, exactly=False)
    first.stop()
    second.await_answer("GET", "/connectors?expand=status", is_it=is_running)
    files.write(500)
    await_lines(files.sink, files.lines, second, exactly=False)

    broker.kill()
    files.write(500)
    broker.start()
    await_lines(files.sink, files.lines, second, exactly=False)

    second.kill()
    files.write(500)
    second.start()
    second.await_answer("GET", "/connectors?expand=status", is_it=is_running)
    await_lines(files.sink, files.lines, second, exactly=False)


def check_internal_topics(broker, name):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    found = admin.list_topics(timeout=SECONDS).topics
    for topic, partitions in {"configs": 1, "offsets": 3, "status": 5}.items():
        topic = f"{name}-{topic}"
        assert len(found[topic].partitions) == partitions
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        configs = admin.describe_configs([resource])[resource].result(SECONDS)
        assert configs["cleanup.policy"].value == "compact"


def test_connectors_by_rest(broker, topic, tmp_path, start):
    """Pause, resume, stop, offsets told, changed and reset, delete."""
    files = Files(tmp_path, topic)
    worker = start("Distributed", "only", distributed(broker, topic))
    files.write(100)
    worker.await_answer("PUT", files.source_path + "/config", files.source_settings)
    worker.await_answer("PUT", files.sink_path + "/config", files.sink_settings)
    await_lines(files.sink, files.lines, worker)
    at = {"kafka_topic": topic, "kafka_partition": 0}
    worker.await_answer("GET", files.sink_path + "/offsets", is_it=lambda answer: answer == {
        "offsets": [{"partition": at, "offset": {"kafka_offset": 100}}]})
    size = files.source.stat().st_size
    worker.await_answer("GET", files.source_path + "/offsets", is_it=lambda answer: answer == {
        "offsets": [{"partition": {"filename": str(files.source)}, "offset": {"position": size}}]})

    def await_state(state):
        worker.await_answer("GET", files.sink_path + "/status",
                            is_it=lambda answer: answer["connector"]["state"] == state)

    worker.await_answer("PUT", files.sink_path + "/pause")
    await_state("PAUSED")
    files.write(50)
    worker.await_answer("PUT", files.sink_path + "/resume")
    await_lines(files.sink, files.lines, worker)
    worker.await_answer("PUT", files.sink_path + "/stop")
    await_state("STOPPED")
    # From the hundredth line on; then from the beginning.
    worker.await_answer("PATCH", files.sink_path + "/offsets", {
        "offsets": [{"partition": at, "offset": {"kafka_offset": 100}}]})
    worker.await_answer("PUT", files.sink_path + "/resume")
    await_lines(files.sink, files.lines + files.lines[100:], worker)
    worker.await_answer("PUT", files.sink_path + "/stop")
    await_state("STOPPED")
    worker.await_answer("DELETE", files.sink_path + "/offsets")
    worker.await_answer("PUT", files.sink_path + "/resume")
    await_lines(files.sink, files.lines + files.lines[100:] + files.lines, worker)
    worker.await_answer("DELETE", files.source_path)
    worker.await_answer("GET", "/connectors", is_it=lambda answer: answer == [files.sink_name])
    worker.stop()
    worker.start()
    worker.await_answer("GET", "/connectors", is_it=lambda answer: answer == [files.sink_name])
