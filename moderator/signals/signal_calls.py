"""Create and read signals; whatever they raise becomes an error of this project."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from moderator.errors import ModeratorError, SignalFailed, brief
from moderator.signals.signal import Context, Frame, Signal, SignalResult
from moderator.signals.signal_files import read_pinned
from moderator.signals.signal_registry import KINDS

T = TypeVar("T")


class Specification(Protocol):
    """A signal's entry in a policy."""

    @property
    def name(self) -> str:
        """Name in the policy."""

    @property
    def kind(self) -> str:
        """Kind of signal."""

    @property
    def file(self) -> str | None:
        """Path below a folder of signal files."""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the file."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of the kind."""

    @property
    def key(self) -> str:
        """Identity: equal for signals that give the same result for every image."""


def make(spec: Specification, folders: Iterable[Path], context: Context) -> Signal:
    """Create a signal of a policy with the file that it names; `load`, if it has that, remains to be called.

    Raises:
        SignalFailed: the signal cannot be created.
        ModelMismatch: its file belongs to another encoder.
    """
    if spec.file is not None and spec.sha256 is not None:
        found = read_pinned(folders, spec.file, spec.sha256)
        context = replace(context, content=found.content, folder=found.folder)
    return make_kind(spec.kind, spec.options, context)


def make_kind(kind: str, options: Mapping[str, Any], context: Context) -> Signal:
    """Create a signal.

    Raises:
        SignalFailed: the signal cannot be created.
    """
    found = KINDS.get(kind)
    return guarded(kind, lambda: found(found.options_type.model_validate(dict(options)), context))


def guarded(kind: str, step: Callable[[], T]) -> T:
    """Return what a step of creating a signal returns; whatever it raises becomes `SignalFailed`."""
    try:
        return step()
    except ModeratorError:
        raise
    except Exception as error:  # whatever a model library or a third-party package raises
        raise SignalFailed(f"the signal {kind} cannot be made: {brief(error)}") from error


def check_examples(kind: str) -> None:
    """Read the examples of a kind.

    Raises:
        SignalFailed: a package is missing, or a score differs from the example's.
    """
    for example in KINDS.get(kind).examples():
        context = Context(example.content, example.encoder, example.dimension)
        score = read(make_kind(kind, example.options, context), example.frame).score
        if not example.lowest <= score <= example.highest:
            raise SignalFailed(
                f"{kind} gave {score:.3f} where its example says {example.lowest:g} to {example.highest:g}; "
                "install its packages again, in the versions of constraints.txt"
            )


def read_frames(signal: Signal, frames: Sequence[Frame]) -> SignalResult:
    """Read a signal in all frames of an image: the highest score counts.

    Raises:
        SignalFailed: as `read`.
    """
    if together := getattr(signal, "read_all", None):
        return _checked(signal, lambda: together(frames))
    readings = [read(signal, frame) for frame in frames]
    best = max(readings, key=lambda reading: reading.score)
    return replace(
        best,
        unsure=any(reading.unsure for reading in readings),
        clears=frozenset.intersection(*(reading.clears for reading in readings)),
    )


def read(signal: Signal, frame: Frame) -> SignalResult:
    """Read a signal in one frame.

    Raises:
        SignalFailed: the signal raised an error, or its score is not a number in [0, 1].
    """
    return _checked(signal, lambda: signal.read(frame))


def _checked(signal: Signal, step: Callable[[], SignalResult]) -> SignalResult:
    name = type(signal).__name__
    try:
        reading = step()
        valid = math.isfinite(reading.score) and 0 <= reading.score <= 1
    except ModeratorError:
        raise
    except Exception as error:  # whatever a model library or a third-party package raises
        raise SignalFailed(f"the signal {name} cannot be read: {brief(error)}") from error
    if not valid:
        raise SignalFailed(f"the signal {name} gave the score {reading.score}, which is not in [0, 1]")
    return reading
