"""What may be imported without a decoder or a model library."""

import json
import subprocess
import sys

import pytest

HEAVY = {"PIL", "torch", "transformers", "celery"}
IMPORT_ALL = """
import json, pkgutil, sys
from importlib import import_module
for name in sys.argv[1:]:
    module = import_module(name)
    for child in pkgutil.walk_packages(getattr(module, "__path__", ()), name + "."):
        import_module(child.name)
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    "parts",
    [
        [
            "moderator.errors",
            "moderator.settings",
            "moderator.metrics",
            "moderator.events",
            "moderator.verdicts",
        ],
        ["moderator.scoring", "moderator.queue", "moderator.delivery"],
        ["moderator.images.breaker_metrics", "moderator.policies.policy_metrics"],
    ],
    ids=["core", "queue", "metrics"],
)
def test_parts_without_images_load_no_decoder_and_no_model_library(parts: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *parts], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(run.stdout))
    assert set(parts) <= loaded
    assert loaded & HEAVY == set()
