"""The interface of signals: made from an entry in a policy file, a signal reads one frame and returns a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from moderator.identity import Identity
from moderator.signals.question import Question

if TYPE_CHECKING:  # reading policies needs no pixels, and starts without these
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


class Options(BaseModel):
    """Base of a kind's options: the keys of a policy's signal entry besides `name`, `kind`, `file` and `sha256`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(frozen=True)
class ModelHost:
    """Where the models of signals run, and how much memory they may take."""

    device: str = "auto"
    """As `MODERATOR_SIGNAL_DEVICE`."""
    dtype: str = "auto"
    """As `MODERATOR_SIGNAL_DTYPE`."""
    memory: int | None = None
    """Most bytes of weights of all these models together; None: no bound."""


#: The defaults: any device, no bound.
ANY_HOST = ModelHost()


@dataclass(frozen=True)
class Context:
    """What a signal is created with, besides its options."""

    content: bytes | None
    """Content of the file that the policy names, checked against its `sha256`; None if it names none."""
    encoder: Identity
    """Identity of the encoder whose embeddings the signal reads."""
    dimension: int
    """Length of these embeddings."""
    folder: Path | None = None
    """Folder of the file that the policy names."""
    host: ModelHost = ANY_HOST
    """Where models run."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Input of a signal: pixels (RGB, upright, of any size) or the embedding, depending on `uses_pixels`."""

    image: "Image.Image | None" = None
    embedding: "NDArray[np.float32] | None" = None
    """[dimension], of length 1"""
    size: tuple[int, int] | None = None
    """Width and height in pixels of the upright picture, of which `image` may be a reduced copy; None: the image's."""
    questions: tuple[Question, ...] = ()
    """For a second opinion: what the policy asks about the image."""


@dataclass(frozen=True)
class SignalResult:
    """The result of a signal for a frame."""

    score: float
    """Confidence in [0, 1]."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The reasons, as a few bounded JSON values that the verdict includes."""
    unsure: bool = False
    """Whether people should review the frame regardless of its score: a part of it was not read."""
    clears: frozenset[str] = frozenset()
    """Of a second opinion: the categories whose review it lifts."""


#: Encoder of the embeddings in the examples.
EXAMPLE_ENCODER = Identity("example", "1", "none")


@dataclass(frozen=True, eq=False)
class Example:
    """A frame with its expected score, for the test that all kinds share."""

    options: Mapping[str, Any]
    frame: Frame
    lowest: float
    highest: float
    content: bytes | None = None
    """Content of the file that belongs to the options."""
    encoder: Identity = EXAMPLE_ENCODER
    dimension: int = 4


class Signal(Protocol):
    """One kind of signal. `read` is called from several threads at once and keeps no state between calls."""

    options_type: ClassVar[type[Options]]
    #: Whether the kind needs a file: True, False if it takes none, None if it is optional.
    needs_file: ClassVar[bool | None]
    #: True: `read` gets the decoded image. False: it gets the embedding.
    uses_pixels: ClassVar[bool]
    #: Sufficient length of the shorter side in pixels; larger JPEGs may be decoded at a reduced size. None: the signal
    #: needs the image at full size.
    enough_pixels: ClassVar[int | None]
    #: Whether a frame may take longer than about a tenth of a second. Such signals are read apart from the decoding of
    #: other images, a few at a time. A kind without this attribute counts as slow.
    slow: ClassVar[bool]

    # A kind may also have these members:
    #   extra: ClassVar[str]: the extra of this package that it needs, which `moderator signals list` shows.
    #   after_judging: ClassVar[bool]: True for a second opinion. It uses pixels, is read only if the policy's other
    #     categories put the image into review, and gets questions on these. Its attribute `share` is the share of the
    #     judged images that it may be asked about.
    #   read_all(frames) -> SignalResult: reads all frames of an image together, instead of `read` for each.
    #   score_rows(embeddings) -> scores: of a kind that uses the embedding, reads many frames at once: float32
    #     [n, dimension] -> float32 [n].
    #   load(): loads what takes long. Called once, after creation, in processes that read images.

    def __init__(self, options: Any, context: Context) -> None:
        """Load everything that reading needs.

        Args:
            options: an instance of `options_type`.
            context: file content and encoder.

        Raises:
            SignalFailed: the file is not of the format that the kind reads, or a package is missing.
            ModelMismatch: the file belongs to another encoder.
        """
        ...

    def read(self, frame: Frame) -> SignalResult:
        """Read one frame and return its score."""
        ...

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return frames with their expected scores."""
        ...
