"""From the bytes of a file to the model's input, with the readings of signals that use pixels."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from moderator.errors import ours
from moderator.images.pool import DecoderPool
from moderator.images.prepare import WHOLE_ALONE, PreparedImage, PreprocessSpec, prepare
from moderator.images.process import Reason
from moderator.images.resize import Pixels
from moderator.policies.catalogue import Selection
from moderator.signals.evaluator import (
    Moment,
    Outcome,
    Readings,
    Signals,
    by_side,
    due,
    refuse_failed,
)
from moderator.signals.question import Question, opinion_key
from moderator.signals.signal import Frame
from moderator.signals.signal_calls import Specification
from moderator.verdicts import ImageFacts
from moderator.view import View, ViewPlan

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, ready for the model."""

    facts: ImageFacts
    pixels: Pixels
    """uint8 [views, image_size, image_size, 3]"""
    views: tuple[View, ...]
    """What each row of the pixels, or of the embeddings, shows."""
    selection: Selection | None = None
    """The policies that judge, if known."""
    readings: Readings = field(default_factory=dict)
    """Readings of the deciding policy's signals that use pixels."""
    signal_seconds: float = 0.0
    """Time spent on these signals, included in the time of `prepare` and `read_slowly`."""

    @property
    def needs_slow_reading(self) -> bool:
        """Whether `Preparer.read_slowly` has anything to read."""
        return self.selection is not None and reads_slowly(self.selection)

    def shadow_signals(self, moment: Moment) -> list[Specification]:
        """Return the signals that use pixels and that only the shadows have."""
        if self.selection is None or not self.selection.shadows:
            return []
        decided = {spec.key for spec in self.selection.decides.signals}
        return [spec for spec in due(self.selection.shadows, moment) if spec.key not in decided]


def reads_slowly(selection: Selection) -> bool:
    """Return whether the deciding policy has slow signals that use pixels."""
    return bool(due([selection.decides], Moment.SLOWLY))


def needs_pixels(selection: Selection) -> bool:
    """Return whether a signal of the deciding policy uses the image itself."""
    return bool(due([selection.decides], Moment.PIXELS)) or reads_slowly(selection)


def asks_opinions(selection: Selection) -> bool:
    """Return whether the deciding policy may ask for a second opinion, which needs the file again."""
    return bool(due([selection.decides], Moment.REVIEW))


