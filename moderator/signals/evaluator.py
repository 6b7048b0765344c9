"""Create signals once per process and read each once per image, however many policies use them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from moderator.errors import ModeratorError, SignalFailed, brief
from moderator.identity import Identity
from moderator.signals.signal import Context, Frame, Signal, SignalResult
from moderator.signals.signal_files import read_pinned
from moderator.signals.signal_registry import KINDS

#: A shorter side that no image reaches: the image is decoded at full size.
WHOLE_IMAGE_SIDE = 2**31 - 1

#: The result of a signal for an image, or the error.
Outcome = SignalResult | ModeratorError
#: Outcomes by the `key` of their specification.
Readings = Mapping[str, Outcome]


class Moment(StrEnum):
    """The moment when a signal is read."""

    PIXELS = "pixels"
    """While the image is decoded."""
    SLOWLY = "slowly"
    """While the image is decoded, apart from other images, because it takes long."""
    EMBEDDING = "embedding"
    """After the model has embedded the image."""


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


class HasSignals(Protocol):
    """A policy."""

    @property
    def signals(self) -> Sequence[Specification]:
        """The signals of the policy."""


class Signals:
    """All signals of a process. Thread-safe.

    Args:
        folders: searched for signal files.
        encoder: identity of the encoder whose embeddings are read.
        dimension: of these embeddings.
    """

    def __init__(self, folders: tuple[Path, ...], encoder: Identity, dimension: int) -> None:
        self._folders = folders
        self._encoder = encoder
        self._dimension = dimension
        self._made: dict[str, Signal] = {}
        self._lock = Lock()

    def read(self, specs: Iterable[Specification], frames: Sequence[Frame]) -> dict[str, Outcome]:
        """Read each signal once, in all frames of an image, and keep the reading with the highest score.

        A signal that fails does not prevent reading the others: it may be a shadow's.
        """
        outcomes: dict[str, Outcome] = {}
        for spec in specs:
            try:
                signal = self.make(spec)
                readings = [read(signal, frame) for frame in frames]
                best = max(readings, key=lambda reading: reading.score)
                outcomes[spec.key] = replace(best, unsure=any(reading.unsure for reading in readings))
            except ModeratorError as error:
                outcomes[spec.key] = error
        return outcomes

    def check(self, policy: HasSignals) -> dict[str, ModeratorError | None]:
        """Create a policy's signals and read an empty frame; return by name why each cannot be used, or None."""
        from PIL import Image  # reading and scoring policies needs no decoder

        embedding = np.zeros(self._dimension, dtype=np.float32)
        embedding[0] = 1
        empty = Frame(Image.new("RGB", (64, 64), "white"), embedding)
        outcomes: dict[str, ModeratorError | None] = {}
        for spec in policy.signals:
            try:
                read(self.make(spec), empty)
                outcomes[spec.name] = None
            except ModeratorError as error:
                outcomes[spec.name] = error
        return outcomes

    def make(self, spec: Specification) -> Signal:
        """Return a signal of a policy, created at most once.

        Raises:
            SignalFailed: the signal cannot be created.
            ModelMismatch: its file belongs to another encoder.
        """
        made = self._made.get(spec.key)
        if made is not None:
            return made
        with self._lock:
            if spec.key not in self._made:
                content = None
                if spec.file is not None and spec.sha256 is not None:
                    content = read_pinned(self._folders, spec.file, spec.sha256)
                self._made[spec.key] = make(
                    spec.kind, spec.options, Context(content, self._encoder, self._dimension)
                )
            return self._made[spec.key]


def make(kind: str, options: Mapping[str, Any], context: Context) -> Signal:
    """Create a signal.

    Raises:
        SignalFailed: the signal cannot be created.
    """
    found = KINDS.get(kind)
    try:
        return found(found.options_type.model_validate(dict(options)), context)
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
        score = read(make(kind, example.options, context), example.frame).score
        if not example.lowest <= score <= example.highest:
            raise SignalFailed(
                f"{kind} gave {score:.3f} where its example says {example.lowest:g} to {example.highest:g}; "
                "install its packages again, in the versions of constraints.txt"
            )


