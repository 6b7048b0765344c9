"""Runtimes and precisions of the image tower: speed, nearness to float32, and equal decisions.

For a randomly initialised ViT-B/32 and for the embedded encoder, each runtime in each precision, in interleaved rounds.

    python benchmarks/runtimes.py [--photographs 1000] [--data FOLDER] [--rounds 5]

The photographs are those of the demo, cropped and mirrored, and the images in FOLDER. With random weights almost all
embeddings are alike and their decisions too: the cosine after the mean is taken off says more than the agreement.
The last line is JSON, about ViT-B/32.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the worker has it, and before torch is loaded

import torch

from benchmarks.setup import POLICIES, cpu_flags, make_clip, make_photographs, print_result
from moderator.encoders.runtimes.compare import BATCHES, Row, compare_runtimes

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def show(title: str, rows: list[Row]) -> dict[str, object]:
    """Print a table; returns its summary."""
    print(f"\n{title}; float32 decided {rows[0].decisions}")
    speeds = "".join(f"{f'b{size}':>8}" for size in BATCHES)
    print(f"  {'images/s':18}{speeds}   x fp32  lowest cosine  centred  equal decisions")
    base = max(rows[0].speeds.values())
    for row in rows:
        figures = "".join(f"{speed:8.1f}" for speed in row.speeds.values())
        print(
            f"  {row.runtime + ' ' + row.precision:18}{figures}{max(row.speeds.values()) / base:9.2f}"
            f"{row.cosine:15.5f}{row.centred_cosine:9.4f}{100 * row.equal_decisions:15.2f} %"
        )
    best = max(rows, key=lambda row: max(row.speeds.values()))
    return {
        "best_runtime": f"{best.runtime} {best.precision}",
        "best_runtime_over_torch_fp32": round(max(best.speeds.values()) / base, 2),
        "equal_decisions": round(best.equal_decisions, 5),
        "lowest_cosine": round(best.cosine, 5),
        "lowest_centred_cosine": round(best.centred_cosine, 4),
        "decisions": best.decisions,
    }


def main() -> None:
    """Measure both encoders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=int, default=1000, help="how many in all")
    parser.add_argument("--data", type=Path, help="folder of further photographs, searched in depth")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU: {cpu_flags()}")
    with TemporaryDirectory() as clip, TemporaryDirectory() as folder, TemporaryDirectory() as cache:
        found = sorted(options.data.rglob("*")) if options.data else []
        files = [path for path in found if path.suffix.lower() in SUFFIXES][: options.photographs // 2]
        files += make_photographs(Path(folder), options.photographs - len(files), size=512)
        results = {}
        for title, model in (("ViT-B/32", f"clip:{make_clip(Path(clip))}"), ("embedded", "embedded")):
            rows = compare_runtimes(model, files, policies=POLICIES, rounds=options.rounds, cache=Path(cache))
            results[title] = show(f"{title}, {len(files)} photographs", rows)
    print_result({**results["ViT-B/32"], "embedded": results["embedded"]})


if __name__ == "__main__":
    main()
