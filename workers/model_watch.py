"""Distinguish a broken model from an image that makes it fail.

A broken GPU fails on every image, and faster than a sound one answers: the whole backlog would turn into errors. So
when an image fails alone, the model is tested on inputs that it could answer at startup. If it fails on those as
well, the model is at fault: nothing is judged until it answers them again.
"""

import logging
import time
from collections.abc import Callable
from threading import Lock

import numpy as np

from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import ModelBroken, brief

log = logging.getLogger(__name__)

#: Consecutive tests with a known input that must all fail before the model counts as broken.
FAILED_TRIES_MAX = 3
#: Seconds for which a broken model is tested again. After that, only a new process may help.
RECOVERY_WAIT_SECONDS = 60.0


def sound(rows: Embeddings) -> bool:
    """Return whether embeddings, [n, dimension], are valid: finite and not zero."""
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
        """Return why nothing is judged; None while the model works."""
        return ModelBroken(self._why) if self._broken_since is not None else None

    @property
    def hopeless(self) -> bool:
        """Return whether the model has been broken for so long that the process should be replaced."""
        return self._broken_since is not None and self._clock() - self._broken_since > RECOVERY_WAIT_SECONDS

    def learn(self) -> None:
        """Note which inputs the model can answer; call it when the model is loaded."""
        good = [pixels for pixels in self._known if self._failure(pixels) is None]
        if good:
            self._known = good
        else:
            self._note_broken(self._failure(self._known[0]) or "it does so from time to time")

    def blame(self) -> ModelBroken | None:
        """Return why the model is at fault for an image that failed alone; None if the image is."""
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
        """Test a broken model; call it every second or so."""
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
        """Return what goes wrong with a known input; None if the model answers it."""
        failures = [self._failure(pixels) for pixels in self._known]
        return next((failure for failure in failures if failure is not None), None)

    def _failure(self, pixels: Pixels) -> str | None:
        try:
            rows = self._embed(pixels)
        except Exception as error:  # model libraries raise anything
            return brief(error)
        return None if sound(rows) else "it returns NaN, infinity or zero"


def _shown(why: str) -> str:
    return (
        f"the model fails on known inputs ({why}); see the state of its device, start the worker again, or try "
        "MODERATOR_DTYPE=float32"
    )