def read(signal: Signal, frame: Frame) -> SignalResult:
    """Read a signal in one frame.

    Raises:
        SignalFailed: the signal raised an error, or its score is not a number in [0, 1].
    """
    name = type(signal).__name__
    try:
        reading = signal.read(frame)
        valid = math.isfinite(reading.score) and 0 <= reading.score <= 1
    except ModeratorError:
        raise
    except Exception as error:  # whatever a model library or a third-party package raises
        raise SignalFailed(f"the signal {name} cannot be read: {brief(error)}") from error
    if not valid:
        raise SignalFailed(f"the signal {name} gave the score {reading.score}, which is not in [0, 1]")
    return reading


def refuse_failed(policy: HasSignals, readings: Readings) -> None:
    """Raise the error of a policy's signal, if one failed.

    Raises:
        SignalFailed, ModelMismatch: the error that the signal raised.
    """
    for spec in policy.signals:
        outcome = readings.get(spec.key)
        if isinstance(outcome, ModeratorError):
            raise outcome


def scores(policy: HasSignals, readings: Readings) -> dict[str, float]:
    """Return the score of each signal of a policy, by name.

    Raises:
        SignalFailed, ModelMismatch: a signal failed, or was not read.
    """
    return {spec.name: _reading(spec, readings).score for spec in policy.signals}


def facts(policy: HasSignals, readings: Readings) -> dict[str, Any]:
    """Return what the verdict reports of each signal of a policy, by name: kind, score, facts of the kind."""
    return {
        spec.name: {"kind": spec.kind, "score": reading.score, **reading.facts}
        for spec in policy.signals
        for reading in (_reading(spec, readings),)
    }


def plain(readings: Readings) -> dict[str, Any]:
    """Return readings as JSON values, by the key of the signal; failed ones have the error's type and message."""
    return {
        key: {"error": {"type": type(outcome).__name__, "message": str(outcome)}}
        if isinstance(outcome, ModeratorError)
        else {"score": outcome.score, "unsure": outcome.unsure, "facts": dict(outcome.facts)}
        for key, outcome in readings.items()
    }


def _reading(spec: Specification, readings: Readings) -> SignalResult:
    outcome = readings.get(spec.key)
    if outcome is None:
        raise SignalFailed(f"the signal {spec.name} was not read: `prepare` has to be given the event")
    if isinstance(outcome, ModeratorError):
        raise outcome
    return outcome


def unsure(policy: HasSignals, readings: Readings) -> frozenset[str]:
    """Return the names of a policy's signals that leave the decision to people."""
    return frozenset(spec.name for spec in policy.signals if _reading(spec, readings).unsure)


def due(policies: Iterable[HasSignals], moment: Moment) -> list[Specification]:
    """Return the policies' signals that are read at a moment, each once."""
    found = {spec.key: spec for policy in policies for spec in policy.signals}
    return [spec for spec in found.values() if _moment(spec.kind) is moment]


def by_side(specs: Iterable[Specification]) -> dict[int, list[Specification]]:
    """Group signals that look at pixels by the shorter side that is enough for them."""
    sides: dict[int, list[Specification]] = {}
    for spec in specs:
        side = getattr(KINDS.get(spec.kind), "enough_pixels", None)
        sides.setdefault(WHOLE_IMAGE_SIDE if side is None else side, []).append(spec)
    return sides


def _moment(kind: str) -> Moment:
    try:
        found = KINDS.get(kind)
    except SignalFailed:
        return Moment.EMBEDDING  # no such kind; reading it raises the reason, and needs no pixels
    if not getattr(found, "uses_pixels", True):
        return Moment.EMBEDDING
    return Moment.SLOWLY if getattr(found, "slow", True) else Moment.PIXELS
