"""Compare ours with the alternatives: same weights, same pictures, same cores, in turn in one run.

  check         `Moderator.check` on a list of files               against  `openmoderate`'s `analyze_batch` on it
  service       Valkey, worker and client, bulk events of 32       against  `infinity-emb`'s server, embedding pictures
                                                                   against  a plain LitServe server with CLIP

    python benchmarks/peers.py [--images 128] [--rounds 5] [--data FOLDER] [--dtype auto]

Each peer has its own environment in `.bench-envs/` (3.7 GB together), created when first needed, with the pins of
`benchmarks/peers_inside/constraints-*.txt`. All load one randomly initialised ViT-B/32: a `save_pretrained` folder,
and for openmoderate, which is built on OpenCLIP, the same tensors under OpenCLIP's names; its configuration accepts
the file, so none of its code is patched. The prompts are those of the policy `classic`, embedded once by all but
infinity, whose server returns embeddings and leaves the scores to its client.

Each peer is tried in several settings and measured in its best: batch size, precision, processes, compilation, and
the client's load. A setting counts if one picture's embedding has a cosine above 0.99 to the model's own in float32;
the same is required of ours. `--dtype float32` fixes that precision for all; `auto` lets each use its fastest: ours
int8 (OpenVINO), infinity its int8, LitServe bfloat16 if the CPU computes in it, openmoderate float32, the only one
that it offers on a CPU.

LitServe's requests name a file, like our events; infinity accepts no files, so its requests carry the bytes. Requests
are built before the clock starts. Peers are suspended (SIGSTOP) while others are measured. A peer that cannot be
installed or started is skipped, and its ratio is null. The last line is JSON; ratios are medians over the rounds.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))
from workers.torch_environment import set_torch_environment

# As in the worker, and before torch is loaded: all that is compared waits, and takes memory, in the same way.
set_torch_environment()

import numpy as np
import torch

from benchmarks.peers_report import PAIRS, Way, result, table
from benchmarks.peers_servers import Api, Infinity, LitServe, Load, Loop, Server
from benchmarks.peers_setup import INSIDE, PeerSkipped, environment, pins, to_openclip
from benchmarks.peers_trial import (
    INFINITY_LOADS,
    LITSERVE_LOADS,
    SAME,
    Embedding,
    best_server,
    cosine,
    infinity_settings,
    litserve_settings,
)
from benchmarks.setup import (
    POLICIES,
    classic_prompts,
    cpu_flags,
    make_clip,
    make_photographs,
    print_result,
    service,
)
from benchmarks.throughput import run_service
from moderator import Moderator, Settings
from moderator.client import Client
from moderator.encoders.encoder_registry import load_encoder
from moderator.image_paths import list_images

PACKAGES = {"openmoderate": "openmoderate", "infinity": "infinity-emb", "litserve": "litserve"}
CHUNKS = (8, 32, 128)


@dataclass(frozen=True)
class Bench:
    """The setup that all peers share."""

    folder: Path
    model: Path
    files: list[Path]
    trial: int
    exact: Embedding
    """The model's own embedding of the first file, in float32."""
    dtype: str
    """The requested precision."""

    def openmoderate(self, cleanup: ExitStack) -> Way:
        """Start openmoderate in its best setting. Raises PeerSkipped."""
        programs = environment("openmoderate")
        unsafe, safe = classic_prompts()
        config = self.folder / "openmoderate.json"
        category = {"name": "unsafe", "prompts": unsafe}
        config.write_text(
            json.dumps({"safe_prompts": safe, "custom_categories": [category], "enabled": ["unsafe"]})
        )
        weights = to_openclip(self.model, self.folder / "openclip.safetensors")
        program = [str(programs / "python"), str(INSIDE / "openmoderate_check.py"), str(weights), str(config)]
        loop = Loop(program, self.folder / "openmoderate.log")
        cleanup.callback(loop.process.stop)
        likeness = cosine(np.array(loop.ask({"embed": str(self.files[0])})["embedding"]), self.exact)
        if likeness <= SAME:
            raise PeerSkipped(f"cosine {likeness:.5f} to float32")

        def run(files: list[Path], chunk: int) -> tuple[float, float]:
            answer = loop.ask({"check": [str(file) for file in files], "chunk": chunk})
            assert answer["results"] == len(files)
            return len(files) / answer["seconds"], 0.0

        run(self.files[:8], 8)
        speeds = {size: run(self.files[: max(self.trial, size)], size)[0] for size in CHUNKS}
        print("  " + ", ".join(f"{size} at once {speed:.1f}/s" for size, speed in speeds.items()))
        best = max(speeds, key=lambda size: speeds[size])
        return Way(lambda: run(self.files, best), f"float32, {best} at once", likeness)

    def infinity(self, cleanup: ExitStack) -> Way:
        """Start infinity in its best setting. Raises PeerSkipped."""
        api = Infinity(environment("infinity"), self.model)
        return self._server(api, infinity_settings(self.dtype), INFINITY_LOADS, cleanup)

    def litserve(self, cleanup: ExitStack) -> Way:
        """Start LitServe in its best setting. Raises PeerSkipped."""
        unsafe, safe = classic_prompts()
        prompts = self.folder / "prompts.json"
        prompts.write_text(json.dumps({"unsafe": unsafe, "safe": safe}))
        api = LitServe(environment("litserve"), self.model, prompts)
        return self._server(api, litserve_settings(self.dtype), LITSERVE_LOADS, cleanup)

    def _server(
        self, api: Api, settings: list[list[str]], loads: tuple[Load, ...], cleanup: ExitStack
    ) -> Way:
        few = self.files[: self.trial]
        options, load = best_server(api, settings, loads, few, self.exact, self.folder)
        server = Server(api, options, self.folder / f"{type(api).__name__}.log")
        cleanup.callback(server.process.stop)
        likeness = cosine(server.embedding(self.files[0]), self.exact)
        return Way(lambda: server.run(self.files, load), f"{' '.join(options)}, {load}", likeness)


