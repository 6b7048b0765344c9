"""What starts quickly, because it loads only what it needs: the client, the command line, and a gateway's parts."""

import json
import os
import resource
import subprocess
import sys

import pytest

#: Decodes, models, and the worker's transport: none of them belongs into a process that only passes events on.
HEAVY = ("torch", "transformers", "PIL", "celery", "kombu", "onnxruntime", "pyarrow")
CLIENT = ("moderator.client",)
TRANSPORTS = ("moderator.client.redis_transport", "moderator.client.http_transport")
#: The parts of the engine that a gateway needs, without a connection.
PARTS = (
    "moderator.queue.commands",
    "moderator.policies.catalogue",
    "moderator.policies.store",
    "moderator.engine.judge",
    "moderator.verdicts",
)
#: What accepts events, looks up verdicts, and scores again what was embedded before.
GATEWAY = (
    *PARTS,
    "moderator.queue.async_queue",
    "moderator.queue.connection",
    "moderator.queue.executors",
    "moderator.submission",
    "moderator.policies.lint",
    "moderator.policies.requirements",
    "moderator.scoring.thresholds",
)
#: The gateway itself, with all that it imports of ours.
GATEWAY_APP = ("moderator.gateway.gateway_app", "moderator.gateway.gateway_server")
#: What they cannot do without. On a slow or busy machine these alone take most of the time.
LIBRARIES = "import numpy, pydantic, redis"
GATEWAY_LIBRARIES = (
    f"{LIBRARIES}, redis.asyncio, fastapi, fastapi.routing, uvicorn, prometheus_client, pydantic_settings"
)
#: A machine that is busy with something else fails no test: the best of so many counts.
STARTS = 5


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which modules are compiled once, as where they are installed."""
    ours = {
        "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled")),
        "OPENBLAS_NUM_THREADS": "1",  # its threads wait busily, and would be counted
    }
    return {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | ours


def quickest(environment: dict[str, str], *arguments: str, below: float) -> float:
    """Seconds that a Python process keeps a core busy, the best of some; the first one compiles.

    Starting is computing alone, so that is how long it takes on a machine that has nothing else to do.
    """
    best = float("inf")
    for _ in range(STARTS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if best < below:
            break
    return best


@pytest.mark.parametrize(
    "modules",
    [CLIENT + TRANSPORTS, GATEWAY, CLIENT + GATEWAY, GATEWAY_APP],
    ids=["client", "gateway", "both", "gateway app"],
)
def test_no_model_and_no_decoder_is_loaded(modules: tuple[str, ...]) -> None:
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps([*sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert loaded.isdisjoint(HEAVY), loaded & {*HEAVY}
    assert modules in (CLIENT + TRANSPORTS, GATEWAY_APP) or "numpy" in loaded, "it scores"


def test_nothing_is_built_before_it_is_used() -> None:
    """Building one validator loads what reads packages' metadata, and takes as long as importing Pydantic's core."""
    code = f"import sys, {', '.join(PARTS)}; print('importlib.metadata' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("modules", [CLIENT, PARTS, GATEWAY], ids=["client", "parts", "gateway"])
def test_they_start_quickly(compiled: dict[str, str], modules: tuple[str, ...]) -> None:
    seconds = quickest(compiled, "-c", f"import {', '.join(modules)}", below=0.3)
    assert seconds < 0.3 or seconds < 2 * quickest(compiled, "-c", LIBRARIES, below=0.0)


def test_the_gateway_adds_little_to_its_libraries(compiled: dict[str, str]) -> None:
    libraries = quickest(compiled, "-c", GATEWAY_LIBRARIES, below=0.0)
    assert (
        quickest(compiled, "-c", f"import {', '.join(GATEWAY_APP)}", below=libraries + 0.3) < libraries + 0.35
    )


def test_help_comes_quickly(compiled: dict[str, str]) -> None:
    assert quickest(compiled, "-m", "moderator", "--help", below=0.5) < 0.5


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
        [
            f"moderator.archive.{name}"
            for name in ("archive_store", "erasure", "evidence_reader", "statements")
        ],
        ["moderator.fetching.breaker_metrics", "moderator.policies.policy_metrics"],
        ["moderator.gateway.hooks"],
    ],
    ids=["core", "queue", "archive", "metrics", "hooks"],
)
def test_parts_without_images_load_no_decoder_and_no_model_library(parts: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *parts], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(run.stdout))
    assert set(parts) <= loaded
    assert loaded.isdisjoint(HEAVY), loaded & {*HEAVY}
