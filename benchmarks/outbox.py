"""Measure the cost of publishing embeddings to the outbox, as for an archive: verdicts per second with and without.

Two services run side by side, each with its own server and worker; only one has work at a time, in turn:

  without   verdicts alone, the service's default
  kept      with each verdict, embedding and signal readings go to the outbox for one consumer
  drained   the same, while the consumer takes them in batches and acknowledges them, on the same cores

Uses the embedded encoder, whose quick forward pass lets the cost show; bulk events over 1024-px JPEG files.

    python benchmarks/outbox.py [--images 256] [--rounds 9]

The last line is JSON; ratios are medians over the rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.setup import POLICIES, cpu_flags, make_photographs, print_result, service
from benchmarks.throughput import run_service
from moderator.client import Client
from moderator.queue.outbox import Delivery, Outbox
from moderator.settings import Settings

CONSUMER = "archive"
#: Deliveries per batch.
BATCH = 500


def drain(outbox: Outbox) -> int:
    """Take due deliveries and acknowledge them; return how many had an embedding."""
    taken = [one for one in outbox.take(BATCH) if isinstance(one, Delivery)]
    outbox.forget([one.key for one in taken])
    return sum(one.evidence is not None for one in taken)


@contextmanager
def draining(outbox: Outbox) -> Iterator[None]:
    """Drain while the block runs, as `moderator deliver` does: again at once after deliveries, else after a while."""
    stop = Event()

    def run() -> None:
        while not stop.is_set():
            if not drain(outbox):
                stop.wait(0.5)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=256, help="images in one round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"CPU: {cpu_flags()}")
    with TemporaryDirectory() as one, TemporaryDirectory() as other, ExitStack() as stack:
        clients, files = {}, {}
        for way, folder, settings in (
            ("without", Path(one), {}),
            ("kept", Path(other), {"outbox_consumers": f"{CONSUMER}:embedding"}),
        ):
            files[way] = make_photographs(folder, options.images)
            url, _ = stack.enter_context(service(folder, policies=str(POLICIES), **settings))
            clients[way] = Client(url, Settings(redis_url=url))
        outbox = Outbox(clients["kept"].redis, CONSUMER)

        def run_kept() -> float:
            return run_service(clients["kept"], files["kept"], bulk=True)

        def run_drained() -> float:
            with draining(outbox):
                return run_kept()

        ways: dict[str, Callable[[], float]] = {
            "without": lambda: run_service(clients["without"], files["without"], bulk=True),
            "kept": run_kept,
            "drained": run_drained,
        }
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(options.rounds + 1):
            # Rotate the order, so that no way always runs after the same one.
            names = [*ways][number % 3 :] + [*ways][: number % 3]
            for way in names:
                speed = ways[way]()
                kept = 0
                while found := drain(outbox):
                    kept += found
                assert kept == options.images or way != "kept", f"{kept} embeddings in the outbox"
                if number:  # the first round warms up
                    speeds[way].append(speed)
                time.sleep(0.2)
    print(f"  {'':10} {'images/s':>9} {'min':>7} {'max':>7} {'over without':>13}")
    ratios = {}
    for way, values in speeds.items():
        ratios[way] = median(a / b for a, b in zip(values, speeds["without"], strict=True))
        print(f"  {way:10} {median(values):9.1f} {min(values):7.1f} {max(values):7.1f} {ratios[way]:13.3f}")
    print_result(
        {
            "kept_over_without": round(ratios["kept"], 3),
            "drained_over_without": round(ratios["drained"], 3),
            "images_per_s": round(median(speeds["without"]), 1),
        }
    )


if __name__ == "__main__":
    main()
