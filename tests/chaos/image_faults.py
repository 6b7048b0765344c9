"""Images that crash or hang their decoder, and a model that gives NaN for some of them."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import psutil

from tests.chaos.fault import Fault
from tests.chaos.stage import LOOK, Setting, Stage
from tests.support.hostile_images import slow_png
from tests.support.service import small_jpeg
from workers.periodic import Periodic

#: Bytes that a decoder holds when it is at the poison; a small image takes a fifth of that.
POISONED = 200_000_000


class PoisonImage(Fault):
    """No image is known that crashes a decoder, so whichever is at this one is sent the signal of a crash."""

    name = "poison-image"
    what = "an image over which its decoder crashes, among good ones: a dead letter for it, verdicts for all others"
    trials = (3, 1)
    timeout: ClassVar[str] = "10"
    error: ClassVar[str] = "DecoderCrashed"

    def setting(self) -> Setting:
        return Setting(worker={"threads": "2", "decode_timeout": self.timeout})

    def strike(self, stage: Stage, trial: int) -> None:
        poison = stage.images / "poison.png"
        if not poison.exists():
            poison.write_bytes(slow_png())
        event = stage.load.submit(f"poison-{trial}", path=poison)
        stage.expected_errors[event.key] = self.error

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        def poison() -> None:
            with suppress(psutil.NoSuchProcess):  # the worker or a decoder has ended
                for decoder in psutil.Process(stage.worker.pid).children():
                    if decoder.memory_info().rss > POISONED:
                        decoder.send_signal(signal.SIGSEGV)

        watch = Periodic("poison", LOOK, poison)
        try:
            yield
        finally:
            watch.stop()


class HangingDecoder(PoisonImage):
    """It takes seconds of C that nothing interrupts, and more than MODERATOR_DECODE_TIMEOUT."""

    name = "hanging-decoder"
    what = "an image over which its decoder hangs, among good ones: likewise"
    timeout = "0.2"
    error = "DecodeTimeout"

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        yield


class NanModel(Fault):
    """Its first layer overflows for all images but black ones; the next makes NaN of that."""

    name = "nan-model"
    what = "the model gives NaN for some images: an error and a dead letter each; a replay when it is mended answers"
    trials = (3, 1)

    def setting(self) -> Setting:
        model = _save_model(self.folder)
        _spoil(model)
        return Setting(
            worker={"encoder": f"clip:{model}", "dtype": "float32"},
            shades=range(0, 2560, 256),  # all black
        )

    def strike(self, stage: Stage, trial: int) -> None:
        for n in range(5):
            bright = small_jpeg(stage.images / f"bright-{trial}-{n}.jpg", shade=100 + n)
            event = stage.load.submit(f"bright-{trial}-{n}", path=bright)
            stage.expected_errors[event.key] = "EmbeddingInvalid"

    def check(self, stage: Stage) -> Iterator[str]:
        counted = stage.worker.metrics()["moderation_failures_total{error=EmbeddingInvalid,stage=embed}"]
        if counted != len(stage.expected_errors):
            yield f"{counted:g} failures were counted, not {len(stage.expected_errors)}"
        stage.worker.stop()
        _save_model(self.folder)
        stage.worker.start()
        for letter in stage.client.dead_letters:
            stage.client.dead_letters.replay(letter)
        stage.until(lambda: not stage.client.ledger.pending())
        if left := len(stage.client.dead_letters):
            yield f"{left} dead letters are left after a replay with the mended model"
        verdicts = [stage.client.verdicts.get(key) for key in stage.expected_errors]
        if any(verdict is None or verdict.error for verdict in verdicts):
            yield "a replay with the mended model gave no verdict"


def _save_model(folder: Path) -> Path:
    from tests.support.clip_models import save_small_clip  # loads torch, which the other faults do without

    return save_small_clip(folder / "model")


def _spoil(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    weights = load_file(file)
    weights["vision_model.embeddings.patch_embedding.weight"].abs_().clamp_(min=1e-3).mul_(1e38)
    save_file(weights, file, metadata={"format": "pt"})
    # Black is 0 to the model, and stays finite whatever it is multiplied by.
    file = model / "preprocessor_config.json"
    steps = json.loads(file.read_text())
    file.write_text(json.dumps({**steps, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}))
