"""How near the service comes to the bare model, in one interleaved run on the same cores in the same precision.

For a randomly initialised ViT-B/32 and for the embedded encoder, over 1024-px JPEG files:

  forward   the image tower on ready tensors, at its best batch size
  least     read, decode, resize and forward in a hand-written loop that overlaps them, without any queue
  service   event to verdict on the stream, through Redis and a worker process
  classic   the classic recipe: the image and all prompts through both towers, image by image

    python benchmarks/throughput.py [--images 128] [--rounds 5]

The last line is JSON; ratios are medians over the rounds.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.setup import POLICIES, classic_prompts, cpu_flags, make_clip, make_photographs, print_result, service
from moderator.client import Client
from moderator.encoders.base import Encoder
from moderator.encoders.registry import load_encoder
from moderator.settings import Settings

BATCHES = (1, 4, 8, 16, 32)
#: Images read ahead by the least-work loop.
AHEAD = 32


def prepare(encoder: Encoder, path: Path) -> np.ndarray:
    """The least that has to happen to a file: uint8 [size, size, 3]."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.draft("RGB", (2 * encoder.image_size, 2 * encoder.image_size))
    return encoder.preprocess(image.convert("RGB"))


def best_forward(encoder: Encoder, files: list[Path]) -> tuple[int, np.ndarray]:
    """The batch size with the most images per second, and a batch of it."""
    ready = np.stack([prepare(encoder, path) for path in files[: max(BATCHES)]])
    speeds = {}
    for size in BATCHES:
        encoder.embed_images(ready[:size])
        rounds = []
        for _ in range(3):
            start = time.perf_counter()
            encoder.embed_images(ready[:size])
            rounds.append(size / (time.perf_counter() - start))
        speeds[size] = median(rounds)
    best = max(speeds, key=lambda size: speeds[size])
    return best, ready[:best]


def run_forward(encoder: Encoder, batch: np.ndarray, count: int) -> float:
    """Images per second of the bare model."""
    start = time.perf_counter()
    done = 0
    while done < count:
        encoder.embed_images(batch)
        done += len(batch)
    return done / (time.perf_counter() - start)


def run_least_work(encoder: Encoder, files: list[Path], size: int) -> float:
    """Images per second of a hand-written loop: threads prepare, this thread runs the model."""
    start = time.perf_counter()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(prepare, encoder, path) for path in files[:AHEAD]]
        for at in range(0, len(files), size):
            batch = np.stack([future.result() for future in waiting[:size]])
            del waiting[:size]
            more = files[at + AHEAD : at + AHEAD + size]
            waiting += [pool.submit(prepare, encoder, path) for path in more]
            encoder.embed_images(batch)
    return len(files) / (time.perf_counter() - start)


def run_service(client: Client, files: list[Path], bulk: bool) -> float:
    """Images per second from the first event submitted to the last verdict on the stream."""
    position = client.verdicts.position()
    start = time.perf_counter()
    if bulk:
        for at in range(0, len(files), 32):
            client.submit_many([{"path": str(path)} for path in files[at : at + 32]], policy="classic")
    else:
        for path in files:
            client.submit(path=path, policy="classic")
    seen = 0
    for _, verdict in client.verdicts.tail(position):
        assert verdict.error is None, verdict.error
        seen += 1
        if seen == len(files):
            break
    return len(files) / (time.perf_counter() - start)


def run_classic(encoder: Encoder, files: list[Path]) -> float:
    """Images per second of the classic recipe, image by image, prompts included, whole JPEGs."""
    unsafe, safe = classic_prompts()
    start = time.perf_counter()
    for path in files:
        pixels = encoder.preprocess(Image.open(path).convert("RGB"))[None]
        image, texts = encoder.embed_images(pixels), encoder.embed_texts([*unsafe, *safe])
        logits = encoder.scale * (image @ texts.T)[0]
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        unsafe_score, safe_score = probabilities[: len(unsafe)].mean(), probabilities[len(unsafe) :].mean()
        _ = safe_score > unsafe_score and unsafe_score < 0.5
    return len(files) / (time.perf_counter() - start)


def measure(name: str, images: int, rounds: int, dtype: str, folder: Path) -> dict[str, float]:
    """All ways of one encoder, in turn, `rounds` times; prints a table and returns the median ratios."""
    encoder = load_encoder(name, dtype=dtype)
    files = make_photographs(folder, images)
    size, batch = best_forward(encoder, files)
    with service(folder, encoder=name, dtype=encoder.dtype, policies=str(POLICIES)) as (url, _):
        client = Client(url, Settings(redis_url=url))
        ways: dict[str, Callable[[], float]] = {
            "forward": lambda: run_forward(encoder, batch, images),
            "least": lambda: run_least_work(encoder, files, size),
            "service": lambda: run_service(client, files, bulk=False),
            "service, bulk": lambda: run_service(client, files, bulk=True),
            "classic": lambda: run_classic(encoder, files[: max(8, images // 8)]),
        }
        for way in ways.values():
            way()
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                speeds[way].append(run())
    print(f"\n{encoder.identity.id}, {encoder.dtype} on {encoder.device}, forward in batches of {size}")
    print(f"  {'':14} {'images/s':>9} {'min':>7} {'max':>7}")
    for way, values in speeds.items():
        print(f"  {way:14} {median(values):9.1f} {min(values):7.1f} {max(values):7.1f}")

    def ratio(one: str, other: str) -> float:
        return round(median(a / b for a, b in zip(speeds[one], speeds[other], strict=True)), 3)

    return {
        "service_over_least_work": ratio("service", "least"),
        "service_over_classic": ratio("service", "classic"),
        "service_over_forward": ratio("service", "forward"),
        "bulk_over_least_work": ratio("service, bulk", "least"),
        "images_per_s": round(median(speeds["service"]), 1),
        "batch": size,
    }


def main() -> None:
    """Measure both encoders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128, help="images in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU: {cpu_flags()}")
    with TemporaryDirectory() as clip, TemporaryDirectory() as one, TemporaryDirectory() as other:
        name = f"clip:{make_clip(Path(clip))}"
        vit = measure(name, options.images, options.rounds, options.dtype, Path(one))
        embedded = measure("embedded", 2 * options.images, options.rounds, options.dtype, Path(other))
    for title, ratios in (("ViT-B/32", vit), ("embedded", embedded)):
        print(f"\n{title}: " + ", ".join(f"{key} {value}" for key, value in ratios.items()))
    print_result({**vit, "embedded": embedded})


if __name__ == "__main__":
    main()
