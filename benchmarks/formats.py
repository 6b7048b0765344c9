"""Measure whether pictures pass when a file hides them from a careless decoder, but not from people.

    python benchmarks/formats.py --data FOLDER [--policy marketplace] [--category weapons] [--only TRICK ...]

FOLDER holds `labels.csv` as `benchmarks/quality.py` reads it. Every trick of `format_tricks.py`, `animation_tricks.py`
and `damage_tricks.py` is made from every photograph of the category that is caught as it is, beside a safe one. A
trick counts where the picture that it shows, as a plain PNG, is caught; it fails where the file is still allowed.

Printed for each trick: how many count, and the decisions on them. The last line is JSON; `visible_but_allowed` is the
share of those that count and are allowed.
"""

import argparse
import io
import sys
from collections import Counter
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import animation_tricks, damage_tricks  # noqa: F401 (they register tricks)
from benchmarks.format_tricks import TRICKS, make_square
from benchmarks.quality import FLAGGED, read_labels
from benchmarks.setup import print_result
from moderator import Moderator, Settings, Verdict
from moderator.verdicts import Decision


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def is_caught(verdict: Verdict, category: str) -> bool:
    return category in verdict.categories and verdict.categories[category].decision in FLAGGED


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--policy", default="marketplace", help="NAME or NAME@VERSION")
    parser.add_argument("--category", default="weapons")
    parser.add_argument("--photographs", type=int, default=40, help="how many at most")
    parser.add_argument("--only", nargs="*", choices=sorted(TRICKS), help="default: all tricks")
    arguments = parser.parse_args()

    moderator = Moderator(Settings())
    labelled = read_labels(arguments.data, "all")
    unsafe = [arguments.data / one.path for one in labelled if arguments.category in one.shows]
    safe = [arguments.data / one.path for one in labelled if not one.shows]
    squares = [make_square(Image.open(path)) for path in unsafe[: 3 * arguments.photographs]]
    covers = [make_square(Image.open(path)) for path in safe[: 3 * len(squares)]]
    allowed = moderator.check(map(as_png, covers), arguments.policy)
    covers = [
        cover for cover, verdict in zip(covers, allowed, strict=True) if verdict.decision is Decision.ALLOW
    ]
    plain = moderator.check(map(as_png, squares), arguments.policy)
    caught = [
        one for one, verdict in zip(squares, plain, strict=True) if is_caught(verdict, arguments.category)
    ]
    caught = caught[: arguments.photographs]
    if not caught or not covers:
        sys.exit(f"no photograph of {arguments.category} is caught as it is, or no safe one is allowed")
    print(
        f"{len(caught)} photographs of {arguments.category}, caught as they are, and {len(covers)} safe ones"
    )

    shares: dict[str, float] = {}
    decisions: dict[str, Counter[str]] = {}
    for name in arguments.only or TRICKS:
        made = [TRICKS[name](one, covers[number % len(covers)]) for number, one in enumerate(caught)]
        shown = moderator.check((as_png(visible) for _, visible in made), arguments.policy)
        files = [
            file for (file, _), seen in zip(made, shown, strict=True) if is_caught(seen, arguments.category)
        ]
        verdicts = moderator.check(files, arguments.policy)
        decisions[name] = Counter(str(verdict.decision) for verdict in verdicts)
        shares[name] = decisions[name]["allow"] / len(files) if files else 0.0
        counts = ", ".join(f"{count} {decision}" for decision, count in decisions[name].most_common())
        print(f"  {name:28} {len(files):4} visible: {counts}", flush=True)
    print_result(
        {
            "benchmark": "formats",
            "policy": arguments.policy,
            "category": arguments.category,
            "photographs": len(caught),
            "visible": {name: counts.total() for name, counts in decisions.items()},
            "errors": {name: counts["error"] for name, counts in decisions.items()},
            "visible_but_allowed": shares,
            "worst": max(shares.values()),
        }
    )


if __name__ == "__main__":
    main()
