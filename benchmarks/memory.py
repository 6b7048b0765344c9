"""Check that the memory of a worker with every kind of signal stays bounded, under load for as long as you like.

One policy has a hash list, words in pictures, a classifier in an ONNX file (open_nsfw if the cache has it, else a
tiny one) and a probe, besides prompts. Pictures have all sizes and shapes, and half of them have text, which the reader
cuts into lines of all lengths: a runtime's memory grows with each shape that it has not seen before.

    python benchmarks/memory.py [--minutes 30] [--early 5]

The table shows memory (resident, of the worker and its decoding processes together, in MB) through the run. The last
line is JSON: `rss_early_mb` and `rss_end_mb` are medians of the three minutes around `--early` and of the last three
(single minutes differ by 5 %, with the pictures that they happen to have), and `growth` is the increase between them.
`bound_mb` is the limit for a whole worker: for the model and the libraries, for each decoding process, and for each
image that is read for text.
"""

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import psutil
from PIL import Image, ImageDraw, ImageFont

from benchmarks.setup import print_result, resident_mb, start_service
from moderator.cli.demo import PHOTOGRAPHS
from moderator.client import Client
from moderator.encoders.encoder_registry import encoder_of
from moderator.errors import QueueFull
from moderator.policies.store import PolicyStore
from moderator.settings import Settings
from moderator.signals.kinds.linear_probe import Probe
from moderator.signals.signal_files import SIGNAL_FILES
from moderator.signals.signal_registry import KINDS

POLICY = """\
name: everything
version: 1
safe: [a landscape, a plate of food]
signals:
  - {{name: seen, kind: hash-list, file: seen.pdq, sha256: {hashes}, turned: true}}
  - {{name: scam, kind: text, words: [free money], seconds: 60, on_timeout: review}}
  - {{name: nudity, kind: onnx-classifier, file: classifier.onnx, sha256: {classifier}, {options}}}
  - {{name: odd, kind: probe, file: odd.safetensors, sha256: {probe}, unsafe: [odd]}}
categories:
  weapons: {{unsafe: [a gun, a knife]}}
  known: {{signal: seen}}
  scam: {{signal: scam}}
  nudity: {{signal: nudity}}
  odd: {{rule: probe, signal: odd}}
"""
NSFW = "labels: [sfw, nsfw], unsafe: [nsfw], resize: 256, layout: nhwc, channels: bgr, mean: [104, 117, 123]"
TINY = "labels: [red, blue], unsafe: [red], size: 8, std: [25, 25, 25], softmax: true"
WORDS = (
    "free money",
    "now",
    "at once",
    "only today",
    "best price",
    "call me",
    "nothing to pay",
    "гарантия",
    "加微信",
)
#: MB: the model, torch and the other libraries; a decoding process; an image that is read for text.
BASE, DECODER, READER = 1200, 250, 250
#: Minutes that a figure of memory is the median of.
OVER = 3.0


