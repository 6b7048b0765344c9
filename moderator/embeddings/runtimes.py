"""Compare runtimes and precisions on this machine: their speed and their distance from float32."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from moderator.embeddings.embedder import Embedder
from moderator.encoders.device import computes_bfloat16
from moderator.encoders.encoder import Embeddings, Encoder, Pixels
from moderator.encoders.encoder_registry import load_encoder
from moderator.encoders.runtimes.plan import ONNX, OPENVINO, PRECISIONS, TORCH, installed
from moderator.engine.compiler import Compiler
from moderator.errors import SettingsError
from moderator.policies.loader import load_policy
from moderator.scoring.thresholds import CompiledPolicy, judge
from moderator.settings import Settings

BATCH_SIZES = (1, 8, 32)
#: Least number of seconds for one timing.
TIMING_MIN_SECONDS = 0.5


def runtime_precisions() -> list[tuple[str, str]]:
    """Return the runtimes, and the precisions of each in which this CPU computes; an emulated one is of no use."""
    emulated = {"float16"} if computes_bfloat16() else {"float16", "bfloat16"}
    return [
        (way, dtype) for way in (TORCH, ONNX, OPENVINO) for dtype in PRECISIONS[way] if dtype not in emulated
    ]


@dataclass(frozen=True)
class RuntimeRow:
    """One runtime in one precision, compared with torch in float32."""

    runtime: str
    precision: str
    speeds: dict[int, float]
    """Images per second by batch size, medians over the rounds."""
    cosine: float
    """The lowest over the photographs."""
    centred_cosine: float
    """The same after subtracting the photographs' mean embedding, which hides differences with random weights."""
    equal_decisions: float
    """Share of (photograph, policy) pairs with the same decision."""
    decisions: dict[str, int]
    """Number of each decision in float32: agreement means little if there is only one decision."""

    @property
    def best(self) -> float:
        """Images per second at the fastest batch size."""
        return max(self.speeds.values())


def compare_runtimes(settings: Settings, photographs: Sequence[Path], rounds: int = 3) -> list[RuntimeRow]:
    """Run every installed runtime in every precision of the CPU, in interleaved rounds; torch in float32 is first.

    Args:
        settings: source of the encoder, the policies (all versions), the limits and the cache.
        photographs: image files; at least one.
        rounds: number of timings of each.

    Raises:
        EncoderUnknown, WeightsInvalid: the model cannot be loaded.
        ImageError: a photograph cannot be read or decoded.
        PolicyError: a policy cannot be read.
    """
    encoders: dict[tuple[str, str], Encoder] = {}
    for runtime, dtype in runtime_precisions():
        if installed(runtime):
            try:
                encoders[runtime, dtype] = load_encoder(
                    settings.encoder, "cpu", dtype, runtime, settings.cache
                )
            except SettingsError:  # the encoder has no such precision
                continue
    reference = encoders[TORCH, "float32"]
    embedder = Embedder(settings, encoder=reference)
    pixels = np.stack([reference.preprocess(embedder.picture(path)) for path in photographs])
    speeds = _time(encoders, pixels, rounds)
    compiler = Compiler(reference, settings.cache)
    loaded = [load_policy(path) for path in sorted(settings.policies.glob("*/*.yaml"))]
    # Signals do not come from this model, and are not read here; thresholds of other encoders mean nothing.
    fitting = [p for p in loaded if not p.signals and p.categories_on(reference.identity) is not None]
    compiled = [compiler.compile(policy) for policy in fitting]
    expected = _embed(reference, pixels)
    decided = _decide(compiled, expected)
    counts = {str(name): decided.count(name) for name in sorted(set(decided))}
    rows = []
    for (runtime, dtype), encoder in encoders.items():
        found = expected if encoder is reference else _embed(encoder, pixels)
        equal = np.mean([a == b for a, b in zip(_decide(compiled, found), decided, strict=True)])
        mean = expected.mean(axis=0)
        rows.append(
            RuntimeRow(
                runtime,
                dtype,
                speeds[runtime, dtype],
                float(_cosines(found, expected).min()),
                float(_cosines(found - mean, expected - mean).min()),
                float(equal),
                counts,
            )
        )
    return rows


def _time(
    encoders: dict[tuple[str, str], Encoder], pixels: Pixels, rounds: int
) -> dict[tuple[str, str], dict[int, float]]:
    found: dict[tuple[str, str], dict[int, list[float]]] = {
        way: {n: [] for n in BATCH_SIZES} for way in encoders
    }
    batches = {size: pixels[np.arange(size) % len(pixels)] for size in BATCH_SIZES}
    for round_ in range(rounds + 1):  # the first warms up
        for way, encoder in encoders.items():
            for size, batch in batches.items():
                start = time.perf_counter()
                count = 0
                while not count or (round_ and time.perf_counter() - start < TIMING_MIN_SECONDS):
                    encoder.embed_images(batch)
                    count += size
                if round_:
                    found[way][size].append(count / (time.perf_counter() - start))
    return {way: {n: median(values) for n, values in by.items()} for way, by in found.items()}


def _embed(encoder: Encoder, pixels: Pixels) -> Embeddings:
    return np.concatenate([encoder.embed_images(pixels[at : at + 32]) for at in range(0, len(pixels), 32)])


def _decide(policies: list[CompiledPolicy], embeddings: Embeddings) -> list[str]:
    return [str(judge(policy, row[None]).decision.value) for policy in policies for row in embeddings]


def _cosines(one: Embeddings, other: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.maximum(lengths, 1e-12))
