"""Measure the cost of more categories: check an image against a policy of 1, 10, 100 and 1,000 of them, in turn.

Each category has its own unsafe prompt and shares 13 safe ones: the largest policy has 1,013 prompts and 14,000 pairs
to score. Measured from file to verdict as JSON, as in a worker, over 1024-px JPEG files, with the embedded encoder,
whose forward pass is quick enough for the cost of scoring to show.

    python benchmarks/policies.py [--images 64] [--rounds 9]

The last line is JSON; ratios are medians over the rounds.
"""

import argparse
import sys
import time
from itertools import islice, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))
from workers.torch_environment import set_torch_environment

# As in the worker, and before torch is loaded.
set_torch_environment()

import torch
import yaml

from benchmarks.setup import cpu_flags, make_photographs, print_result
from moderator import Moderator, Settings
from moderator.policies.store import PolicyStore

COUNTS = (1, 10, 100, 1000)
LOOKS = ("red", "old", "broken", "wet", "tiny", "huge", "wooden", "shiny", "burning", "plastic")
THINGS = """
gun knife bottle snake cage needle mask bomb rope coin car boat ticket phone watch bag shoe hat lamp chair
table book camera clock drum flute guitar piano bed sofa door window fence bridge tower statue fountain tree
flower leaf apple bread cheese fish bird cat dog horse cow sheep pig goat fox wolf bear lion tiger whale shark
crab spider ant bee fly worm snail frog turtle lizard crow owl eagle duck goose swan pen key cup plate fork
spoon pan pot kettle oven fridge fan heater saw axe drill nail screw brush broom bucket ladder tent kayak kite
""".split()  # noqa: SIM905
SAFE = [f"a photo of a {thing} in a shop" for thing in THINGS[:13]]


def write_policies(folder: Path) -> None:
    """Write a policy for each of `COUNTS`, released and active."""
    store = PolicyStore(folder, check=lambda policy: None)
    for count in COUNTS:
        unsafe = [f"a {look} {thing}" for look, thing in islice(product(LOOKS, THINGS), count)]
        categories = {
            f"category-{number}": {"unsafe": [prompt], "review": 0.5, "block": 0.9}
            for number, prompt in enumerate(unsafe)
        }
        name = f"of-{count}"
        (folder / name).mkdir(parents=True)
        policy = {"name": name, "version": 1, "safe": SAFE, "categories": categories}
        (folder / name / "1.yaml").write_text(yaml.safe_dump(policy))
        store.release(name, 1)
        store.activate(name, 1)


def run(moderator: Moderator, files: list[Path], policy: str) -> float:
    """Return milliseconds per image."""
    start = time.perf_counter()
    for verdict in moderator.check_each(files, policy):
        assert verdict.error is None, verdict.error
        verdict.model_dump_json()
    return 1000 * (time.perf_counter() - start) / len(files)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64, help="images in one round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU: {cpu_flags()}")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_policies(folder / "policies")
        files = make_photographs(folder, options.images)
        moderator = Moderator(
            Settings(policies=folder / "policies", default_policy="of-1", cache=folder / "cache")
        )
        costs: dict[int, list[float]] = {count: [] for count in COUNTS}
        for number in range(options.rounds + 1):
            for count, values in costs.items():
                cost = run(moderator, files, f"of-{count}")
                if number:  # the first round compiles
                    values.append(cost)
    print(f"\n{moderator.engine.encoder.identity.id}, {moderator.engine.encoder.dtype}")
    print(f"  {'categories':>10} {'ms/image':>9} {'min':>7} {'max':>7} {'over 1':>7}")
    ratios = {}
    for count, values in costs.items():
        ratios[count] = median(a / b for a, b in zip(values, costs[1], strict=True))
        print(
            f"  {count:10} {median(values):9.2f} {min(values):7.2f} {max(values):7.2f} {ratios[count]:7.3f}"
        )
    print_result(
        {
            **{f"cost_{count}_over_1": round(ratios[count], 3) for count in COUNTS[1:]},
            "ms_per_image": {count: round(median(values), 3) for count, values in costs.items()},
        }
    )


if __name__ == "__main__":
    main()
