"""Compare the service of this checkout with that of another commit, on the same machine, in turn.

Two services run side by side, each with its own server and worker; while one is measured, the other is idle. Both
restart in each round, and take turns within it.

  bulk     images per second of bulk events of 32 images each
  single   images per second with one event per image
  idle     milliseconds from submission to verdict on an idle service, median
  loaded   the same at 60 % of the rate of `single`, median and 99 %, with events at random times

    python benchmarks/compare.py --against HEAD~1 [--encoder embedded] [--dtype auto] [--images 128]
                                 [--rounds 7] [--turns 3]

With `--encoder vit-b-32` the model is a ViT-B/32 with random weights; its fastest precision on a CPU is `--dtype int8`.
The last line is JSON. A ratio is the geometric mean of the rounds' ratios of this checkout to the other; above 1, this
checkout does more images per second, or is quicker. Its error is the standard error over the rounds: a difference of
less than two of them may be noise, with three rounds one of less than four.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean, harmonic_mean, median, stdev
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np

ROOT = Path(__file__).parent.parent
INSIDE = Path(__file__).parent / "compare_inside.py"
#: What is measured in each turn, in this order.
MEASUREMENTS = ("bulk", "single", "idle", "loaded")
#: Figures where higher is better; for the others, lower is.
RATES = ("bulk", "single")
#: Figure -> the measurement that it is of, and how it follows from all values of a round.
FIGURES: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "bulk": ("bulk", harmonic_mean),
    "single": ("single", harmonic_mean),
    "idle": ("idle", median),
    "loaded_p50": ("loaded", median),
    "loaded_p99": ("loaded", lambda times: float(np.quantile(times, 0.99))),
}


class Side:
    """One of the two services, driven by a process that runs the code of its own tree."""

    def __init__(self, tree: Path, folder: Path, arguments: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(INSIDE), str(folder), *arguments],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *words: object) -> list[float]:
        """Request a measurement, and return images per second, or the milliseconds of each event."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a service ended; its error stands above")
        values: list[float] = json.loads(answer)
        return values

    def __enter__(self) -> "Side":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(120)


@contextmanager
def tree_of(revision: str) -> Iterator[Path]:
    """Yield a temporary folder with the files of a revision."""
    with TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", tree, revision], cwd=ROOT, check=True
        )
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def compare(
    trees: dict[str, Path], arguments: list[str], rounds: int, turns: int
) -> dict[str, dict[str, list[float]]]:
    """Measure both sides in turn, alternating which goes first; return side -> figure -> a value for each round.

    Both restart in each round: for its whole life, a process may be a tenth slower than another with the same code,
    because of where its memory happens to be.
    """
    figures: dict[str, dict[str, list[float]]] = {name: {key: [] for key in FIGURES} for name in trees}
    rate = 0.0
    for number in range(rounds):
        order = list(trees) if number % 2 == 0 else list(reversed(trees))
        values: dict[str, dict[str, list[float]]] = {
            name: {what: [] for what in MEASUREMENTS} for name in trees
        }
        with ExitStack() as stack:
            sides = {}
            for name in order:
                folder = Path(stack.enter_context(TemporaryDirectory()))
                sides[name] = stack.enter_context(Side(trees[name], folder, arguments))
                sides[name].ask("bulk")
                sides[name].ask("single")
            for _ in range(turns):
                for what in MEASUREMENTS:
                    if what == "loaded" and not rate:
                        # The same load for both, or the quicker one would get more.
                        rate = 0.6 * min(of_side["single"][0] for of_side in values.values())
                    for name in order:
                        values[name][what] += sides[name].ask(what, rate)
                order.reverse()
        for name, of_side in values.items():
            for key, (what, summarise) in FIGURES.items():
                figures[name][key].append(summarise(of_side[what]))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return figures


def main() -> None:
    """Compare both sides and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", required=True, metavar="REVISION", help="the other commit")
    parser.add_argument("--encoder", default="embedded", help="as MODERATOR_ENCODER, or vit-b-32")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--images", type=int, default=128, help="images in one measurement")
    parser.add_argument("--rounds", type=int, default=7, help="restarts of both services")
    parser.add_argument("--turns", type=int, default=3, help="measurements of each kind in a round")
    options = parser.parse_args()
    arguments = [options.encoder, options.dtype, str(options.images)]
    if options.rounds < 2:
        parser.error("--rounds: two at least, or a ratio would have no error")
    with tree_of(options.against) as other:
        trees = {"this": ROOT, "other": other}
        figures = compare(trees, arguments, options.rounds, options.turns)
    ratios = {}
    print(f"{'':12}{'this':>10}{options.against[:10]:>12}{'ratio':>8}{'error':>8}")
    for key, ours in figures["this"].items():
        theirs = figures["other"][key]
        sign = 1 if key in RATES else -1
        logs = [sign * math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
        ratio = math.exp(fmean(logs))
        error = ratio * stdev(logs) / math.sqrt(len(logs))
        ratios |= {key: round(ratio, 3), f"{key}_error": round(error, 3)}
        print(f"{key:12}{median(ours):10.1f}{median(theirs):12.1f}{ratio:8.3f}{error:8.3f}")
    print(json.dumps({"against": options.against, "encoder": options.encoder, **ratios}))


if __name__ == "__main__":
    main()