def write_policy(folder: Path, cache: Path) -> None:
    """Release a policy with all kinds of signals, and activate it."""
    (folder / "everything").mkdir(parents=True)
    settings = Settings(cache=cache)
    encoder = encoder_of(settings)
    weight = np.random.default_rng(0).normal(size=(2, encoder.dimension)).astype(np.float32)
    probe = Probe(("odd", "usual"), weight, np.zeros(2, dtype=np.float32), encoder.identity, 1.0)
    nsfw = Settings().cache / SIGNAL_FILES / "open-nsfw.onnx"
    files = {
        "seen.pdq": KINDS.get("hash-list").examples()[0].content or b"",
        "classifier.onnx": nsfw.read_bytes()
        if nsfw.exists()
        else KINDS.get("onnx-classifier").examples()[0].content or b"",
        "odd.safetensors": probe.serialized(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes, classifier, odd = (sha256(content).hexdigest() for content in files.values())
    (folder / "everything" / "1.yaml").write_text(
        POLICY.format(
            hashes=hashes, classifier=classifier, probe=odd, options=NSFW if nsfw.exists() else TINY
        )
    )
    store = PolicyStore(folder, check=lambda policy: None)
    store.release("everything", 1)
    store.activate("everything", 1)


def draw(random: np.random.Generator, sources: list[Image.Image]) -> Image.Image:
    """Return a picture of any size and shape, half of the time with lines of text."""
    width, height = (int(side) for side in np.exp(random.uniform(np.log(80), np.log(3000), size=2)))
    image = sources[random.integers(len(sources))].resize((width, height))
    if random.random() < 0.5:
        pen = ImageDraw.Draw(image)
        size = int(random.integers(10, 60))
        font = ImageFont.load_default(size)
        for row in range(int(random.integers(1, 12))):
            text = " ".join(random.choice(WORDS, size=int(random.integers(1, 12))))
            at = (float(random.uniform(0, width / 2)), 1.3 * size * row)
            pen.text(at, text, fill="white" if row % 2 else "black", font=font)
    return image


class Load:
    """Endless submission of pictures, at the rate at which the service judges them."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client, self._folder = client, folder
        self._stopped = Event()
        self.submitted = 0
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        random = np.random.default_rng(0)
        sources = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
        while not self._stopped.is_set():
            # Rewrite a few hundred files in turn, so that each event has its own picture.
            file = self._folder / f"{self.submitted % 300}.{random.choice(['jpg', 'png', 'webp'])}"
            draw(random, sources).save(file)
            while not self._stopped.is_set():
                try:
                    self._client.submit(path=file, id=f"picture-{self.submitted}", policy="everything")
                    self.submitted += 1
                    break
                except QueueFull as error:
                    self._stopped.wait(error.retry_after)


def run(minutes: float, early: float) -> dict[str, object]:
    """Measure, print the table, and return the figures."""
    with TemporaryDirectory(prefix="moderator-memory-") as name:
        folder = Path(name)
        write_policy(folder / "policies", folder / "cache")
        images = folder / "images"
        images.mkdir()
        settings = {"policies": str(folder / "policies"), "fetch_roots": str(images), "queue_limit": "40"}
        with start_service(folder, **{**settings, "default_policy": "everything"}) as service:
            client = Client(service.url, Settings(redis_url=service.url, queue_limit=40))
            position = client.verdicts.position()
            load, start = Load(client, images), time.monotonic()
            samples: list[tuple[float, float]] = []
            print(f"{'minute':>7} {'worker MB':>10} {'all MB':>8} {'images':>8}", flush=True)
            shown = 0.0
            while (now := (time.monotonic() - start) / 60) < minutes:
                samples.append((now, resident_mb(service.pid)))
                if now >= shown:
                    alone = psutil.Process(service.pid).memory_info().rss / 1e6
                    print(f"{now:7.1f} {alone:10.0f} {samples[-1][1]:8.0f} {load.submitted:8}", flush=True)
                    shown += 1.0
                time.sleep(1.0)
            load.stop()
            decisions = Counter(
                verdict.decision.value for _, verdict in client.verdicts.tail(position, follow=False)
            )
    before, after = (
        statistics.median(mb for at, mb in samples if end - OVER <= at <= end)
        for end in (min(early + OVER / 2, minutes), minutes)
    )
    cores = os.cpu_count() or 1
    return {
        "benchmark": "memory",
        "minutes": minutes,
        "images": sum(decisions.values()),
        "errors": decisions["error"],
        "rss_early_mb": round(before),
        "rss_end_mb": round(after),
        "rss_peak_mb": round(max(mb for _, mb in samples)),
        "growth": round(after / before - 1, 3),
        "bound_mb": BASE + cores * (DECODER + READER),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--early", type=float, default=5.0, help="minutes until the first figure")
    arguments = parser.parse_args()
    print_result(run(arguments.minutes, arguments.early))


if __name__ == "__main__":
    main()
