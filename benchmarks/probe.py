"""Measure how well a linear probe separates labelled photographs, cross-validated, and zero-shot on the same folds.

    python benchmarks/probe.py --data FOLDER [--policy marketplace] [--folds 5]

FOLDER holds `labels.csv` with the columns `path` and `category` ("safe" or a category) and the photographs. The macro
figures are means over the categories except "safe"; each figure is one category against the rest, a mean over the
folds. The last line is JSON.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.setup import print_result
from moderator.embeddings.embedder import Embedder
from moderator.embeddings.labelled import read_labelled
from moderator.embeddings.policy_scores import score_by_policy
from moderator.embeddings.probe_training import cross_validate
from moderator.settings import Settings

SAFE = "safe"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--policy", default="marketplace", help="NAME or NAME@VERSION, for zero-shot")
    parser.add_argument("--encoder", help="default: MODERATOR_ENCODER")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    arguments = parser.parse_args()
    embedder = Embedder(Settings(**({"encoder": arguments.encoder} if arguments.encoder else {})))
    labelled = read_labelled(arguments.data)
    found = list(embedder.embed_each([one.path for one in labelled]))
    kept = [
        (one.label, item.embedding) for one, item in zip(labelled, found, strict=True) if item.error is None
    ]
    labels = [label for label, _ in kept]
    embeddings = np.stack([row for _, row in kept])
    zero_shot = score_by_policy(embedder, embeddings, arguments.policy)
    figures, plain = cross_validate(
        embeddings, labels, embedder.encoder.identity, zero_shot, arguments.folds, arguments.seed
    )
    categories = [label for label in figures.auc if label != SAFE]
    print(
        f"{len(labels)} of {len(labelled)} photographs, {embedder.encoder.identity.id}, {arguments.folds} folds"
    )
    print(f"{'category':16} {'probe':>8} {arguments.policy:>16}")
    for category in categories:
        shown = f"{plain[category]:16.4f}" if category in plain else f"{'-':>16}"
        print(f"{category:16} {figures.auc[category]:8.4f} {shown}")
    mapped = [category for category in categories if category in plain]
    result = {
        "benchmark": "probe",
        "encoder": embedder.encoder.identity.id,
        "revision": embedder.encoder.identity.revision,
        "dtype": embedder.encoder.dtype,
        "images": len(labels),
        "folds": arguments.folds,
        "accuracy": figures.accuracy,
        "macro_auc": figures.macro_auc(categories),
        "zero_shot_policy": arguments.policy,
        "zero_shot_macro_auc": float(np.mean([plain[category] for category in mapped])) if mapped else None,
    }
    for category in categories:
        result[f"{category}_auc"] = figures.auc[category]
        if category in plain:
            result[f"zero_shot_{category}_auc"] = plain[category]
    print_result(result)


if __name__ == "__main__":
    main()
