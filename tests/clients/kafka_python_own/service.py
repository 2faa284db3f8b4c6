"""Stands for test/service.py, which kafka-python's source distribution leaves out: its tests are
pointed at a broker that runs already, so nothing is started here."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def stop(self):
        pass


class SpawnedService:
    def __init__(self, *arguments):
        raise AssertionError("a broker of its own was asked for; KAFKA_URI names ours")
