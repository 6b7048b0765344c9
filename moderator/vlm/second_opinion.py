"""`second-opinion`: a vision-language model is asked about images in review, in the policy's own words."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from PIL import Image
from pydantic import Field, StringConstraints

from moderator.errors import SignalFailed
from moderator.signals.batched import BatchRunner
from moderator.signals.bounded_image import bounded
from moderator.signals.question import Question
from moderator.signals.signal import Context, Frame, Options, SignalResult
from moderator.vlm.model_folder import ModelFolder
from moderator.vlm.model_signal import ModelSignal, require_packages
from moderator.vlm.wording import shieldgemma_policy, yes_no_prompt

if TYPE_CHECKING:  # policies with second opinions are read without the model libraries
    from moderator.vlm.guards import Guard

#: Sides in pixels of the image that the model gets; its processor resizes it again. Long images are reduced, and thin
#: ones padded, so that none has more than these allow.
MAX_SIDE, MIN_SIDE = 1344, 64
#: Shorter side that is enough: the input of ShieldGemma 2.
ENOUGH_PIXELS = 896
#: Most categories asked about for one image; others stay in review.
QUESTIONS_MAX = 8

CategoryName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
OwnWords = Annotated[str, StringConstraints(min_length=1, max_length=600)]
ClearsBelow = Annotated[float, Field(strict=True, gt=0, le=0.5)]


class SecondOpinionOptions(Options):
    """Options of a second opinion: for which share of the traffic, in what time, what about, what it may clear."""

    share: Annotated[float, Field(strict=True, gt=0, le=1)]
    """Most images that are asked about, as a share of all that the policy judges. Others stay in review."""
    seconds: Annotated[float, Field(strict=True, gt=0, le=120)] = 20.0
    """Time limit for an image, with the time that it waits for the model. Then it stays in review."""
    batch: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    """Most images in one forward pass."""
    questions: Annotated[dict[CategoryName, OwnWords], Field(max_length=100)] = Field(default_factory=dict)
    """What a category does not allow, in other words than its prompts, or for one that has none."""
    clears: Annotated[dict[CategoryName, ClearsBelow], Field(max_length=100)] = Field(default_factory=dict)
    """The probability below which an answer lifts a category's review. No other category is ever cleared."""


class SecondOpinion(ModelSignal):
    """Asks a vision-language model about images that other categories put into review, for a share of the traffic.

    Score: the highest probability that the image shows what one of these categories does not allow. Facts: the
    categories asked about, the answers, which reviews they lift, the model.
    """

    options_type: ClassVar[type[Options]] = SecondOpinionOptions
    enough_pixels: ClassVar[int | None] = ENOUGH_PIXELS
    after_judging: ClassVar[bool] = True

    def __init__(self, options: SecondOpinionOptions, context: Context) -> None:
        require_packages()
        self._folder = ModelFolder.of("second-opinion", context)
        self._host = context.host
        self._options = options
        self.share = options.share
        self._guard: Guard | None = None
        self._phrase = shieldgemma_policy if self._folder.model_type == "shieldgemma2" else yes_no_prompt
        self._runner: BatchRunner[tuple[Image.Image, str], float] = BatchRunner(
            self._answer, self._folder.name, options.batch, key=lambda item: item[1]
        )

    def load(self) -> None:
        """Load the model, unless another signal has loaded it.

        Raises:
            SignalFailed: its files are not the pinned ones, it needs too much memory, or cannot be loaded.
            SettingsError: the device is unknown or missing.
        """
        from moderator.vlm.guards import load_guard

        self._guard = load_guard(self._folder, self._host)

    def read(self, frame: Frame) -> SignalResult:
        """Ask about one frame; see `read_all`."""
        return self.read_all([frame])

    def read_all(self, frames: Sequence[Frame]) -> SignalResult:
        """Ask the questions about all frames of an image: in each category, the highest probability counts.

        Raises:
            SignalTimeout, SignalBusy: there is no answer in time.
            SignalFailed: the model fails, or gave no probability.
        """
        questions = [q for q in frames[0].questions if q.unsafe or q.category in self._options.questions]
        asked = {question.category: self._text(question) for question in questions[:QUESTIONS_MAX]}
        if not asked:
            return SignalResult(0.0, {"asked": [], "model": self._folder.name}, unsure=True)
        images = [bounded(frame.image, MAX_SIDE, MIN_SIDE) for frame in frames if frame.image is not None]
        items = [(image, text) for text in asked.values() for image in images]
        given = self._runner.map(items, self._options.seconds)
        answers = {name: max(given[n * len(images) : (n + 1) * len(images)]) for n, name in enumerate(asked)}
        clears = frozenset(
            name for name, answer in answers.items() if answer < self._options.clears.get(name, 0.0)
        )
        facts: dict[str, Any] = {
            "asked": list(asked),
            "answers": {name: round(answer, 4) for name, answer in answers.items()},
            "cleared": sorted(clears),
            "model": self._folder.name,
        }
        return SignalResult(max(answers.values()), facts, clears=clears)

    def _text(self, question: Question) -> str:
        return self._phrase(question, self._options.questions.get(question.category))

    def _answer(self, items: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Ask one question about several images; runs in the runner's thread."""
        if self._guard is None:
            self.load()
        assert self._guard is not None
        answers = self._guard([image for image, _ in items], items[0][1])
        if not all(math.isfinite(answer) and 0 <= answer <= 1 for answer in answers):
            raise SignalFailed(f"{self._folder.name} gave no probability; try MODERATOR_SIGNAL_DTYPE=float32")
        return answers