class Preparer:
    """Decodes files, resizes them to the model's input, and has signals read them. Knows no model. Thread-safe.

    Args:
        spec: how files are prepared.
        signals: creates and reads the signals that use pixels.
        processes: number of confined decoding processes, which a hostile image cannot escape; `close` ends them.
            0: decode in the calling thread.
        memory: bytes of address space for each process.
        on_decoder_lost: called with the reason when a decoding process had to be replaced.

    Raises:
        DecoderUnavailable: the processes do not start.
    """

    def __init__(
        self,
        spec: PreprocessSpec,
        signals: Signals,
        *,
        processes: int = 0,
        memory: int = 0,
        on_decoder_lost: Callable[[Reason], None] = lambda reason: None,
    ) -> None:
        self.spec = spec
        self._signals = signals
        self._pool = DecoderPool(spec, processes, memory, on_decoder_lost) if processes else None

    def close(self) -> None:
        """End the decoding processes."""
        if self._pool is not None:
            self._pool.close()

    def prepare(self, data: bytes, selection: Selection | None = None) -> Prepared:
        """Decode an image file and resize its frames and their views to the model's input.

        The deciding policy's signals that use pixels are read here, so that no decoded image waits for the model;
        slow ones are left to `read_slowly`.

        Args:
            data: the file.
            selection: the policies that will judge the image. Without it, only whole frames are prepared, and policies
                with such signals cannot judge it.

        Raises:
            ImageError: the file is not an image, is broken, exceeds a limit, or killed its decoding process.
            SignalFailed: a signal cannot be read.
        """
        sides = by_side(due([selection.decides], Moment.PIXELS)) if selection is not None else {}
        image = self._decode(data, self.plan_of(selection), next(iter(sides), 0))
        facts = ImageFacts(
            sha256=sha256(data).hexdigest(),
            width=image.width,
            height=image.height,
            format=image.format,
            frames=image.coverage.judged,
            frames_total=image.coverage.total,
            frames_unseen=image.coverage.unseen,
            truncated=image.coverage.truncated,
            views=len(image.views),
            views_left_out=image.left_out,
        )
        prepared = Prepared(facts, image.pixels, image.views, selection)
        if selection is None or not sides:
            return prepared
        start = time.perf_counter()
        readings = self._read(data, sides, image)
        refuse_failed(selection.decides, readings)  # fail before the model runs
        return replace(prepared, readings=readings, signal_seconds=time.perf_counter() - start)

    def read_slowly(self, data: bytes, prepared: Prepared) -> Prepared:
        """Read the deciding policy's slow signals.

        Args:
            data: the file, which is decoded again, so that waiting images hold only the small file.
            prepared: the result of `prepare`.

        Raises:
            ImageError: as `prepare`.
            SignalFailed: a signal cannot be read.
        """
        assert prepared.selection is not None
        decides = prepared.selection.decides
        start = time.perf_counter()
        readings = self._read(data, by_side(due([decides], Moment.SLOWLY)))
        refuse_failed(decides, readings)
        return replace(
            prepared,
            readings={**prepared.readings, **readings},
            signal_seconds=prepared.signal_seconds + time.perf_counter() - start,
        )

    def read_for_shadows(self, data: bytes, specs: Iterable[Specification]) -> Readings:
        """Read signals of shadows, for the judge. Never raises: errors become the outcomes of the signals."""
        readings: dict[str, Outcome] = {}
        for side, some in by_side(specs).items():
            try:
                readings.update(self._read(data, {side: some}))
            except Exception as error:
                readings.update(dict.fromkeys((spec.key for spec in some), ours(error)))
        return readings

    def read_opinions(
        self, data: bytes, specs: Iterable[Specification], questions: tuple[Question, ...]
    ) -> Readings:
        """Read signals that give a second opinion on an image in review, by their `opinion_key`.

        Never raises: errors become the outcomes of the signals.
        """
        readings: dict[str, Outcome] = {}
        for side, some in by_side(specs).items():
            try:
                read = self._read(data, {side: some}, questions=questions)
            except Exception as error:
                read = dict.fromkeys((spec.key for spec in some), ours(error))
            readings.update({opinion_key(key, questions): outcome for key, outcome in read.items()})
        return readings

    def picture(self, data: bytes, side: int) -> "Image":
        """Return the first picture of a file (RGB, upright), for people to look at.

        Args:
            data: the file.
            side: pixels that suffice for the shorter side: a large JPEG is decoded at a reduced size.

        Raises:
            ImageError: as `prepare`.
        """
        return self._decode(data, WHOLE_ALONE, side).pictures[0]

    def recall(self, facts: ImageFacts, views: tuple[View, ...], selection: Selection) -> Prepared:
        """Return an image whose embeddings are known: everything needed besides them, without its pixels."""
        size = self.spec.resize.crop
        return Prepared(facts, np.empty((0, size, size, 3), dtype=np.uint8), views, selection)

    def plan_of(self, selection: Selection | None) -> ViewPlan:
        """Return the views that an image is judged in: those that the deciding policy asks for, within the settings."""
        if selection is None:
            return WHOLE_ALONE
        return selection.decides.view_plan(self.spec.max_views)

    def _decode(self, data: bytes, plan: ViewPlan, picture_side: int) -> PreparedImage:
        """Return the model's input and, if requested, pictures; see `moderator.images.prepare.prepare`."""
        if self._pool is None:
            return prepare(data, self.spec, plan, picture_side)
        return self._pool.prepare(data, plan, picture_side)

    def _read(
        self,
        data: bytes,
        sides: Mapping[int, Iterable[Specification]],
        first: PreparedImage | None = None,
        questions: tuple[Question, ...] = (),
    ) -> dict[str, Outcome]:
        """Read each signal in pictures of the size that it needs, so that no result depends on the other signals.

        Args:
            data: the file.
            sides: signals by the shorter side that is enough for them.
            first: the image with the pictures for the first side, if already decoded.
            questions: for signals that give a second opinion.
        """
        readings: dict[str, Outcome] = {}
        for side, specs in sides.items():
            image, first = first or self._decode(data, WHOLE_ALONE, side), None
            size = image.width, image.height
            frames = [Frame(picture, size=size, questions=questions) for picture in image.pictures]
            readings.update(self._signals.read(specs, frames))
        return readings
