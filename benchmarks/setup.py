"""Shared setup of the benchmarks: test photographs, a randomly initialised CLIP, a running service."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Punctuation, Sequence, Whitespace
from tokenizers.trainers import BpeTrainer
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils import logging as transformers_logging

from moderator.cli.demo import PHOTOGRAPHS
from moderator.policies.catalogue import Catalogue
from moderator.policies.loader import load_policy
from moderator.queue.embedded_server import EmbeddedServer, free_port

# Their bars and warnings would stand among the figures.
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()

POLICIES = Path(__file__).parent.parent / "policies"
#: The active version of the classic recipe.
CLASSIC = Catalogue(POLICIES).get("classic")


def classic_prompts() -> tuple[list[str], list[str]]:
    """Return the classic policy's unsafe and safe prompts."""
    category = next(iter(CLASSIC.categories.values()))
    return list(category.unsafe), [*CLASSIC.safe, *category.safe]


def make_photographs(folder: Path, count: int, size: int = 1024, seed: int = 0) -> list[Path]:
    """Write `count` different JPEG files, `size` pixels on the longer side, made from real photographs."""
    random = np.random.default_rng(seed)
    sources = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    files = []
    for number in range(count):
        image = sources[number % len(sources)]
        width, height = image.size
        share = random.uniform(0.7, 1.0)
        left, top = (random.uniform(0, 1 - share) * side for side in image.size)
        image = image.crop((int(left), int(top), int(left + share * width), int(top + share * height)))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        ratio = size / max(image.size)
        image = image.resize(
            (round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BICUBIC
        )
        path = folder / f"{number:04}.jpg"
        image.save(path, quality=90)
        files.append(path)
    return files


def make_clip(folder: Path, config: CLIPConfig | None = None, seed: int = 0) -> Path:
    """Save a randomly initialised CLIP (default: the true ViT-B/32) and a tokenizer, and return the folder."""
    torch.manual_seed(seed)
    config = config or CLIPConfig()
    tokens, merges = _byte_pairs()
    vocabulary = {token: number for number, token in enumerate(tokens)}
    config.text_config.bos_token_id = vocabulary["<|startoftext|>"]
    config.text_config.eos_token_id = config.text_config.pad_token_id = vocabulary["<|endoftext|>"]
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(folder)
    size = config.vision_config.image_size
    CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(folder)
    return folder


def _byte_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    """Return a vocabulary learnt from our policies' prompts: as in CLIP's own, a common word is one token."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    trainer = BpeTrainer(
        vocab_size=2000,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        min_frequency=1,
        show_progress=False,
    )
    tokenizer = Tokenizer(BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = Sequence([Whitespace(), Punctuation()])
    policies = [load_policy(path) for path in POLICIES.glob("*/*.yaml")]
    prompts = [
        p
        for policy in policies
        for c in policy.categories.values()
        for p in (*c.unsafe, *c.safe, *policy.safe)
    ]
    tokenizer.train_from_iterator([prompt.lower() for prompt in prompts], trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    tokens = sorted({*learnt["vocab"], *letters, *(f"{letter}</w>" for letter in letters)})
    return [*tokens, "<|startoftext|>", "<|endoftext|>"], [tuple(pair) for pair in learnt["merges"]]


@dataclass(frozen=True)
class Service:
    """A running service: the Redis URL, the port of the worker's metrics, the worker's process id."""

    url: str
    port: int
    pid: int


@contextmanager
def service(folder: Path, **settings: str) -> Iterator[tuple[str, int]]:
    """Run a server and a worker; yield the Redis URL and the port of the worker's metrics."""
    with start_service(folder, **settings) as running:
        yield running.url, running.port


@contextmanager
def start_service(folder: Path, **settings: str) -> Iterator[Service]:
    """Run a server and a worker, and yield when both are ready."""
    port = free_port()
    with EmbeddedServer(folder / "redis") as server:
        environment = {
            **os.environ,
            "MODERATOR_REDIS_URL": server.url,
            "MODERATOR_METRICS_PORT": str(port),
            "MODERATOR_FETCH_ROOTS": str(folder),
            "MODERATOR_CACHE": str(folder / "cache"),
            **{f"MODERATOR_{name.upper()}": value for name, value in settings.items()},
        }
        log = folder / "worker.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "moderator", "worker"],
                env=environment,
                stdout=output,
                stderr=output,
                # Linux shares the cores between sessions: the worker must not share the benchmark's own session.
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 300
            while True:
                if worker.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the worker did not start:\n{log.read_text()}")
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield Service(server.url, port, worker.pid)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)


def resident_mb(pid: int) -> float:
    """Return the resident MB of a process and its children; shared memory counts once for each of them."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):  # it has ended
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss / 1e6
    return total


def print_result(result: dict[str, object]) -> None:
    """Print the last line: figures for a program."""
    print(json.dumps(result))


def cpu_flags() -> str:
    """Return this CPU's vector instructions that matter for speed."""
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return "unknown"
    return " ".join(flag for flag in wanted if flag in flags) or "none of note"
