"""Overload the service for minutes: does it stay responsive, refuse clearly, and lose nothing?

  capacity     verdicts per second with a backlog of bulk events, measured first
  unloaded     interactive events at random times (Poisson), a few per second, alone
  load         eight processes submit bulk messages of one small image each, together at three times the capacity; when
               the queue is full, each waits as long as the refusal says and retries. Interactive events continue

    python benchmarks/load.py [--events 50000] [--seconds 300] [--size 1]

Ends after that many events or seconds, once the backlog is empty. Uses the embedded encoder and images of 320 pixels.
The last line is JSON: `events` were submitted (those not accepted were still refused when time ran out), `refused`
counts "later" answers, `lost` accepted events without a verdict, `doubled` surplus verdicts; memory is the peak of the
worker (with its child processes) and of the server, in MB.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks.setup import POLICIES, Service, make_photographs, print_result, resident_mb, start_service
from moderator.client import Client
from moderator.settings import Settings

PRODUCERS, OVERLOAD = 8, 3.0
#: Interactive events per second, alone and under load.
INTERACTIVE_RATE = 5.0
#: Queue limit in events: small enough that the load reaches it soon.
QUEUE_LIMIT = 2000
#: Seconds without a further verdict after which missing ones count as lost.
PATIENCE = 60.0


class Verdicts:
    """Reader of the stream: when each verdict came, and how many each event had."""

    def __init__(self, url: str) -> None:
        self._client = Client(url, Settings(redis_url=url))
        self._position = self._client.verdicts.position()
        self.came: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for _, verdict in self._client.verdicts.tail(self._position):
            self.came.setdefault(verdict.event_id, time.perf_counter())
            self.counts[verdict.event_id] += 1

    def wait_for(self, count: int) -> None:
        """Wait for `count` verdicts, or until none has come for a long time."""
        last, since = len(self.came), time.monotonic()
        while len(self.came) < count and time.monotonic() - since < PATIENCE:
            time.sleep(0.1)
            if len(self.came) > last:
                last, since = len(self.came), time.monotonic()


class Interactive:
    """Submission of interactive events at random times until stopped."""

    def __init__(self, client: Client, files: list[Path], name: str) -> None:
        self._client, self._files, self._name = client, files, name
        self._stopped = Event()
        self._thread = Thread(target=self._run)
        self.submitted: dict[str, float] = {}
        self._thread.start()

    def _run(self) -> None:
        random = np.random.default_rng(0)
        due = time.perf_counter()
        while True:
            due += random.exponential(1 / INTERACTIVE_RATE)
            if self._stopped.wait(max(0.0, due - time.perf_counter())):
                return
            event_id = f"{self._name}-{len(self.submitted)}"
            file = self._files[len(self.submitted) % len(self._files)]
            self.submitted[event_id] = time.perf_counter()
            self._client.submit(path=file, policy="classic", id=event_id, source="load")

    def stop(self) -> None:
        """Stop submitting."""
        self._stopped.set()
        self._thread.join()

    def seconds(self, verdicts: Verdicts) -> list[float]:
        """Return the seconds from submission to verdict, for events that have one."""
        return [verdicts.came[key] - at for key, at in self.submitted.items() if key in verdicts.came]


class Memory:
    """Peak memory of a process and its children, sampled twice a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_mb = 0.0
        self._stopped = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.5):
            self.peak_mb = max(self.peak_mb, resident_mb(self._pid))

    def stop(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        self._thread.join()


def measure_capacity(client: Client, verdicts: Verdicts, files: list[Path], events: int) -> float:
    """Return verdicts per second for a backlog of bulk events of one image each."""
    for number in range(events):
        client.submit(
            path=files[number % len(files)],
            policy="classic",
            id=f"capacity-{number}",
            source="load",
            priority="bulk",
        )
    verdicts.wait_for(events)
    # Without the first and last tenth: startup, and partial batches.
    times = sorted(verdicts.came.values())
    return (0.8 * events) / (times[round(0.9 * events) - 1] - times[round(0.1 * events) - 1])


def produce(
    service: Service, images: Path, rate: float, messages: int, size: int, seconds: float
) -> list[dict[str, object]]:
    """Run the producers to their end, and return each one's result."""
    environment = {
        **os.environ,
        "MODERATOR_REDIS_URL": service.url,
        "MODERATOR_QUEUE_LIMIT": str(QUEUE_LIMIT),
    }
    producers = []
    for number in range(PRODUCERS):
        share = messages // PRODUCERS + (number < messages % PRODUCERS)
        command = [sys.executable, str(Path(__file__).with_name("producer.py")), f"--name=bulk-{number}"]
        command += [
            f"--images={images}",
            f"--size={size}",
            f"--rate={rate / PRODUCERS}",
            f"--messages={share}",
            f"--seconds={seconds}",
        ]
        producers.append(
            subprocess.Popen(
                command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
    for producer in producers:
        assert producer.stdout is not None
        if producer.stdout.readline() != "ready\n":
            raise RuntimeError("a producer did not start")
    for producer in producers:
        assert producer.stdin is not None
        producer.stdin.write("go\n")
        producer.stdin.flush()
    return [json.loads(producer.communicate()[0]) for producer in producers]


def run(events: int, seconds: float, size: int, folder: Path) -> dict[str, object]:
    """Run all measurements, and return the figures."""
    images = folder / "images"
    images.mkdir()
    files = make_photographs(images, 64, size=320)
    with start_service(folder, encoder="embedded", policies=str(POLICIES)) as service:
        client = Client(service.url, Settings(redis_url=service.url, queue_limit=QUEUE_LIMIT))
        memory, verdicts = Memory(service.pid), Verdicts(service.url)
        capacity = measure_capacity(client, verdicts, files, min(800, max(100, events // 10)))
        print(f"capacity: {capacity:.0f} events/s", flush=True)

        before = len(verdicts.came)
        alone = Interactive(client, files, "alone")
        time.sleep(min(40.0, seconds))
        alone.stop()
        verdicts.wait_for(before + len(alone.submitted))

        before = len(verdicts.came)
        start = time.perf_counter()
        loaded = Interactive(client, files, "loaded")
        told = produce(service, images, OVERLOAD * capacity / size, events // size, size, seconds)
        produced = time.perf_counter() - start
        loaded.stop()
        rate = (len(verdicts.came) - before) / produced
        accepted = [
            f"bulk-{producer}-{n}/{image}"
            for producer, said in enumerate(told)
            for n in range(said["accepted"])
            for image in range(size)
        ]
        verdicts.wait_for(before + len(accepted) + len(loaded.submitted))
        time.sleep(1.0)  # for duplicate verdicts
        memory.stop()
        redis_peak = int(client.redis.info("memory")["used_memory_peak"])
    calls = [call for said in told for call in said["calls"]]
    idle, busy = alone.seconds(verdicts), loaded.seconds(verdicts)
    sent = [*accepted, *loaded.submitted]
    p99 = [1000 * float(np.quantile(values, 0.99)) for values in (calls, idle, busy)]
    result = {
        "events": size * sum(said["tried"] for said in told) + len(loaded.submitted),
        "accepted": len(sent),
        "refused": sum(said["refused"] for said in told),
        "verdicts": sum(verdicts.counts[key] for key in sent),
        "lost": sum(not verdicts.counts[key] for key in sent),
        "doubled": sum(max(0, verdicts.counts[key] - 1) for key in sent),
        "intake_p99_ms": round(p99[0], 1),
        "interactive_p99_ms": round(p99[2], 1),
        "interactive_unloaded_p99_ms": round(p99[1], 1),
        "interactive_ratio": round(p99[2] / p99[1], 2),
        "worker_peak_mb": round(memory.peak_mb),
        "redis_peak_mb": round(redis_peak / 1e6),
    }
    print(f"{'capacity':32} {capacity:8.0f} events/s")
    print(f"{'verdicts under load':32} {rate:8.0f} events/s for {produced:.0f} s")
    for name, values in (("alone", idle), ("under load", busy)):
        milliseconds = 1000 * np.quantile(values, (0.5, 0.99, 1.0))
        print(
            f"{'interactive ' + name:32} {milliseconds[0]:8.1f} ms p50, {milliseconds[1]:.1f} p99, "
            f"{milliseconds[2]:.1f} longest, of {len(values)}"
        )
    for key, value in result.items():
        print(f"{key:32} {value:8}")
    return result


def main() -> None:
    """Run the benchmark and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=50_000, help="bulk events at most")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the load lasts at most")
    parser.add_argument("--size", type=int, default=1, help="images of a bulk message")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        print_result(run(options.events, options.seconds, options.size, Path(folder)))


if __name__ == "__main__":
    main()
