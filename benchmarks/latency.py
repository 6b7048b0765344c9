"""Measure how long one event takes: alone, compared with one bare forward pass of the model, and under load.

  idle     one event at a time: from the submitting call until the caller has the verdict
  forward  one image through the image tower, in this process, measured in turn with the above
  loaded   events at random times (Poisson) at 70 % of the service's maximum rate

    python benchmarks/latency.py [--events 60] [--seconds 30]

The last line is JSON, in milliseconds; ViT-B/32 with random weights, and the embedded encoder under `embedded`.
"""

import argparse
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread

sys.path.insert(0, str(Path(__file__).parent.parent))
from workers.torch_environment import set_torch_environment

# As in the worker, and before torch is loaded.
set_torch_environment()

import numpy as np

from benchmarks.setup import POLICIES, make_clip, make_photographs, print_result, service
from benchmarks.throughput import prepare, run_service
from moderator.client import Client
from moderator.encoders.encoder_registry import load_encoder
from moderator.settings import Settings

LOAD = 0.7
#: Goals: idle p50 against one forward, and p99 against p50 under load.
IDLE_FACTOR, IDLE_EXTRA_MS, LOADED_FACTOR = 1.5, 15.0, 5.0


def measure(name: str, events: int, seconds: float, folder: Path) -> dict[str, float]:
    """Return all figures of one encoder."""
    files = make_photographs(folder, 64)
    encoder = load_encoder(name)
    one = prepare(encoder, files[0])[None]
    with service(folder, encoder=name, policies=str(POLICIES)) as (url, _):
        client = Client(url, Settings(redis_url=url))
        capacity = median(run_service(client, files * 2, bulk=False) for _ in range(3))
        forward, idle = [], []
        for number in range(events):
            start = time.perf_counter()
            encoder.embed_images(one)
            forward.append(time.perf_counter() - start)
            start = time.perf_counter()
            client.wait(client.submit(path=files[number % len(files)], policy="classic").id)
            idle.append(time.perf_counter() - start)
        loaded = under_load(client, files, LOAD * capacity, seconds)
    figures = {
        "idle_p50_ms": 1000 * median(idle),
        "forward_ms": 1000 * median(forward),
        "loaded_p50_ms": 1000 * float(np.quantile(loaded, 0.5)),
        "loaded_p99_ms": 1000 * float(np.quantile(loaded, 0.99)),
        "capacity_per_s": capacity,
    }
    allowed = IDLE_FACTOR * figures["forward_ms"] + IDLE_EXTRA_MS
    print(f"\n{encoder.identity.id}, {encoder.dtype} on {encoder.device}, {capacity:.1f} images/s at most")
    print(f"  one forward       {figures['forward_ms']:7.1f} ms")
    print(f"  idle, p50         {figures['idle_p50_ms']:7.1f} ms   goal: below {allowed:.1f}")
    print(f"  at 70 %, p50      {figures['loaded_p50_ms']:7.1f} ms   ({len(loaded)} events)")
    goal = LOADED_FACTOR * figures["loaded_p50_ms"]
    print(f"  at 70 %, p99      {figures['loaded_p99_ms']:7.1f} ms   goal: below {goal:.1f}")
    return {key: round(value, 2) for key, value in figures.items()}


def under_load(client: Client, files: list[Path], rate: float, seconds: float) -> list[float]:
    """Return the seconds from submission to verdict on the stream, for events at random times at `rate` per second."""
    random = np.random.default_rng(0)
    times = np.cumsum(random.exponential(1 / rate, size=int(rate * seconds)))
    submitted: dict[str, float] = {}
    answered: dict[str, float] = {}
    position = client.verdicts.position()

    def read() -> None:
        for _, verdict in islice(client.verdicts.tail(position), len(times)):
            answered[verdict.event_id] = time.perf_counter()

    reader = Thread(target=read)
    reader.start()
    start = time.perf_counter()
    for number, at in enumerate(times):
        time.sleep(max(0.0, start + at - time.perf_counter()))
        submitted[str(number)] = time.perf_counter()
        client.submit(path=files[number % len(files)], policy="classic", id=str(number), source="load")
    reader.join()
    return [answered[key] - submitted[key] for key in submitted]


def main() -> None:
    """Measure both encoders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=60, help="events one at a time")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the load lasts")
    options = parser.parse_args()
    with TemporaryDirectory() as clip, TemporaryDirectory() as one, TemporaryDirectory() as other:
        vit = measure(f"clip:{make_clip(Path(clip))}", options.events, options.seconds, Path(one))
        embedded = measure("embedded", options.events, options.seconds, Path(other))
    print()
    print_result({**vit, "embedded": embedded})


if __name__ == "__main__":
    main()
