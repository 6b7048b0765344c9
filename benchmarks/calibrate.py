"""Choose a policy's midpoints at a stated false-positive rate on one half of the photographs, and report on the other.

    python benchmarks/calibrate.py --data FOLDER --policy marketplace@3 [--animals FOLDER] [--rate 0.005]
        [--rates smoking=0.01,...] [--page docs/quality.md]

FOLDER is as in `benchmarks/quality.py`. A category's midpoint is the score of the bare rule that becomes 0.5: here the
lowest one from which at most the stated share of the safe photographs is flagged. `--animals` names a second folder
with the column `live_animal`: the category live-animals takes its midpoint from there.

The photographs are split at random into halves five times (stratified by label). Each time the midpoints are chosen on
one half, and the other half says how many positives they find and how many safe photographs they flag. The proposed
midpoint is the median of the five. The last line is JSON; `--page` writes the tables as Markdown.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.quality import ANIMALS, FALSE_POSITIVES, Photograph, read_labels, recall_at
from benchmarks.setup import print_result
from moderator import Moderator, Settings
from moderator.policies.references import parse_reference

SPLITS = 5
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Set:
    """Judged photographs: their labels, and the log-odds of the bare rule's score in each category."""

    photographs: list[Photograph]
    odds: Mapping[str, Floats]

    def shows(self, category: str) -> Mask:
        return np.array([category in p.shows for p in self.photographs])

    @property
    def safe(self) -> Mask:
        return np.array([not p.shows for p in self.photographs])

    def halves(self, seed: int) -> Mask:
        """Return a random half, which holds half of the photographs of each label."""
        random = np.random.default_rng(seed)
        labels = np.array(["+".join(sorted(p.shows)) for p in self.photographs])
        chosen = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            members = random.permutation(np.flatnonzero(labels == label))
            chosen[members[: (len(members) + seed % 2) // 2]] = True
        return chosen


@dataclass(frozen=True)
class Outcome:
    """What midpoints chosen on one half do on the other, for one category."""

    midpoint: float
    found: float
    safe_flagged: float


def log_odds(score: Floats) -> Floats:
    score = np.clip(score, 1e-9, 1 - 1e-9)
    return np.log(score / (1 - score))


def expit(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def threshold_at(negatives: Floats, rate: float) -> float:
    """Return the lowest log-odds that flags at most this share: halfway between two neighbours in the order."""
    order = np.sort(negatives)[::-1]
    allowed = int(rate * len(order))
    return float((order[allowed - 1] + order[allowed]) / 2) if allowed else float(order[0] + 0.05)


def judge(moderator: Moderator, folder: Path, reference: str) -> Set:
    """Judge all photographs of a folder."""
    labelled = read_labels(folder, "all")
    verdicts = moderator.check([folder / p.path for p in labelled], policy=reference)
    judged = [(p, v) for p, v in zip(labelled, verdicts, strict=True) if v.error is None]
    name, version = parse_reference(reference)
    categories = moderator.engine.catalogue.get(name, version).categories
    odds = {
        category: log_odds(np.array([v.categories[category].score for _, v in judged]))
        + log_odds(np.array([spec.midpoint]))
        for category, spec in categories.items()
        if spec.has_prompts
    }
    return Set([p for p, _ in judged], odds)


def choose(judged: Set, chosen: Mask, category: str, rate: float) -> float:
    """Return the log-odds from which at most the stated share of the safe photographs of a half is flagged."""
    negatives = chosen & ~judged.shows(category) if category == ANIMALS else chosen & judged.safe
    return threshold_at(judged.odds[category][negatives], rate)


def assess(judged: Set, chosen: Mask, category: str, threshold: float) -> Outcome:
    """Report a threshold on the half that it was not chosen on."""
    odds, other = judged.odds[category], ~chosen
    positives = other & judged.shows(category)
    negatives = other & ~judged.shows(category) if category == ANIMALS else other & judged.safe
    found = float((odds[positives] >= threshold).mean()) if positives.any() else float("nan")
    return Outcome(expit(threshold), found, float((odds[negatives] >= threshold).mean()))


def separation(judged: Set, category: str) -> tuple[float, float]:
    """Return ROC-AUC, and recall at 5 % false positives among all that does not show the category."""
    truth, odds = judged.shows(category), judged.odds[category]
    if not truth.any():
        return float("nan"), float("nan")
    return float(roc_auc_score(truth, odds)), recall_at(odds[truth], odds[~truth], FALSE_POSITIVES)


def number(value: float, form: str) -> str:
    return "" if np.isnan(value) else format(value, form)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--animals", type=Path, help="folder with the column live_animal")
    parser.add_argument("--policy", default="marketplace", help="NAME or NAME@VERSION")
    parser.add_argument(
        "--rate", type=float, default=0.005, help="share of the safe photographs, per category"
    )
    parser.add_argument("--rates", default="", help="other shares: category=share,...")
    parser.add_argument("--page", type=Path, help="Markdown file that the tables are added to")
    arguments = parser.parse_args()
    rates = {name: float(share) for name, share in (p.split("=") for p in arguments.rates.split(",") if p)}

    moderator = Moderator(Settings())
    photographs = judge(moderator, arguments.data, arguments.policy)
    animals = judge(moderator, arguments.animals, arguments.policy) if arguments.animals else photographs
    lines = [
        "| category | safe photographs flagged, at most | midpoint (lowest, highest) | ROC-AUC | recall at 5 % | found "
        "(lowest) | safe flagged (highest) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    result: dict[str, object] = {"benchmark": "calibrate", "policy": arguments.policy}
    midpoints = {}
    flagged = [np.zeros(len(photographs.photographs), dtype=bool) for _ in range(SPLITS)]
    for category in photographs.odds:
        judged = animals if category == ANIMALS else photographs
        rate = rates.get(category, arguments.rate)
        outcomes = []
        for seed in range(SPLITS):
            chosen = judged.halves(seed)
            threshold = choose(judged, chosen, category, rate)
            outcomes.append(assess(judged, chosen, category, threshold))
            flagged[seed] |= photographs.odds[category] >= threshold
        middle = [outcome.midpoint for outcome in outcomes]
        midpoints[category] = float(f"{np.median(middle):.2g}")
        auc, recall = separation(judged, category)
        found = [outcome.found for outcome in outcomes]
        safe = [outcome.safe_flagged for outcome in outcomes]
        lines.append(
            f"| {category} | {rate:.1%} | {midpoints[category]:g} ({min(middle):.2g}, {max(middle):.2g}) | "
            f"{number(auc, '.3f')} | {number(recall, '.0%')} | {number(float(np.mean(found)), '.0%')}"
            f"{'' if np.isnan(auc) else f' ({min(found):.0%})'} | {np.mean(safe):.1%} ({max(safe):.1%}) |"
        )
    any_flagged = [
        float(mask[photographs.safe & ~photographs.halves(seed)].mean()) for seed, mask in enumerate(flagged)
    ]
    closing = (
        f"Any category: {np.mean(any_flagged):.1%} of the safe photographs of the other half are flagged, "
        f"{max(any_flagged):.1%} in the worst split."
    )
    print("\n".join([*lines, "", closing]))
    if arguments.page:
        text = arguments.page.read_text(encoding="utf-8") if arguments.page.exists() else ""
        arguments.page.write_text(
            "\n".join([text.rstrip(), "", f"## {arguments.policy}", "", *lines, "", closing, ""]),
            encoding="utf-8",
        )
    print_result({**result, "midpoints": midpoints, "safe_flagged": float(np.mean(any_flagged))})


if __name__ == "__main__":
    main()
