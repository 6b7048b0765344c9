"""Measure how close the service comes to the bare model, in this CPU's fastest runtime, on the same cores.

First the runtimes and precisions of a randomly initialised ViT-B/32, in interleaved rounds: images per second,
closeness to float32, and equal decisions of all shipped policies over 1,000 photographs. The best is the fastest with
at least 99.5 % equal decisions. With it, again interleaved, over 1024-px JPEG files:

  float32   the image tower in torch in float32, at its best batch size
  forward   the image tower on ready tensors, at its best batch size
  least     read, decode, resize and forward in a hand-written loop that overlaps them, without any queue
  service   event to verdict on the stream, through Redis and a worker process: bulk events of 32 images each
  single    the same with one event per image
  classic   the classic recipe: image and prompts through the whole model, image by image. For ViT-B/32 it is written
            with plain transformers in float32, texts padded to 77 tokens as CLIP was trained
  short     the same with texts padded to the longest prompt only
  cast      as `classic`, and the model cast to the precision in which torch is fastest
  both      as `short`, and cast

Then `forward` to `classic` once more for the embedded encoder with its defaults.

    python benchmarks/throughput.py [--images 256] [--rounds 5] [--photographs 1000] [--data FOLDER]

The comparison uses the demo's photographs, cropped and mirrored, and the images in FOLDER. With random weights almost
all embeddings and their decisions are alike: the cosine after subtracting the mean says more than the agreement. The
last line is JSON; ratios are medians over the rounds.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from workers.torch_environment import set_torch_environment

# As in the worker, and before torch is loaded: all that is compared waits, and takes memory, in the same way.
set_torch_environment()

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.setup import (
    POLICIES,
    classic_prompts,
    cpu_flags,
    make_clip,
    make_photographs,
    print_result,
    service,
)
from moderator.client import Client
from moderator.embeddings.runtimes import BATCH_SIZES, RuntimeRow, compare_runtimes
from moderator.encoders.device import dtype_name, resolve_device
from moderator.encoders.encoder import Encoder
from moderator.encoders.encoder_registry import load_encoder
from moderator.image_paths import expand_images
from moderator.settings import Settings
from workers.priority import EXPECTED_SECONDS

#: Minimum share of decisions equal to those of float32.
EQUAL = 0.995
#: Images that the least-work loop reads ahead.
AHEAD = 32


def prepare(encoder: Encoder, path: Path) -> np.ndarray:
    """Do the minimum of preparation for a file -> uint8 [size, size, 3]."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.draft("RGB", (2 * encoder.image_size, 2 * encoder.image_size))
    return encoder.preprocess(image.convert("RGB"))


def best_forward(encoder: Encoder, files: list[Path]) -> tuple[int, np.ndarray]:
    """Return the batch size with the most images per second, and a batch of that size."""
    ready = np.stack([prepare(encoder, path) for path in files[: max(BATCH_SIZES)]])
    speeds = {}
    for size in BATCH_SIZES:
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
    """Return images per second of the bare model."""
    start = time.perf_counter()
    done = 0
    while done < count:
        encoder.embed_images(batch)
        done += len(batch)
    return done / (time.perf_counter() - start)


def run_least_work(encoder: Encoder, files: list[Path], size: int) -> float:
    """Return images per second of a hand-written loop: threads prepare, this thread runs the model."""
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
    """Return images per second from the first submitted event to the last verdict on the stream."""
    position = client.verdicts.position()
    start = time.perf_counter()
    if bulk:
        for at in range(0, len(files), 32):
            client.submit_many([{"path": str(path)} for path in files[at : at + 32]], policy="classic")
    else:
        for path in files:
            client.submit(path=path, policy="classic")
    for _, verdict in islice(client.verdicts.tail(position), len(files)):
        assert verdict.error is None, verdict.error
    return len(files) / (time.perf_counter() - start)


