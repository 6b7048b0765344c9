"""Measure how well a policy separates photographs, and what its shipped thresholds decide.

    python benchmarks/quality.py --data FOLDER [--policy marketplace] [--half b]

FOLDER holds `labels.csv` with the columns `path` and `category` ("safe" or a category of the policy) and
optionally `live_animal` (0 or 1), and the photographs that it names. For a category the negatives are all
photographs that do not show it. `--half` takes one stable half of the photographs: choose prompts and
thresholds on half a, report on half b.

Printed for each category: ROC-AUC; recall at the threshold that flags at most 5 % of the negatives; how many
positives and negatives the shipped thresholds block or send to review; and the worst mistakes. The last line is
JSON. `safe_flagged` is the share of the safe photographs that any category blocks or sends to review; a photograph
labelled as a live animal is not safe for a policy with live animals. `safe_flagged_labelled` counts the categories
that the labels name alone: nobody has said whether a photograph shows one of the others.
"""

import argparse
import csv
import sys
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.setup import print_result
from moderator import Decision, Moderator, Settings, Verdict

ANIMALS = "live-animals"
#: Maximum share of negatives that may be flagged when recall is measured.
FALSE_POSITIVES = 0.05
FLAGGED = (Decision.REVIEW, Decision.BLOCK)


@dataclass(frozen=True)
class Photograph:
    """A labelled photograph, with the policy categories that it shows according to its labels."""

    path: str
    shows: frozenset[str]


def read_labels(folder: Path, half: str) -> list[Photograph]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    photographs = []
    for row in rows:
        shows = {row["category"]} - {"safe"} | ({ANIMALS} if row.get("live_animal") == "1" else set())
        if half in ("all", half_of(row["path"])):
            photographs.append(Photograph(row["path"], frozenset(shows)))
    return photographs


def half_of(path: str) -> str:
    """Return the half of a photograph, which depends only on its path in the labels."""
    return "ab"[sha256(path.encode()).digest()[0] & 1]


def recall_at(positives: NDArray[np.float64], negatives: NDArray[np.float64], share: float) -> float:
    """Return the share of the positives above the threshold that at most `share` of the negatives exceed."""
    threshold = np.sort(negatives)[::-1][int(share * len(negatives))]
    return float((positives > threshold).mean())


def explain(photograph: Photograph, verdict: Verdict, category: str) -> str:
    result = verdict.categories[category]
    prompts = ", ".join(f"{top.prompt} {top.similarity:.2f}" for top in result.top_prompts[:3])
    return f"    {result.score:.3f}  {result.decision:6}  {photograph.path}  ({prompts})"


