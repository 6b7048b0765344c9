"""Find the best options and load for a peer of `benchmarks/peers.py` before it is measured."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers_servers import Api, Load, Server
from benchmarks.peers_setup import PeerSkipped
from moderator.encoders.device import dtype_name, resolve_device

#: Minimum cosine between an embedding of a picture and the model's own in float32.
SAME = 0.99

INFINITY_LOADS = (Load(1, 32), Load(8, 4), Load(16, 3))
LITSERVE_LOADS = (Load(1, 8), Load(1, 32))

Embedding = NDArray[np.float32]


def infinity_settings(dtype: str) -> list[list[str]]:
    """Return the command-line options of infinity to try. On a CPU its float16 and bfloat16 change nothing."""
    float32 = [["--dtype", "float32", "--batch-size", "32", *more] for more in ([], ["--compile"])]
    int8 = [["--dtype", "int8", "--batch-size", size] for size in ("8", "32")]
    return float32 if dtype == "float32" else [*int8, *float32]


def litserve_settings(dtype: str) -> list[list[str]]:
    """Return the options of `litserve_server.py` to try."""
    if dtype == "auto":
        dtype = dtype_name(resolve_device("cpu", "auto")[1])
    tried = (
        ["--batch", "8", "--workers", "1"],
        ["--batch", "8", "--workers", "2"],
        ["--batch", "32", "--workers", "1"],
        ["--batch", "8", "--workers", "1", "--compile"],
    )
    return [["--dtype", dtype, *options] for options in tried]


def cosine(one: Embedding, other: Embedding) -> float:
    """Return the cosine of two embeddings of any length."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def best_server(
    api: Api,
    settings: Iterable[list[str]],
    loads: Iterable[Load],
    files: list[Path],
    exact: Embedding,
    folder: Path,
) -> tuple[list[str], Load]:
    """Return the options and the load with the most images per second in a short trial.

    Raises:
        PeerSkipped: the peer works in no setting.
    """
    found: list[tuple[float, list[str], Load]] = []
    reason = "no setting"
    for number, options in enumerate(settings):
        name = " ".join(options)
        try:
            server = Server(api, options, folder / f"{type(api).__name__}-{number}.log")
            try:
                likeness = cosine(server.embedding(files[0]), exact)
                if likeness <= SAME:
                    raise PeerSkipped(f"cosine {likeness:.5f} to float32")
                server.run(files, Load(1, 8))  # compiles, fills caches
                speeds = {load: server.run(files, load)[0] for load in loads}
            finally:
                server.process.stop()
        except PeerSkipped as error:
            reason = f"{name}: {error}"
            print(f"  {name}: does not count: {error}")
            continue
        print(f"  {name}: " + ", ".join(f"{load} {speed:.1f}/s" for load, speed in speeds.items()))
        found += [(speed, options, load) for load, speed in speeds.items()]
    if not found:
        raise PeerSkipped(reason)
    _, options, load = max(found, key=lambda one: one[0])
    return options, load
