"""`probe`: a linear classifier of the image's embedding, written by `moderator probe train`. Needs no second model.

Logistic regression on frozen embeddings (Radford et al., 2021, section 3.2).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from moderator.atomic import write_atomically
from moderator.errors import ModelMismatch, ProbeInvalid, SignalFailed
from moderator.identity import Identity
from moderator.signals.signal import EXAMPLE_ENCODER, Context, Example, Frame, Options, SignalResult

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier of one encoder's embeddings."""

    labels: tuple[str, ...]
    weight: Floats
    """float32 [L, dimension]"""
    bias: Floats
    """float32 [L]"""
    identity: Identity
    c: float
    """Inverse strength of the L2 penalty."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Measurements from its training."""

    def probabilities(self, embeddings: Floats) -> Floats:
        """Return the probability of each label: float32 [n, dimension] -> float32 [n, L], rows that sum to 1."""
        logits = embeddings @ self.weight.T + self.bias
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        result: Floats = weights / weights.sum(axis=-1, keepdims=True)
        return result

    def check(self, identity: Identity, what: object) -> None:
        """Refuse embeddings of another model.

        Raises:
            ModelMismatch: the models differ; the message names both.
        """
        if self.identity != identity:
            ours, theirs = identity, self.identity
            raise ModelMismatch(
                f"{what} was trained on embeddings of {theirs.id} (revision {theirs.revision[:12]}), and the model is "
                f"now {ours.id} (revision {ours.revision[:12]}): set MODERATOR_ENCODER to the former, or train it again"
            )

    def serialized(self) -> bytes:
        """Return the probe as safetensors, with everything but the tensors as JSON in the metadata."""
        facts = {
            "labels": self.labels,
            "identity": asdict(self.identity),
            "c": self.c,
            "figures": self.figures,
            "format": 1,
        }
        # safetensors writes an array's memory as it is, and scikit-learn's is in column order.
        tensors = {"weight": np.ascontiguousarray(self.weight), "bias": np.ascontiguousarray(self.bias)}
        return save(tensors, metadata={"moderator": json.dumps(facts)})

    def save(self, path: Path) -> None:
        """Write the probe to a file atomically."""
        write_atomically(path, self.serialized())

    @classmethod
    def parse(cls, content: bytes, what: object = "the file") -> "Probe":
        """Parse a probe from the content of a file.

        Raises:
            ProbeInvalid: the content is not a probe, or broken.
        """
        try:
            tensors = load(content)
            # safetensors exposes no metadata for bytes: the length of the header in 8 bytes, then the header as JSON.
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            facts = json.loads(header["__metadata__"]["moderator"])
            weight, bias = tensors["weight"], tensors["bias"]
            labels = tuple(facts["labels"])
            identity = Identity(**facts["identity"])
            fits = (
                facts["format"] == 1 and weight.shape[:1] == bias.shape == (len(labels),) and weight.ndim == 2
            )
            if not fits or not all(np.isfinite(t).all() and t.dtype == np.float32 for t in (weight, bias)):
                raise ValueError("its parts do not fit together")
            return cls(labels, weight, bias, identity, float(facts["c"]), facts["figures"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ProbeInvalid(f"{what} is no probe, or is broken: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "Probe":
        """Read a probe from a file.

        Raises:
            ProbeInvalid: the file is not a probe, or broken.
        """
        try:
            return cls.parse(path.read_bytes(), path)
        except FileNotFoundError as error:
            raise ProbeInvalid(f"there is no file {path}; `moderator probe train` makes one") from error
        except OSError as error:
            raise ProbeInvalid(f"{path} cannot be read ({error.strerror}); check it") from error


class ProbeOptions(Options):
    """Options of a probe."""

    unsafe: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    """The labels whose probabilities are summed."""


class LinearProbe:
    """Score: the summed probability of the unsafe labels. Facts: the most probable label and its probability."""

    options_type: ClassVar[type[Options]] = ProbeOptions
    needs_file: ClassVar[bool | None] = True
    uses_pixels: ClassVar[bool] = False
    enough_pixels: ClassVar[int | None] = 1
    slow: ClassVar[bool] = False

    def __init__(self, options: ProbeOptions, context: Context) -> None:
        try:
            self._probe = Probe.parse(context.content or b"")
        except ProbeInvalid as error:
            raise SignalFailed(f"{error}; `moderator probe train` makes one") from error
        self._probe.check(context.encoder, "the probe")
        if missing := sorted(set(options.unsafe) - set(self._probe.labels)):
            known = ", ".join(self._probe.labels)[:200]
            raise SignalFailed(f"'{missing[0]}' in 'unsafe' is no label of the probe ({known}); correct it")
        if self._probe.weight.shape[1] != context.dimension:
            raise SignalFailed("the probe is for embeddings of another length; train it again")
        self._unsafe = [label in options.unsafe for label in self._probe.labels]

    def read(self, frame: Frame) -> SignalResult:
        """Classify a frame's embedding."""
        assert frame.embedding is not None
        (values,) = self._probe.probabilities(frame.embedding[None])
        top = int(np.argmax(values))
        facts = {"top": self._probe.labels[top][:100], "probability": round(float(values[top]), 4)}
        # Sums of rounded probabilities may exceed 1.
        return SignalResult(float(np.clip(values[self._unsafe].sum(), 0, 1)), facts)

    def score_rows(self, embeddings: Floats) -> Floats:
        """Return the scores of many frames: float32 [n, dimension] -> float32 [n]."""
        scores: Floats = np.clip(self._probe.probabilities(embeddings)[:, self._unsafe].sum(axis=1), 0, 1)
        return scores

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return frames for a probe whose two labels are on two axes."""
        weight = np.array([[20, 0, 0, 0], [0, 20, 0, 0]], dtype=np.float32)
        content = Probe(
            ("smoking", "safe"), weight, np.zeros(2, dtype=np.float32), EXAMPLE_ENCODER, 1.0
        ).serialized()
        smoking, safe = np.eye(4, dtype=np.float32)[:2]
        options = {"unsafe": ["smoking"]}
        return [
            Example(options, Frame(embedding=smoking), 0.99, 1, content),
            Example(options, Frame(embedding=safe), 0, 0.01, content),
        ]
