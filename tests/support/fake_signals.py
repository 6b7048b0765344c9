"""Kinds of signals that are as slow and as broken as a test wants them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from moderator.signals.signal import Context, Example, Frame, Options, SignalResult
from moderator.signals.signal_registry import KINDS


class FakeOptions(Options):
    """An option that tells one from another."""

    mark: str = ""


class Whole:
    """Wants the image whole, and does with it what the test says."""

    options_type: ClassVar[type[Options]] = FakeOptions
    needs_file: ClassVar[bool | None] = False
    uses_pixels: ClassVar[bool] = True
    enough_pixels: ClassVar[int | None] = None
    slow: ClassVar[bool] = False

    def __init__(self, options: FakeOptions, context: Context) -> None:
        self.options = options

    def read(self, frame: Frame) -> SignalResult:
        return SignalResult(0.0)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return ()


class Slow(Whole):
    """Likewise, and takes long."""

    slow: ClassVar[bool] = True

    def read(self, frame: Frame) -> SignalResult:
        return SignalResult(0.0)


@contextmanager
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes them known as `whole` and `slow`."""
    with monkeypatch.context() as patch:
        for name in ("Whole", "Slow"):
            patch.setitem(KINDS.built_in, name.lower(), f"{__name__}:{name}")
            patch.delitem(KINDS._loaded, name.lower(), raising=False)
        yield


def raising(error: Exception) -> Callable[..., Any]:
    def act(*_: object) -> Any:
        raise error

    return act
