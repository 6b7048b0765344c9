"""Measure whether a photograph that is caught plain is caught in other layouts, and what the views cost.

    python benchmarks/evasion.py --data FOLDER [--policy marketplace] [--half b] [--limit N]
        [--layouts strip-upright,...]

FOLDER is as for `benchmarks/quality.py`. Each photograph of weapons, alcohol or smoking that the policy catches (blocks
or sends to review) is shown in each layout of `benchmarks/layouts.py`, at random places and sizes, with safe
photographs beside it. Turned photographs are judged by the same policy with `views: {turned: true}`.

The last line is JSON: `caught.LAYOUT`, the share of what is caught plain; `safe_flagged_plain` and
`safe_flagged_composed`, the shares of safe photographs, plain and in the composed layouts, that are flagged;
`safe_flagged_by_composing`, the same share of the composed pictures that show no photograph which is flagged plain;
`views_mean`, the views of a plain photograph of the folder; `cost_ratio`, images per second of ordinary photographs
with views over those without. A run of some layouts makes the same pictures as a run of all, and measures no cost.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.layouts import ALTERED, ANIMATED, COMPOSED, Layout, Maker, encode, encode_animation, sized
from benchmarks.quality import FLAGGED, Photograph, read_labels
from benchmarks.setup import make_photographs, print_result
from moderator import Moderator, Settings, Verdict

CATEGORIES = ("weapons", "alcohol", "smoking")
#: Version of the copy of the policy that looks at turned pictures: a draft.
TURNED_VERSION = 999_999
#: Ordinary photographs and rounds for the cost.
COST_IMAGES, COST_ROUNDS = 48, 7
LAYOUTS = (*COMPOSED, ANIMATED, *ALTERED)


def with_turned(moderator: Moderator, policies: Path, reference: str) -> str:
    """Write a copy of the policy that looks at turned pictures, and return its reference."""
    policy = moderator.engine.resolver.select(reference, "").decides
    content = yaml.safe_load((policies / policy.name / f"{policy.version}.yaml").read_text("utf-8"))
    content |= {"version": TURNED_VERSION, "views": {"turned": True}}
    (policies / policy.name / f"{TURNED_VERSION}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    moderator.engine.catalogue.refresh()
    return f"{policy.name}@{TURNED_VERSION}"


def opened(folder: Path, photographs: list[Photograph]) -> list[Image.Image]:
    return [Image.open(folder / one.path).convert("RGB") for one in photographs]


def made(
    layout: Layout | None, photographs: list[Image.Image], maker: Maker, beside: list[frozenset[int]]
) -> Iterator[bytes]:
    """Yield the file of each photograph in a layout; None: in a frame of an animation.

    Args:
        layout: how it is shown.
        photographs: the photographs.
        maker: makes the layouts.
        beside: for each file, the numbers of the others in it are added here.
    """
    for photograph in photographs:
        maker.used.clear()
        shown = sized(photograph, maker.random)
        file = (
            encode_animation(maker, shown) if layout is None else encode(layout(maker, shown), maker.random)
        )
        beside.append(frozenset(maker.used))
        yield file


def caught(verdicts: list[Verdict], categories: list[str]) -> list[bool]:
    """Return whether each picture is flagged in its category."""
    return [
        verdict.error is None and verdict.categories[category].decision in FLAGGED
        for verdict, category in zip(verdicts, categories, strict=True)
    ]


def share_flagged(verdicts: list[Verdict]) -> float | None:
    return float(np.mean([verdict.decision in FLAGGED for verdict in verdicts])) if verdicts else None


def views_of(verdicts: list[Verdict]) -> float | None:
    views = [verdict.image.views for verdict in verdicts if verdict.image is not None]
    return float(np.mean(views)) if views else None


def measure_cost(moderator: Moderator, settings: Settings, policy: str) -> float:
    """Return images/s of ordinary photographs with views over images/s without: the median of interleaved rounds."""
    alone = Moderator(settings.model_copy(update={"views": 1}), encoder=moderator.engine.encoder)
    with TemporaryDirectory(prefix="moderator-evasion-") as name:
        files = make_photographs(Path(name), COST_IMAGES)
        ratios = []
        for number in range(COST_ROUNDS + 1):
            seconds = {}
            for judge in (moderator, alone) if number % 2 else (alone, moderator):
                start = time.perf_counter()
                judge.check(files, policy=policy)
                seconds[judge] = time.perf_counter() - start
            if number:  # the first round warms up
                ratios.append(seconds[alone] / seconds[moderator])
    return median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--policy", default="marketplace", help="NAME or NAME@VERSION")
    parser.add_argument("--half", choices=("a", "b", "all"), default="all")
    parser.add_argument(
        "--limit", type=int, default=0, help="most photographs of a category and safe ones; 0: all"
    )
    parser.add_argument("--layouts", default="", help="names, with commas; default: all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="moderator-policies-") as name:
        run(arguments, Path(name) / "policies")


def run(arguments: argparse.Namespace, policies: Path) -> None:
    """Measure and print, with a copy of the policies in a folder."""
    shutil.copytree(Settings().policies, policies)
    settings = Settings(policies=policies)
    moderator = Moderator(settings)
    policy = arguments.policy
    turned = with_turned(moderator, policies, policy)

    labelled = read_labels(arguments.data, arguments.half)
    limit = arguments.limit or len(labelled)
    safe_ones = [one for one in labelled if not one.shows][:limit]
    positives = [
        (one, category)
        for category in CATEGORIES
        for one in [one for one in labelled if category in one.shows][:limit]
    ]
    photographs, categories = opened(arguments.data, [one for one, _ in positives]), [c for _, c in positives]
    safe = opened(arguments.data, safe_ones)

    files = (
        [arguments.data / one.path for one, _ in positives],
        [arguments.data / one.path for one in safe_ones],
    )
    plain, plain_safe = (moderator.check(some, policy=policy) for some in files)
    known = caught(plain, categories)
    photographs = [one for one, is_known in zip(photographs, known, strict=True) if is_known]
    categories = [one for one, is_known in zip(categories, known, strict=True) if is_known]
    print(f"{len(photographs)} of {len(known)} photographs are caught plain, {len(safe)} are safe")
    if not photographs or not safe:
        sys.exit("no photograph of the folder is caught, or none is safe")

    result: dict[str, object] = {}
    flagged: list[Verdict] = []
    flagged_plain = {number for number, verdict in enumerate(plain_safe) if verdict.decision in FLAGGED}
    by_composing: list[Verdict] = []
    print(f"{'layout':16} {'caught':>8} {'views':>6} {'safe flagged':>13} {'views':>6}")
    chosen = set(arguments.layouts.split(",") if arguments.layouts else LAYOUTS)
    for number, layout in enumerate(LAYOUTS):
        if layout not in chosen:
            continue
        judge = turned if layout.startswith("turned") else policy
        maker = Maker(np.random.default_rng([arguments.seed, number]), safe)
        make = COMPOSED.get(layout) or ALTERED.get(layout)
        answers = moderator.check(made(make, photographs, maker, []), policy=judge)
        by_category = caught(answers, categories)
        result[f"caught.{layout}"] = share = float(np.mean(by_category))
        row = f"{layout:16} {share:8.2f} {views_of(answers):6.1f}"
        if layout in ALTERED:
            print(row)
            continue
        beside: list[frozenset[int]] = []
        answers = moderator.check(made(make, safe, maker, beside), policy=policy)
        flagged += answers
        by_composing += [
            verdict
            for own, (verdict, others) in enumerate(zip(answers, beside, strict=True))
            if flagged_plain.isdisjoint({own, *others})
        ]
        print(f"{row} {share_flagged(answers):13.3f} {views_of(answers):6.1f}")

    facts = plain[0].policy
    assert facts is not None
    print_result(
        {
            "benchmark": "evasion",
            "policy": f"{facts.name}@{facts.version}",
            "policy_digest": facts.digest,
            "half": arguments.half,
            "photographs": len(photographs),
            "caught_plain": float(np.mean(known)),
            **result,
            "safe_flagged_plain": share_flagged(plain_safe),
            "safe_composed": len(flagged),
            "safe_flagged_composed": share_flagged(flagged),
            "safe_by_composing": len(by_composing),
            "safe_flagged_by_composing": share_flagged(by_composing),
            "views_mean": views_of([*plain, *plain_safe]),
            "views_mean_composed": views_of(flagged),
            "cost_ratio": None if arguments.layouts else measure_cost(moderator, settings, policy),
        }
    )


if __name__ == "__main__":
    main()
