"""`detector`: finds and counts things by words, also small ones (OWLv2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import Field, StringConstraints

from moderator.errors import SignalFailed, SignalTimeout
from moderator.signals.batched import BatchRunner
from moderator.signals.bounded_image import bounded
from moderator.signals.signal import Context, Frame, Options, SignalResult
from moderator.vlm.boxes import FoundBox, distinct
from moderator.vlm.model_folder import ModelFolder
from moderator.vlm.model_signal import ModelSignal, require_packages

if TYPE_CHECKING:  # policies with detectors are read without the model libraries
    from moderator.vlm.owlv2 import Owlv2

#: Longer side in pixels of the image that the model's processor gets, which pads it to a square and resizes that.
MAX_SIDE = 1536
#: Most boxes in the verdict.
BOXES_SHOWN_MAX = 20


class DetectorOptions(Options):
    """Options of a detector: what it searches for, how many there have to be, and from which score on a box counts."""

    words: Annotated[
        tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)], ...],
        Field(min_length=1, max_length=50),
    ]
    """What is searched for: "a person", "a cigarette"."""
    at_least: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """How many there have to be, of all words together."""
    threshold: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.1
    """Score below which a box does not count."""
    overlap: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5
    """Boxes that overlap by more (intersection over union) are one thing."""
    seconds: Annotated[float, Field(strict=True, gt=0, le=60)] = 10.0
    """Time limit for an image, with the time that it waits for the model."""
    batch: Annotated[int, Field(strict=True, ge=1, le=32)] = 4
    """Most images in one forward pass."""
    on_timeout: Literal["error", "review"] = "error"
    """Outcome for an image that takes longer: the signal fails, or people review the image."""


class Detector(ModelSignal):
    """Finds and counts things by words, also small ones, and says where they are.

    Score: that of the box that completes `at_least`, the best one first, else 0. Facts: count, boxes (x, y, width and
    height in pixels of the upright picture), the model.
    """

    options_type: ClassVar[type[Options]] = DetectorOptions
    enough_pixels: ClassVar[int | None] = 1008

    def __init__(self, options: DetectorOptions, context: Context) -> None:
        require_packages()
        self._folder = ModelFolder.of("detector", context)
        if self._folder.model_type != "owlv2":
            raise SignalFailed(
                f"{self._folder.name} is a {self._folder.model_type}; the detector takes an owlv2"
            )
        self._host = context.host
        self._options = options
        self._model: Owlv2 | None = None
        self._runner: BatchRunner[Image.Image, list[FoundBox]] = BatchRunner(
            self._detect, self._folder.name, options.batch
        )

    def load(self) -> None:
        """Load the model, unless another signal has loaded it, and embed the words.

        Raises:
            SignalFailed: its files are not the pinned ones, it takes too much memory or cannot be loaded, or a word
                is too long for it.
            SettingsError: the device is unknown or missing.
        """
        from moderator.vlm.owlv2 import load_owlv2

        self._model = load_owlv2(self._folder, self._host)
        self._model.check_words(self._options.words)

    def read(self, frame: Frame) -> SignalResult:
        """Search one frame; see `read_all`."""
        return self.read_all([frame])

    def read_all(self, frames: Sequence[Frame]) -> SignalResult:
        """Search all frames of an image; the one with the highest score counts.

        Raises:
            SignalTimeout: it takes too long, and `on_timeout` is `error`.
            SignalBusy, SignalFailed: the model does not answer, or fails.
        """
        images = [bounded(frame.image, MAX_SIDE, 1) for frame in frames if frame.image is not None]
        try:
            found = self._runner.map(images, self._options.seconds)
        except SignalTimeout as error:
            if self._options.on_timeout == "error":
                raise
            return SignalResult(0.0, {"timed_out": str(error), "model": self._folder.name}, unsure=True)
        return max(map(self._result, frames, found), key=lambda result: result.score)

    def _result(self, frame: Frame, found: Sequence[FoundBox]) -> SignalResult:
        assert frame.image is not None
        kept = distinct(found, self._options.overlap)
        size = frame.size or frame.image.size
        score = kept[self._options.at_least - 1].score if len(kept) >= self._options.at_least else 0.0
        facts: dict[str, Any] = {
            "count": len(kept),
            "boxes": [one.to_facts(size, self._options.words) for one in kept[:BOXES_SHOWN_MAX]],
            "model": self._folder.name,
        }
        return SignalResult(score, facts)

    def _detect(self, images: Sequence[Image.Image]) -> list[list[FoundBox]]:
        if self._model is None:
            self.load()
        assert self._model is not None
        return self._model(images, self._options.words, self._options.threshold)
