"""The interface of signals: made from an entry in a policy file, a signal reads one frame and returns a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from moderator.identity import Identity

if TYPE_CHECKING:  # whoever reads policies names signals and looks at no pixels: that starts without these
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


class Options(BaseModel):
    """Base of what may stand in a policy for one kind of signal, beside `name`, `kind`, `file` and `sha256`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(frozen=True)
class Context:
    """What a signal is made with, beside its options."""

    content: bytes | None
    """The file that the policy names, checked against its `sha256`; None where it names none."""
    encoder: Identity
    """Of the encoder whose embeddings arrive."""
    dimension: int
    """Length of these embeddings."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What a signal may look at: pixels (RGB, upright, of any size) or the embedding, as its `uses_pixels` says."""

    image: "Image.Image | None" = None
    embedding: "NDArray[np.float32] | None" = None
    """[dimension], of length 1"""


@dataclass(frozen=True)
class SignalResult:
    """What a signal says of a frame."""

    score: float
    """In [0, 1]: how sure it is."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Why, in a few bounded JSON values: they stand in the verdict."""
    unsure: bool = False
    """Whether people should look whatever the score is: a part of the frame was not read."""


#: Whose embeddings the examples have.
EXAMPLE_ENCODER = Identity("example", "1", "none")


@dataclass(frozen=True, eq=False)
class Example:
    """A frame with the score it should get, for the one test that all kinds have in common."""

    options: Mapping[str, Any]
    frame: Frame
    lowest: float
    highest: float
    content: bytes | None = None
    """Content of the file that the options go with."""
    encoder: Identity = EXAMPLE_ENCODER
    dimension: int = 4


class Signal(Protocol):
    """One kind of signal. `read` is called from several threads at once and keeps no state between calls."""

    options_type: ClassVar[type[Options]]
    #: Whether the kind needs a file: True, False where none may be named, None where one may.
    needs_file: ClassVar[bool | None]
    #: True: `read` gets the decoded image. False: it gets the embedding.
    uses_pixels: ClassVar[bool]
    #: Shorter side in pixels that is enough; larger JPEGs may be decoded at a reduced size. None: nothing is
    #: enough, the image is wanted whole.
    enough_pixels: ClassVar[int | None]
    #: Whether a frame may take longer than a tenth of a second or so. Such signals are read apart from the decoding of
    #: other images, a few at a time. Where a kind does not say it, it is taken for slow.
    slow: ClassVar[bool]

    def __init__(self, options: Any, context: Context) -> None:
        """Load what reading needs.

        Args:
            options: an `options_type`.
            context: the rest.

        Raises:
            SignalFailed: the file is not what the kind reads, or a package is missing.
            ModelMismatch: the file belongs to another encoder.
        """
        ...

    def read(self, frame: Frame) -> SignalResult:
        """Read one frame and return its score."""
        ...

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return frames with the scores that they should get."""
        ...
