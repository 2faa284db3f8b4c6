"""The same load by three tools on the same broker: loadgen, kafka-producer-perf-test, librdkafka.

    $(tests/support/environment confluent)/bin/python loadgen/tests/cross_check.py \
        --loadgen target/release/loadgen --thalweg target/release/thalweg --dir DIR

Starts a Thalweg in a fresh folder below DIR, and loadgen's stub that answers 20 ms late, then makes
rounds in which each tool offers the same rate of 1 KiB records to one partition, in an order that
changes from round to round. Prints, for Thalweg with acks=1 and acks=all and for the stub, medians
over the rounds of throughput and of average, p50 and p99 latency, and how far each tool is from
loadgen. loadgen/docs/CROSS_CHECK.md says what has to be known to read it. Needs what
`tests/support/environment java` and `... confluent` set up.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECORD_BYTES = 1024
TOOLS = ["loadgen", "kafka-producer-perf-test", "librdkafka"]
# A percentile with too few samples behind it is no number.
TOO_FEW = float("nan")
FIGURES = ["records/s", "average ms", "p50 ms", "p99 ms"]


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def loadgen(options, address, topic, acks, rate):
    command = [options.loadgen, "run", "-b", address, "--topic", topic, "--acks", acks]
    command += ["--rate", str(rate), "--record-size", str(RECORD_BYTES), "--partitions", "1"]
    command += ["--warmup", str(options.warmup), "--duration", str(options.duration)]
    command += ["--consume", "never", "--json", "-"]
    if options.burst_every:
        command += ["--burst-every", str(options.burst_every)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"loadgen ended with {done.returncode}: {done.stderr}")
    result = json.loads(done.stdout)
    latency = result["produce_latency"]
    ms = lambda ns: ns / 1e6
    figures = [result["produced"]["records_per_s"], ms(latency["mean_ns"])]
    return figures + [ms(latency[name].get("ns", TOO_FEW)) for name in ("p50", "p99")]


STEADY = re.compile(
    r"(\d+) steady state records sent, ([\d.]+) records/sec \([\d.]+ MB/sec\), "
    r"([\d.]+) ms avg latency, [\d.]+ ms max latency, (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th"
)


def perf_test(options, address, topic, acks, rate):
    total = int(rate * (options.warmup + options.duration))
    tool = os.path.join(REPO, "tests/support/apache-kafka")
    command = [tool, "tool", "org.apache.kafka.tools.ProducerPerformance", "--topic", topic]
    command += ["--num-records", str(total), "--record-size", str(RECORD_BYTES)]
    command += ["--warmup-records", str(int(rate * options.warmup)), "--throughput", str(rate)]
    # One option with all of them: given again, it would replace what came before.
    command += ["--bootstrap-server", address, "--command-property", f"acks={acks}"]
    command += ["linger.ms=0", "enable.idempotence=false"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    found = STEADY.search(done.stdout)
    if done.returncode or not found:
        sys.exit(f"kafka-producer-perf-test: {done.stdout}\n{done.stderr}")
    return [float(found[index]) for index in (2, 3, 4, 5)]


def librdkafka(options, address, topic, acks, rate):
    command = [sys.executable, os.path.abspath(__file__), "--produce", address, topic, acks]
    command += [str(rate), str(options.warmup), str(options.duration)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    if done.returncode:
        sys.exit(f"librdkafka: {done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def produce(address, topic, acks, rate, warmup, duration):
    """One librdkafka producer: latencies as it measures them, from produce() to the answer."""
    from confluent_kafka import Producer

    rate, warmup, duration = float(rate), float(warmup), float(duration)
    # The other two switch Nagle's algorithm off without being asked.
    settings = {"bootstrap.servers": address, "acks": acks, "linger.ms": 0}
    settings["socket.nagle.disable"] = True
    producer = Producer({**settings, "queue.buffering.max.messages": 1000000})
    latencies, first_and_last, failed = [], [], []

    def delivered(error, message):
        now = time.monotonic()
        if error is not None:
            failed.append(str(error))
        elif now - begin >= warmup:
            latencies.append(message.latency())
            first_and_last[1:] = [now]
            if len(first_and_last) < 2:
                first_and_last.append(now)

    value = os.urandom(RECORD_BYTES)
    begin = time.monotonic()
    for number in range(int(rate * (warmup + duration))):
        due = begin + number / rate
        while (wait := due - time.monotonic()) > 0:
            producer.poll(min(wait, 0.001) if wait > 0.0002 else 0)
        producer.produce(topic, value, partition=0, on_delivery=delivered)
        producer.poll(0)
    producer.flush(30)
    if failed:
        sys.exit(f"{len(failed)} records failed, the first: {failed[0]}")
    latencies.sort()
    seconds = first_and_last[1] - first_and_last[0]
    ms = [statistics.fmean(latencies), percentile(latencies, 0.5), percentile(latencies, 0.99)]
    print(json.dumps([len(latencies) / seconds] + [value * 1000 for value in ms]))


def start(command, place):
    """The process, and the address that it says it listens on."""
    log = open(os.path.join(place, "log"), "a")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
    )
    for line in process.stdout:
        if "listening on " in line:
            return process, line.split()[-1]
    sys.exit(f"{command[0]} did not start; its log is {log.name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--loadgen", required=True)
    parser.add_argument("--thalweg", required=True)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=float, default=5)
    parser.add_argument("--duration", type=float, default=15)
    parser.add_argument("--rate-one", type=int, default=2000, help="records/s with acks=1")
    parser.add_argument("--rate-all", type=int, default=1000, help="records/s with acks=all")
    parser.add_argument("--rate-stub", type=int, default=200, help="records/s to the stub")
    parser.add_argument("--burst-every", type=float, help="ms; loadgen sends in bursts, too")
    parser.add_argument("--json")
    options = parser.parse_args()
    place = tempfile.mkdtemp(prefix="cross-check-", dir=options.dir)
    data = os.path.join(place, "data")
    serve = [options.thalweg, "serve", "--listen", "127.0.0.1:0", "--data-dir", data]
    stub = [options.loadgen, "sink", "--listen", "127.0.0.1:0", "--delay", "fixed:20ms"]
    (broker, thalweg), (sink, late) = start(serve, place), start(stub, place)
    cases = [
        ("Thalweg", thalweg, "1", options.rate_one),
        ("Thalweg", thalweg, "all", options.rate_all),
        ("a stub that waits 20 ms", late, "1", options.rate_stub),
    ]
    tools = dict(zip(TOOLS, [loadgen, perf_test, librdkafka]))
    found = {}
    try:
        for name, address, acks, rate in cases:
            topic = f"cross-{acks}"
            # Whoever comes first would pay for making the topic.
            loadgen(argparse.Namespace(**{**vars(options), "warmup": 0, "duration": 5}),
                    address, topic, acks, rate)
            for number in range(options.rounds):
                for tool in TOOLS[number % 3:] + TOOLS[:number % 3]:
                    figures = tools[tool](options, address, topic, acks, rate)
                    found.setdefault((name, acks, rate), {}).setdefault(tool, []).append(figures)
                    shown = "  ".join(f"{n} {v:.2f}" for n, v in zip(FIGURES, figures))
                    print(f"{name}, acks={acks} round {number + 1} {tool:<25} {shown}", flush=True)
    finally:
        for process in (broker, sink):
            process.terminate()
            process.wait()
        shutil.rmtree(place)
    for (name, acks, rate), by_tool in found.items():
        print(f"\n{name}, acks={acks}, {rate} records/s of {RECORD_BYTES} bytes, medians of "
              f"{options.rounds} rounds (beside loadgen)")
        print(f"{'':<25}" + "".join(f"{name:>22}" for name in FIGURES))
        medians = {t: [statistics.median(c) for c in zip(*r)] for t, r in by_tool.items()}
        for tool, figures in medians.items():
            shown = zip(figures, medians["loadgen"])
            cells = [f"{value:.2f} ({value / own - 1:+.1%})" for value, own in shown]
            print(f"{tool:<25}" + "".join(f"{cell:>22}" for cell in cells))
    if options.json:
        with open(options.json, "w") as out:
            json.dump([{"case": k, "rounds": v} for k, v in found.items()], out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--produce"]:
        produce(*sys.argv[2:])
    else:
        main()