def measured(work: Callable[[], float]) -> tuple[float, float]:
    """Return the images per second that `work` reports, and this process's share of a core meanwhile."""
    start, cpu = time.perf_counter(), time.process_time()
    speed = work()
    return speed, (time.process_time() - cpu) / (time.perf_counter() - start)


def run_check(moderator: Moderator, files: list[Path]) -> tuple[float, float]:
    """Return images per second of the library. It has the process to itself, so no client counts."""
    start = time.perf_counter()
    verdicts = moderator.check(files, policy="classic")
    seconds = time.perf_counter() - start
    assert all(verdict.error is None for verdict in verdicts)
    return len(files) / seconds, 0.0


def pictures(folder: Path, data: Path | None, count: int) -> list[Path]:
    """Put `count` files under `folder`, where the worker may read: from `data`, repeated, or made from the demo's."""
    if data is None:
        return make_photographs(folder, count)
    sources = sorted(list_images(data))
    if not sources:
        sys.exit(f"{data}: no pictures in it")
    files = []
    for number, source in enumerate(islice(cycle(sources), count)):
        files.append(Path(shutil.copy(source, folder / f"{number:05}{Path(source).suffix}")))
    return files


def main() -> None:
    """Find the best settings, measure in turn, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=128, help="images in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trial", type=int, default=48, help="images in the trial of a setting")
    parser.add_argument("--data", type=Path, help="folder of pictures; default: made from those of the demo")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32"))
    parser.add_argument("--peers", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    options = parser.parse_args()
    # Exit through the context managers, which stop everything that was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = len(os.sched_getaffinity(0))
    print(f"torch {torch.__version__}, {cores} cores, CPU: {cpu_flags()}")
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="moderator-peers-")))
        model = make_clip(folder / "clip")
        (folder / "service").mkdir()
        files = pictures(folder / "service", options.data, options.images)
        settings = Settings(
            encoder=f"clip:{model}",
            dtype="int8" if options.dtype == "auto" else options.dtype,
            policies=POLICIES,
            cache=folder / "cache",
        )
        moderator = Moderator(settings)
        pixels = moderator.engine.preparer.prepare(files[0].read_bytes()).pixels
        exact = load_encoder(settings.encoder, "cpu", "float32", "torch").embed_images(pixels)[0]
        likeness = cosine(moderator.engine.embed(pixels)[0], exact)
        if likeness <= SAME:
            sys.exit(f"our own embedding in {settings.dtype} has a cosine of {likeness:.5f} to float32")
        bench = Bench(folder, model, files, options.trial, exact, options.dtype)
        ways, skipped = measure(bench, moderator, likeness, options.peers, options.rounds, cleanup)
    print(f"\nViT-B/32, {len(files)} pictures, {options.rounds} rounds")
    print(table(ways, skipped))
    figures = result(ways, skipped)
    for _, _, key in PAIRS:
        print(f"  {key}: {figures[key] or 'not measured'}")
    print_result(
        {
            **figures,
            "dtype": moderator.engine.encoder.dtype,
            "cosine": round(likeness, 5),
            "cores": cores,
            "cpu": cpu_flags(),
            "versions": {
                "torch": torch.__version__,
                **{peer: pins(peer)[package] for peer, package in PACKAGES.items()},
            },
        }
    )


def measure(
    bench: Bench,
    moderator: Moderator,
    likeness: float,
    peers: list[str],
    rounds: int,
    cleanup: ExitStack,
) -> tuple[dict[str, Way], dict[str, str]]:
    """Find each peer's best setting, then measure all in turn, `rounds` times. Also return the skipped ones and why."""
    found: dict[str, Way] = {}
    skipped: dict[str, str] = {}
    prepare = {"openmoderate": bench.openmoderate, "infinity": bench.infinity, "litserve": bench.litserve}
    for peer in peers:
        print(f"\n{peer} {pins(peer)[PACKAGES[peer]]}: trying its settings")
        try:
            found[peer] = prepare[peer](cleanup)
        except PeerSkipped as error:
            skipped[peer] = str(error)
            print(f"  skipped: {error}")
    url, _ = cleanup.enter_context(
        service(
            bench.folder / "service",
            encoder=moderator.settings.encoder,
            dtype=moderator.settings.dtype,
            policies=str(moderator.settings.policies),
        )
    )
    client = Client(url, Settings(redis_url=url))
    ways = {
        "check": Way(lambda: run_check(moderator, bench.files), moderator.engine.encoder.dtype, likeness),
        "service": Way(
            lambda: measured(lambda: run_service(client, bench.files, bulk=True)),
            f"{moderator.engine.encoder.dtype}, bulk events of 32",
            likeness,
        ),
        **found,
    }
    take_turns(ways, skipped, rounds)
    return ways, skipped


def take_turns(ways: dict[str, Way], skipped: dict[str, str], rounds: int) -> None:
    """Run all ways in turn, once to warm up and then `rounds` times; move those that fail to `skipped`."""
    for number in range(rounds + 1):
        for name, way in list(ways.items()):
            try:
                speed, share = way.run()
            except PeerSkipped as error:
                skipped[name] = str(error)
                del ways[name]
                continue
            if number:
                way.speeds.append(speed)
                way.shares.append(share)


if __name__ == "__main__":
    main()
