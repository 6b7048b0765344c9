"""Makes signals once per process and reads each once per image, however many policies use them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from PIL import Image

from moderator.errors import ModeratorError, SignalFailed
from moderator.identity import Identity
from moderator.signals.base import Context, Frame, Reading, Signal
from moderator.signals.files import read_pinned
from moderator.signals.registry import signal_class

#: A shorter side that no image has: it is wanted whole.
WHOLE = 2**31 - 1

#: What a signal says of an image, or why it could not be read.
Outcome = Reading | ModeratorError
#: By `key` of the specification.
Readings = Mapping[str, Outcome]


class Specification(Protocol):
    """A signal's entry in a policy."""

    @property
    def name(self) -> str:
        """In the policy."""

    @property
    def kind(self) -> str:
        """Of signal."""

    @property
    def file(self) -> str | None:
        """Below a folder of files."""

    @property
    def sha256(self) -> str | None:
        """Of the file."""

    @property
    def options(self) -> dict[str, Any]:
        """Of the kind."""

    @property
    def key(self) -> str:
        """Equal for signals that say the same of every image."""


class HasSignals(Protocol):
    """A policy."""

    @property
    def signals(self) -> Sequence[Specification]:
        """Its signals."""


class Signals:
    """All signals of a process. Thread-safe.

    Args:
        folders: where files are looked for.
        encoder: whose embeddings are read.
        dimension: of these.
    """

    def __init__(self, folders: tuple[Path, ...], encoder: Identity, dimension: int) -> None:
        self._folders = folders
        self._encoder = encoder
        self._dimension = dimension
        self._made: dict[str, Signal] = {}
        self._lock = Lock()

    def enough_pixels(self, policies: Iterable[HasSignals]) -> int:
        """Shorter side that is enough for all signals that look at pixels; 0 without such."""
        sides = [
            signal_class(spec.kind).enough_pixels
            for spec in _specifications(policies, uses_pixels=True).values()
        ]
        return max((WHOLE if side is None else side for side in sides), default=0)

    def read(
        self, policies: Iterable[HasSignals], frames: Sequence[Frame], uses_pixels: bool
    ) -> dict[str, Outcome]:
        """Read the signals of policies, each once, in all frames; the reading with the highest score is kept.

        Args:
            policies: those that look at the image.
            frames: of the image, with pixels or embeddings.
            uses_pixels: which of the two, and so which of the signals.

        A signal that fails does not keep the others from being read: its policy may be a shadow.
        """
        outcomes: dict[str, Outcome] = {}
        for key, spec in _specifications(policies, uses_pixels).items():
            try:
                signal = self.make(spec)
                outcomes[key] = max(
                    (read(signal, frame) for frame in frames), key=lambda reading: reading.score
                )
            except ModeratorError as error:
                outcomes[key] = error
        return outcomes

    def check(self, policy: HasSignals) -> dict[str, ModeratorError | None]:
        """By name, why each signal of a policy cannot be used, or None: all are made, and read an empty frame."""
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
        """A signal of a policy, made at most once.

        Raises:
            SignalFailed: it cannot be made.
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
    """Make a signal.

    Raises:
        SignalFailed: it cannot be made.
    """
    found = signal_class(kind)
    try:
        return found(found.options_type.model_validate(dict(options)), context)
    except ModeratorError:
        raise
    except Exception as error:  # whatever a model library or a package of somebody else raises
        raise SignalFailed(f"the signal {kind} cannot be made: {_brief(error)}") from error


def check_examples(kind: str) -> None:
    """Read the examples of a kind.

    Raises:
        SignalFailed: a package is missing, or a score is not as the example says.
    """
    for example in signal_class(kind).examples():
        context = Context(example.content, example.encoder, example.dimension)
        score = read(make(kind, example.options, context), example.frame).score
        if not example.lowest <= score <= example.highest:
            raise SignalFailed(
                f"{kind} gave {score:.3f} where its example says {example.lowest:g} to {example.highest:g}; "
                "install its packages again, in the versions of constraints.txt"
            )


def read(signal: Signal, frame: Frame) -> Reading:
    """Read a signal in one frame.

    Raises:
        SignalFailed: it raised, or its score is no number in [0, 1].
    """
    name = type(signal).__name__
    try:
        reading = signal.read(frame)
    except ModeratorError:
        raise
    except Exception as error:  # whatever a model library or a package of somebody else raises
        raise SignalFailed(f"the signal {name} cannot be read: {_brief(error)}") from error
    if not (math.isfinite(reading.score) and 0 <= reading.score <= 1):
        raise SignalFailed(f"the signal {name} gave the score {reading.score}, which is not in [0, 1]")
    return reading


def refuse_failed(policy: HasSignals, readings: Readings) -> None:
    """Nothing, unless a signal of a policy failed.

    Raises:
        SignalFailed, ModelMismatch: what the signal raised.
    """
    for spec in policy.signals:
        outcome = readings.get(spec.key)
        if isinstance(outcome, ModeratorError):
            raise outcome


def scores(policy: HasSignals, readings: Readings) -> dict[str, float]:
    """The score of each signal of a policy, by its name there.

    Raises:
        SignalFailed, ModelMismatch: a signal failed, or was not read.
    """
    return {spec.name: _reading(spec, readings).score for spec in policy.signals}


def facts(policy: HasSignals, readings: Readings) -> dict[str, Any]:
    """What the verdict tells of each signal of a policy, by its name there: kind, score, and facts of the kind."""
    return {
        spec.name: {"kind": spec.kind, "score": reading.score, **reading.facts}
        for spec in policy.signals
        for reading in (_reading(spec, readings),)
    }


def _reading(spec: Specification, readings: Readings) -> Reading:
    outcome = readings.get(spec.key)
    if outcome is None:
        raise SignalFailed(f"the signal {spec.name} was not read: `prepare` has to be given the event")
    if isinstance(outcome, ModeratorError):
        raise outcome
    return outcome


def _specifications(policies: Iterable[HasSignals], uses_pixels: bool) -> dict[str, Specification]:
    """The signals of policies that look at pixels, or at the embedding, by key."""
    return {
        spec.key: spec
        for policy in policies
        for spec in policy.signals
        if signal_class(spec.kind).uses_pixels == uses_pixels
    }


def _brief(error: Exception) -> str:
    text = "".join(c if c.isprintable() else " " for c in f"{type(error).__name__}: {error}")
    return text[:300]
