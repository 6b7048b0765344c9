"""Mutated images through fetch, decode, embed and judge: each ends in a verdict or a typed error.

python -m tests.fuzz.images --images 200000 --seed 1

The n-th image of a seed is the same on every machine. Files that crash, hang, swell or raise anything else are written
to `--findings`; a fix keeps them there, and a test tries them all for ever.
"""

import argparse
import json
import random
import sys
import time
from functools import partial
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.pipeline import load_pipeline
from tests.fuzz.seeds import load_seeds
from tests.fuzz.supervisor import ERRORS, VERDICTS, Limits, Report, Supervisor

FINDINGS = Path(__file__).parent / "findings"
DECODE_TIMEOUT = 5.0
#: Seconds between two lines of progress.
EVERY = 15.0


def make_image(seed: int, number: int) -> bytes:
    """The n-th image of a seed."""
    return mutated(load_seeds(), random.Random(f"{seed}:{number}"))


def facts(report: Report, seconds: float) -> dict[str, float]:
    """The report in numbers."""
    return {
        "images": report.images,
        "verdicts": report.total(VERDICTS),
        "errors": report.total(ERRORS),
        "untyped": report.counts["untyped"],
        "crashes": report.counts["crash"],
        "hangs": report.counts["hang"],
        "over_memory": report.counts["memory"],
        "peak_mb": round(report.peak_mb),
        "slowest_ms": report.slowest_ms,
        "images_per_second": round(report.images / seconds, 1),
    }


def main() -> int:
    """Run the search; 1 where something was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000, help="how many mutated images")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other images")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--encoder", default="embedded", help="as MODERATOR_ENCODER")
    parser.add_argument("--max-pixels", type=int, default=4_000_000, help="as MODERATOR_MAX_PIXELS")
    parser.add_argument("--seconds", type=float, default=2 * DECODE_TIMEOUT, help="an image may take")
    parser.add_argument("--memory-mb", type=int, default=1200, help="a worker may hold, the model included")
    parser.add_argument(
        "--findings", type=Path, default=FINDINGS, help="folder for the files that broke something"
    )
    options = parser.parse_args()
    supervisor = Supervisor(
        partial(load_pipeline, options.encoder, options.max_pixels, DECODE_TIMEOUT),
        partial(make_image, options.seed),
        Limits(options.seconds, options.memory_mb),
        options.findings,
    )
    start = told = time.monotonic()
    report = Report()
    for report in supervisor.run(options.images, options.workers):
        now = time.monotonic()
        if now - told > EVERY:
            told = now
            figures = facts(report, now - start)
            print(
                f"{report.images:,} of {options.images:,}: "
                + ", ".join(f"{k} {v:g}" for k, v in figures.items()),
                flush=True,
            )
    for name, count in report.counts.most_common():
        print(f"{name:20} {count:9,}")
    if report.findings:
        print(f"broke something, see {options.findings}:", *report.findings, sep="\n  ")
    found = facts(report, time.monotonic() - start)
    print(json.dumps(found))
    return int(any(found[kind] for kind in ("untyped", "crashes", "hangs", "over_memory")))


if __name__ == "__main__":
    sys.exit(main())
