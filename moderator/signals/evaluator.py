"""Create signals once per process and read each once per image, however many policies use them."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from moderator.errors import ModeratorError, SignalBusy, SignalFailed
from moderator.identity import Identity
from moderator.signals.question import Question
from moderator.signals.signal import ANY_HOST, Context, Frame, ModelHost, Signal, SignalResult
from moderator.signals.signal_calls import Specification, guarded, make, read_frames
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
    REVIEW = "review"
    """After the other categories have put the image into review: a second opinion."""


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
        host: where the models of signals run.
    """

    def __init__(
        self, folders: tuple[Path, ...], encoder: Identity, dimension: int, host: ModelHost = ANY_HOST
    ) -> None:
        self._folders = folders
        self._encoder = encoder
        self._dimension = dimension
        self._host = host
        self._made: dict[str, Signal] = {}
        self._lock = Lock()

    def read(self, specs: Iterable[Specification], frames: Sequence[Frame]) -> dict[str, Outcome]:
        """Read each signal once, in all frames of an image, and keep the reading with the highest score.

        A signal that fails does not prevent reading the others: it may be a shadow's.
        """
        outcomes: dict[str, Outcome] = {}
        for spec in specs:
            try:
                outcomes[spec.key] = read_frames(self.make(spec), frames)
            except ModeratorError as error:
                outcomes[spec.key] = error
        return outcomes

    def check(self, policy: HasSignals) -> dict[str, ModeratorError | None]:
        """Create a policy's signals and read an empty frame; return by name why each cannot be used, or None."""
        from PIL import Image  # reading and scoring policies needs no decoder

        embedding = np.zeros(self._dimension, dtype=np.float32)
        embedding[0] = 1
        question = Question("example", ("a white picture",))
        empty = Frame(Image.new("RGB", (64, 64), "white"), embedding, questions=(question,))
        outcomes: dict[str, ModeratorError | None] = {}
        for spec in policy.signals:
            try:
                read_frames(self.make(spec), [empty])
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
                signal = make(
                    spec, self._folders, Context(None, self._encoder, self._dimension, host=self._host)
                )
                if load := getattr(signal, "load", None):
                    guarded(spec.kind, load)
                self._made[spec.key] = signal
            return self._made[spec.key]


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
        else {
            "score": outcome.score,
            "unsure": outcome.unsure,
            "facts": dict(outcome.facts),
            **({"clears": sorted(outcome.clears)} if outcome.clears else {}),
        }
        for key, outcome in readings.items()
    }


def restored(values: Mapping[str, Any]) -> dict[str, Outcome]:
    """Return the readings that `plain` turned into JSON values.

    Raises:
        ValueError: the values are something else.
    """
    try:
        return {key: _outcome(value) for key, value in values.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no signal readings: {error!r}") from error


def _outcome(value: Mapping[str, Any]) -> Outcome:
    if "error" in value:  # the judge asks only whether nobody was asked
        kind = SignalBusy if value["error"]["type"] == SignalBusy.__name__ else SignalFailed
        return kind(value["error"]["message"])
    return SignalResult(
        float(value["score"]),
        value.get("facts", {}),
        value.get("unsure", False),
        frozenset(value.get("clears", ())),
    )


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
    if getattr(found, "after_judging", False):
        return Moment.REVIEW
    if not getattr(found, "uses_pixels", True):
        return Moment.EMBEDDING
    return Moment.SLOWLY if getattr(found, "slow", True) else Moment.PIXELS
