"""A model that fails on everything for a while, as one on a broken GPU does."""

from collections.abc import Iterator
from typing import ClassVar

import pytest

from tests.chaos.fault import Fault
from tests.chaos.stage import Setting, Stage
from tests.support.service import run_first

#: Runs in the worker before anything else does. While the file is there, the model raises, or returns NaN, for all.
SWITCH = """
import sys, threading, time
from pathlib import Path

ENCODER = "moderator.encoders.embedded.embedded_encoder"

def watch():
    while (module := sys.modules.get(ENCODER)) is None or not hasattr(module, "EmbeddedEncoder"):
        time.sleep(0.01)
    encoder, file = module.EmbeddedEncoder, Path({file!r})
    embed = encoder.embed_images

    def switched(self, pixels):
        how = file.read_text() if file.exists() else ""
        if how == "raises":
            raise RuntimeError("CUDA error: device-side assert triggered")
        rows = embed(self, pixels)
        return rows * float("nan") if how == "nan" else rows

    encoder.embed_images = switched

if "worker" in sys.argv:
    threading.Thread(target=watch, daemon=True).start()
"""


class ModelBroken(Fault):
    """No event may become an error, or use up its tries, which are two here."""

    name = "model-broken"
    what = "the model fails on every image (raises, or NaN) and works again: events wait, the worker is not ready"
    trials = (4, 1)
    ways: ClassVar[tuple[str, ...]] = ("raises", "nan")

    def setting(self) -> Setting:
        self._file = self.folder / "broken"
        self._environment = pytest.MonkeyPatch()
        run_first(SWITCH.format(file=str(self._file)), self.folder, self._environment)
        self._problems: list[str] = []
        return Setting(worker={"encoder": "embedded", "max_attempts": "2", "retry_delay": "0.1"})

    def close(self) -> None:
        self._environment.undo()

    def strike(self, stage: Stage, trial: int) -> None:
        switching = self._file.with_suffix(".new")
        switching.write_text(self.ways[trial % len(self.ways)])
        switching.rename(self._file)
        if not stage.until(lambda: not stage.worker.ready(), timeout=20):
            self._problems.append("the worker was ready while its model failed")
        if stage.worker.metrics().get("moderation_model_broken") != 1:
            self._problems.append("no metric said that the model was broken")
        stage.wait(3.0, 4.0)  # time for all tries, and for all that waits to become an error
        before = stage.client.verdicts.position()
        stage.wait(0.5, 1.0)
        if stage.client.verdicts.position() != before:
            self._problems.append("verdicts were published while the model failed")
        self._file.unlink()
        if not stage.until(stage.worker.ready, timeout=20):
            self._problems.append("the worker was not ready again")

    def check(self, stage: Stage) -> Iterator[str]:
        yield from self._problems