def judge_category(
    category: str, photographs: list[Photograph], verdicts: list[Verdict], worst: int
) -> dict[str, float]:
    """Print a category's table and mistakes, and return its figures."""
    truth = np.array([category in photograph.shows for photograph in photographs])
    scores = np.array([verdict.categories[category].score for verdict in verdicts])
    decisions = [verdict.categories[category].decision for verdict in verdicts]
    auc = float(roc_auc_score(truth, scores))
    recall = recall_at(scores[truth], scores[~truth], FALSE_POSITIVES)
    print(f"\n{category}: ROC-AUC {auc:.4f}, recall {recall:.3f} at {FALSE_POSITIVES:.0%} false positives")
    flagged = {}
    for name, member in (("positives", truth), ("negatives", ~truth)):
        counts = Counter(d for d, is_member in zip(decisions, member, strict=True) if is_member)
        flagged[name] = sum(counts[d] for d in FLAGGED) / int(member.sum())
        table = ", ".join(f"{counts[d]} {d}" for d in (Decision.BLOCK, Decision.REVIEW, Decision.ALLOW))
        print(f"  {int(member.sum()):4} {name}: {table} ({flagged[name]:.1%} flagged)")
    order = np.argsort(scores)
    missed = [i for i in order if truth[i] and decisions[i] not in FLAGGED][:worst]
    alarms = [i for i in order[::-1] if not truth[i] and decisions[i] in FLAGGED][:worst]
    for title, indices in (("missed", missed), ("false alarms", alarms)):
        if indices:
            print(f"  {title}, the worst first:")
            print("\n".join(explain(photographs[i], verdicts[i], category) for i in indices))
    return {
        "auc": auc,
        "recall_at_5fpr": recall,
        "positives": int(truth.sum()),
        "positives_flagged": flagged["positives"],
        "negatives_flagged": flagged["negatives"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--policy", default="marketplace", help="NAME or NAME@VERSION")
    parser.add_argument("--encoder", help="default: MODERATOR_ENCODER")
    parser.add_argument("--half", choices=("a", "b", "all"), default="all")
    parser.add_argument("--worst", type=int, default=5, help="mistakes shown of each kind")
    arguments = parser.parse_args()

    settings = Settings(**({"encoder": arguments.encoder} if arguments.encoder else {}))
    moderator = Moderator(settings)
    labelled = read_labels(arguments.data, arguments.half)
    start = time.perf_counter()
    answers = moderator.check([arguments.data / one.path for one in labelled], policy=arguments.policy)
    seconds = time.perf_counter() - start

    for one, verdict in zip(labelled, answers, strict=True):
        if verdict.error is not None:
            print(f"not judged: {one.path}: {verdict.error.type}: {verdict.error.message}")
    judged = [(p, v) for p, v in zip(labelled, answers, strict=True) if v.error is None]
    if not judged:
        sys.exit(f"no photograph of {arguments.data} could be judged")
    photographs, verdicts = [p for p, _ in judged], [v for _, v in judged]
    policy, model = verdicts[0].policy, verdicts[0].model
    assert policy is not None
    assert model is not None
    print(
        f"{policy.name}@{policy.version}, {model.id} in {model.dtype} on {model.device}, half {arguments.half}"
    )
    print(f"{len(judged)} of {len(labelled)} photographs judged, {len(labelled) / seconds:.0f} images/s")

    names = list(verdicts[0].categories)
    shown = [name for name in names if any(name in p.shows for p in photographs)]
    if not shown:
        sys.exit(f"no photograph shows a category of {policy.name}@{policy.version}: {', '.join(names)}")
    categories = {name: judge_category(name, photographs, verdicts, arguments.worst) for name in shown}

    safe = [v for p, v in judged if not p.shows & set(names) and p.shows <= {ANIMALS}]
    flagged = [v for v in safe if v.decision in FLAGGED]
    by_category = Counter(n for v in flagged for n, c in v.categories.items() if c.decision in FLAGGED)
    safe_flagged = len(flagged) / len(safe) if safe else 0.0
    by_labelled = sum(any(v.categories[name].decision in FLAGGED for name in shown) for v in flagged)
    macro_auc = float(np.mean([c["auc"] for c in categories.values()]))
    macro_recall = float(np.mean([c["recall_at_5fpr"] for c in categories.values()]))
    print(
        f"\nmacro: ROC-AUC {macro_auc:.4f}, recall {macro_recall:.3f} at {FALSE_POSITIVES:.0%} false positives"
    )
    reasons = ", ".join(f"{name} {count}" for name, count in by_category.most_common())
    print(
        f"safe photographs flagged: {len(flagged)} of {len(safe)} ({safe_flagged:.1%}){reasons and ': ' + reasons}"
    )
    print_result(
        {
            "benchmark": "quality",
            "policy": f"{policy.name}@{policy.version}",
            "policy_digest": policy.digest,
            "encoder": model.id,
            "revision": model.revision,
            "dtype": model.dtype,
            "half": arguments.half,
            "images": len(judged),
            "errors": len(labelled) - len(judged),
            "macro_auc": macro_auc,
            "macro_recall_at_5fpr": macro_recall,
            "min_auc": min(c["auc"] for c in categories.values()),
            "safe_flagged": safe_flagged,
            "safe_flagged_labelled": by_labelled / len(safe) if safe else 0.0,
            "categories": categories,
        }
    )


if __name__ == "__main__":
    main()
