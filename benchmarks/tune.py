"""Measure what `moderator policy tune` gains, and whether its own estimate of that is honest.

    python benchmarks/tune.py --data FOLDER [--policy marketplace] [--seeds 5]

FOLDER holds `labels.csv` and the photographs that it names; see `moderator policy evaluate`. Each repeat splits them
at random, chooses on one split and reports on the other, which nothing has looked at: the policy as it is, with prompts
and thresholds tuned, and with a probe as well. The figure is recall where 5 % of the photographs that do not show a
category are flagged, mean over the categories with labels.

`optimism` is the tuning's own estimate, from cross-fitting on the choosing split, minus the figure on the other split;
`within_interval` the share of the repeats whose estimate has that figure in its bootstrap interval. The last line is
JSON.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.setup import print_result
from moderator.policies.references import parse_reference
from moderator.settings import load_settings
from moderator.tuning.labelled_images import load_labelled, open_engine
from moderator.tuning.threshold_choice import parse_target
from moderator.tuning.tuning_bench import TuningBench
from moderator.tuning.tuning_fit import TuningOptions
from moderator.tuning.tuning_run import CHOOSING_SHARE, tune_policy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv")
    parser.add_argument("--policy", default="marketplace", help="NAME or NAME@VERSION")
    parser.add_argument("--target", default="fpr<=1%")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--share", type=float, default=CHOOSING_SHARE, help="of the photographs, for choosing"
    )
    arguments = parser.parse_args()
    target = parse_target(arguments.target)
    name, version = parse_reference(arguments.policy)
    settings = load_settings()
    with open_engine(settings) as engine:
        catalogue = engine.catalogue
        policy = catalogue.get(name, version) if version is not None else catalogue.select(name, "").decides
        text = (settings.policies / name / f"{policy.version}.yaml").read_text("utf-8")
        start = time.perf_counter()
        images = load_labelled(arguments.data, engine, [policy], variants=True)
        print(f"{policy.reference}: {len(images)} photographs in {time.perf_counter() - start:.0f} s")
        bench = TuningBench(policy, engine.compiler, images)
        print("seed way       before   after estimate      (interval)    tried     s")
        rows: dict[str, list[tuple[float, float, float, bool]]] = {"prompts": [], "probe": []}
        for seed in range(arguments.seeds):
            for way, found in rows.items():
                start = time.perf_counter()
                options = TuningOptions(prompts=True, probe=way == "probe", seed=seed)
                result = tune_policy(text, bench, target, options, choosing_share=arguments.share)
                before, after, own = (
                    one.value or 0.0 for one in (result.before, result.after, result.estimated)
                )
                interval = f"({result.estimated.low:.3f}, {result.estimated.high:.3f})"
                print(
                    f"{seed:4} {way:8} {before:7.3f} {after:7.3f} {own:8.3f} {interval:>15} {result.tried:8,} "
                    f"{time.perf_counter() - start:5.0f}",
                    flush=True,
                )
                found.append((before, after, own, result.estimated.holds(after)))
    prompts, probe = (np.array(found, dtype=float) for found in rows.values())
    both = np.concatenate([prompts, probe])
    print_result(
        {
            "benchmark": "tune",
            "policy": policy.reference,
            "encoder": images.identity.id,
            "images": len(images),
            "repeats": arguments.seeds,
            "macro_recall_at_5fpr_before": float(prompts[:, 0].mean()),
            "macro_recall_at_5fpr_after": float(prompts[:, 1].mean()),
            "macro_recall_at_5fpr_probe": float(probe[:, 1].mean()),
            "optimism": float((both[:, 2] - both[:, 1]).mean()),
            "optimism_prompts": float((prompts[:, 2] - prompts[:, 1]).mean()),
            "optimism_probe": float((probe[:, 2] - probe[:, 1]).mean()),
            "within_interval": float(both[:, 3].mean()),
        }
    )


if __name__ == "__main__":
    main()
