"""Distinguishes a model that fails from an image that the model fails on.

A broken GPU fails on every image, and faster than a sound one answers: the whole backlog would turn into errors. So
when an image fails alone, the model is given inputs that it could answer when the worker started. If it fails on those
as well, the fault is the model's: nothing is judged until it answers them again.
"""

import logging
import time
from collections.abc import Callable
from threading import Lock

import numpy as np

from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import ModelBroken, brief

log = logging.getLogger(__name__)

#: Tries of a known input, one after the other, that must all fail before the model counts as broken.
FAILED_TRIES_MAX = 3
#: Seconds for which a broken model is tested again. What it failed of may be cured only by a new process.
RECOVERY_WAIT_SECONDS = 60.0


def sound(rows: Embeddings) -> bool:
    """Whether embeddings, [n, dimension], are any: finite, and not zero."""
    return bool(np.isfinite(rows).all() and rows.any(axis=1).all())


class ModelWatch:
    """Knows whether the model works. Thread-safe.

    Args:
        embed: uint8 [n, size, size, 3] -> float32 [n, dimension].
        size: side of the model's input.
        clock: seconds.
    """

    def __init__(
        self, embed: Callable[[Pixels], Embeddings], size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._embed = embed
        self._clock = clock
        shades = np.linspace(0, 255, size, dtype=np.uint8)
        gradient = np.stack(np.broadcast_arrays(shades[:, None], shades[None], shades[::-1, None]), axis=-1)
        self._known = [np.zeros((1, size, size, 3), dtype=np.uint8), np.ascontiguousarray(gradient[None])]
        self._lock = Lock()
        self._broken_since: float | None = None
        self._why = ""

    @property
    def broken(self) -> ModelBroken | None:
        """Why nothing is judged; None while the model works."""
        return ModelBroken(self._why) if self._broken_since is not None else None

    @property
    def hopeless(self) -> bool:
        """Whether it has been broken for so long that a new process is to be tried."""
        return self._broken_since is not None and self._clock() - self._broken_since > RECOVERY_WAIT_SECONDS

    def learn(self) -> None:
        """Note which inputs the model can answer; to be called when it is loaded."""
        good = [pixels for pixels in self._known if self._failure(pixels) is None]
        if good:
            self._known = good
        else:
            self._note_broken(self._failure(self._known[0]) or "it does so from time to time")

    def blame(self) -> ModelBroken | None:
        """After an image that failed alone: why it is the model's fault; None if it is the image's."""
        failures = []
        for _ in range(FAILED_TRIES_MAX):
            failure = self._test()
            if failure is None:
                break
            failures.append(failure)
        if not failures:
            return None
        if len(failures) == FAILED_TRIES_MAX:
            self._note_broken(failures[-1])
        return ModelBroken(_shown(failures[-1]))

    def test_again(self) -> None:
        """Try a broken model; to be called every second or so."""
        if self._broken_since is not None and self._test() is None:
            with self._lock:
                log.warning("the model works again, after %.0f s", self._clock() - self._broken_since)
                self._broken_since = None

    def _note_broken(self, why: str) -> None:
        with self._lock:
            if self._broken_since is None:
                self._why = _shown(why)
                self._broken_since = self._clock()
                log.error("%s. The worker takes no events until it works again", self._why)

    def _test(self) -> str | None:
        """What goes wrong with a known input; None if all is well."""
        failures = [self._failure(pixels) for pixels in self._known]
        return next((failure for failure in failures if failure is not None), None)

    def _failure(self, pixels: Pixels) -> str | None:
        try:
            rows = self._embed(pixels)
        except Exception as error:  # whatever a model library raises
            return brief(error)
        return None if sound(rows) else "it returns NaN, infinity or zero"


def _shown(why: str) -> str:
    return (
        f"the model fails on known inputs ({why}); see the state of its device, start the worker again, or try "
        "MODERATOR_DTYPE=float32"
    )