def run_transformers(folder: Path, dtype: str, files: list[Path], padding: bool | str) -> float:
    """Return images per second of the classic recipe as usually written, with plain transformers."""
    model, tokenizer, processor = load_transformers(folder, dtype)
    unsafe, safe = classic_prompts()
    start = time.perf_counter()
    for path in files:
        inputs = processor(images=Image.open(path).convert("RGB"), return_tensors="pt")
        texts = tokenizer(
            [*unsafe, *safe], padding=padding, max_length=77, truncation=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model(pixel_values=inputs["pixel_values"].to(model.dtype), **texts)
        probabilities = output.logits_per_image.float().softmax(dim=-1)[0]
        unsafe_score, safe_score = probabilities[: len(unsafe)].mean(), probabilities[len(unsafe) :].mean()
        _ = bool(safe_score > unsafe_score and unsafe_score < 0.5)
    return len(files) / (time.perf_counter() - start)


@cache
def load_transformers(folder: Path, dtype: str) -> tuple[Any, Any, Any]:
    """Return model, tokenizer and image processor."""
    model = CLIPModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    return model, AutoTokenizer.from_pretrained(folder), CLIPImageProcessorPil.from_pretrained(folder)


def run_classic(encoder: Encoder, files: list[Path]) -> float:
    """Return images per second of the classic recipe with our encoder, image by image, prompts included."""
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


def show_runtimes(rows: list[RuntimeRow], photographs: int) -> RuntimeRow:
    """Print the table, and return the fastest row that decides like float32."""
    print(f"\nViT-B/32, {photographs} photographs; float32 decided {rows[0].decisions}")
    speeds = "".join(f"{f'b{size}':>8}" for size in BATCH_SIZES)
    print(f"  {'images/s':18}{speeds}   x fp32  lowest cosine  centred  equal decisions")
    for row in rows:
        figures = "".join(f"{speed:8.1f}" for speed in row.speeds.values())
        print(
            f"  {row.runtime + ' ' + row.precision:18}{figures}{row.best / rows[0].best:9.2f}"
            f"{row.cosine:15.5f}{row.centred_cosine:9.4f}{100 * row.equal_decisions:15.2f} %"
        )
    return max((row for row in rows if row.equal_decisions >= EQUAL), key=lambda row: row.best)


def measure(
    name: str, clip: Path | None, runtime: str, dtype: str, images: int, rounds: int, folder: Path
) -> dict[str, float]:
    """Measure all ways of one encoder in turn, `rounds` times; print a table and return the median ratios."""
    encoder = load_encoder(name, dtype=dtype, runtime=runtime, cache=folder / "cache")
    files = make_photographs(folder, images)
    size, batch = best_forward(encoder, files)
    with service(folder, encoder=name, dtype=dtype, runtime=runtime, policies=str(POLICIES)) as (url, _):
        client = Client(url, Settings(redis_url=url))
        few = files[: max(8, images // 8)]

        def run_bulk() -> float:
            # Single events are interactive, and bulk waits as long as more of them are expected.
            time.sleep(EXPECTED_SECONDS)
            return run_service(client, files, bulk=True)

        ways: dict[str, Callable[[], float]] = {
            "forward": lambda: run_forward(encoder, batch, images),
            "least": lambda: run_least_work(encoder, files, size),
            "service": run_bulk,
            "single": lambda: run_service(client, files, bulk=False),
        }
        if clip is None:
            ways["classic"] = lambda: run_classic(encoder, few)
        else:
            exact = load_encoder(name, "cpu", "float32", "torch")
            _, one = best_forward(exact, files)
            ways = {"float32": lambda: run_forward(exact, one, images), **ways}
            fastest = dtype_name(resolve_device("cpu", "auto")[1])
            ways["classic"] = lambda: run_transformers(clip, "float32", few, padding="max_length")
            ways["short"] = lambda: run_transformers(clip, "float32", few, padding=True)
            ways["cast"] = lambda: run_transformers(clip, fastest, few, padding="max_length")
            ways["both"] = lambda: run_transformers(clip, fastest, few, padding=True)
        for way in ways.values():
            way()
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                speeds[way].append(run())
    print(f"\n{encoder.identity.id}, {runtime} {encoder.dtype} on {encoder.device}, batches of {size}")
    print(f"  {'':14} {'images/s':>9} {'min':>7} {'max':>7}")
    for way, values in speeds.items():
        print(f"  {way:14} {median(values):9.1f} {min(values):7.1f} {max(values):7.1f}")

    def ratio(one: str, other: str) -> float:
        return round(median(a / b for a, b in zip(speeds[one], speeds[other], strict=True)), 3)

    of_clip = {
        "best_runtime_over_torch_fp32": ("forward", "float32"),
        **{f"service_over_classic_{way}": ("service", way) for way in ("short", "cast", "both")},
    }
    return {
        "service_over_least_work": ratio("service", "least"),
        "service_over_classic": ratio("service", "classic"),
        "service_over_forward": ratio("service", "forward"),
        "single_over_least_work": ratio("single", "least"),
        **({key: ratio(*ways_) for key, ways_ in of_clip.items()} if clip else {}),
        "images_per_s": round(median(speeds["service"]), 1),
        "batch": size,
    }


def main() -> None:
    """Compare the runtimes, then measure both encoders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=256, help="images in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=1000, help="photographs that are decided on")
    parser.add_argument("--data", type=Path, help="folder of further photographs, for half of them at most")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU: {cpu_flags()}")
    with (
        TemporaryDirectory() as clip,
        TemporaryDirectory() as shown,
        TemporaryDirectory() as one,
        TemporaryDirectory() as other,
    ):
        model = make_clip(Path(clip))
        found = expand_images([str(options.data)])[: options.photographs // 2] if options.data else []
        files = [Path(file) for file in found]
        files += make_photographs(Path(shown), options.photographs - len(files), size=512)
        settings = Settings(encoder=f"clip:{model}", policies=POLICIES, cache=Path(one) / "cache")
        best = show_runtimes(compare_runtimes(settings, files, options.rounds), len(files))
        counts = options.images, options.rounds
        vit = measure(settings.encoder, model, best.runtime, best.precision, *counts, Path(one))
        embedded = measure("embedded", None, "auto", "auto", *counts, Path(other))
    result = {
        "best_runtime": f"{best.runtime} {best.precision}",
        "equal_decisions": round(best.equal_decisions, 5),
        "lowest_cosine": round(best.cosine, 5),
        **vit,
    }
    for title, ratios in (("ViT-B/32", result), ("embedded", embedded)):
        print(f"\n{title}: " + ", ".join(f"{key} {value}" for key, value in ratios.items()))
    print_result({**result, "decisions": best.decisions, "embedded": embedded})


if __name__ == "__main__":
    main()
