"""`text`: is one of these words written in the picture? Read by RapidOCR (PP-OCRv6); its package holds the models."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from moderator.errors import SignalFailed, SignalTimeout
from moderator.signals.bounded_image import bounded
from moderator.signals.onnx_session import onnx_session
from moderator.signals.signal import Context, Example, Frame, Options, SignalResult
from moderator.signals.words import WordList, parse_words

#: Sides in pixels. Larger images are reduced; smaller ones get a margin, because the detector needs some room.
MAX_SIDE, MIN_SIDE = 2000, 64
#: Longer side of the image that the line detector sees.
DETECT_SIDE_PIXELS = 960
#: Maximum number of lines read between two checks of the clock, and the maximum sum of their width-to-height ratios.
#: Reading takes about a megabyte per unit of ratio: the reader weighs 18,710 characters at every few pixels.
BATCH, RATIO = 6, 100.0
#: Overlap of adjacent parts of a long line, as a ratio: the length of most words.
LINE_OVERLAP_RATIO = 10.0
#: Maximum number of matched words in the verdict.
WORDS_SHOWN_MAX = 5


class TextOptions(Options):
    """Options of text: words, seconds. A file holds further words, one per line."""

    words: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=1000)] = ()
    """Words and phrases to search for."""
    seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Timeout for one frame."""
    on_timeout: Literal["error", "review"] = "error"
    """Outcome for a frame that takes longer, since the unread part may hold anything: the signal fails, or people
    review the frame unless the words read so far block it."""


class Text:
    """Score: confidence of the best line that contains a word, else 0. Facts: words, count of lines, reader."""

    options_type: ClassVar[type[Options]] = TextOptions
    extra: ClassVar[str] = "text"
    needs_file: ClassVar[bool | None] = None
    uses_pixels: ClassVar[bool] = True
    enough_pixels: ClassVar[int | None] = MAX_SIDE
    slow: ClassVar[bool] = True

    def __init__(self, options: TextOptions, context: Context) -> None:
        listed = [*options.words, *(parse_words(context.content) if context.content is not None else ())]
        self._words = WordList(listed)
        self._seconds = options.seconds
        self._on_timeout = options.on_timeout
        try:
            self._reader, self._nothing_found = _load_reader()
            self._name = f"rapidocr {version('rapidocr')}"
        except ImportError as error:
            raise SignalFailed("text needs rapidocr; run: pip install 'moderator[text]'") from error

    def read(self, frame: Frame) -> SignalResult:
        """Read the lines of a frame and search them for the words.

        Raises:
            SignalTimeout: reading took too long, and `on_timeout` is `error`.
        """
        assert frame.image is not None
        lines: list[tuple[str, float]] = []
        timed_out: dict[str, Any] = {}
        try:
            lines.extend(self._lines(np.asarray(bounded(frame.image, MAX_SIDE, MIN_SIDE))[:, :, ::-1]))
        except SignalTimeout as error:
            if self._on_timeout == "error":
                raise
            timed_out = {"timed_out": str(error)}
        # A phrase may continue on the next line.
        pairs = [(f"{a} {b}", min(p, q)) for (a, p), (b, q) in pairwise(lines)]
        found: dict[str, float] = {}
        for text, confidence in (*lines, *pairs):
            for word in self._words.find(text):
                found[word] = max(found.get(word, 0.0), confidence)
        best = sorted(found, key=lambda word: -found[word])[:WORDS_SHOWN_MAX]
        facts = {"words": [word[:64] for word in best], "lines": len(lines), "reader": self._name}
        score = max(found.values(), default=0.0)
        return SignalResult(score, {**facts, **timed_out}, unsure=bool(timed_out))

    def _lines(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[str, float]]:
        """Yield text and confidence of each line, from top to bottom. Pixels: uint8 [h, w, 3], BGR."""
        end = time.monotonic() + self._seconds
        try:
            crops, _ = self._reader.detect_and_crop(pixels, {})
        except self._nothing_found:
            return
        at, lines_in_all = 0, [part for crop in crops for part in _parts(crop)]
        for portion in _portions(lines_in_all):
            if time.monotonic() > end:
                raise SignalTimeout(
                    f"reading text took more than {self._seconds:g} s ({at} of {len(lines_in_all)} lines were read); "
                    "raise 'seconds' of the signal, or have people look at such images: 'on_timeout: review'"
                )
            at += len(portion)
            upright, _ = self._reader.cls_and_rotate(portion)
            lines = self._reader.recognize_txt(upright)
            yield from (
                (text, float(score)) for text, score in zip(lines.txts, lines.scores, strict=True) if text
            )

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return a picture of a text, with words that it contains and words that it does not."""
        drawn = Frame(_drawn("FREE Money\nnow at once"))
        return [
            Example({"words": ["free money"]}, drawn, 0.7, 1),
            Example({}, drawn, 0.7, 1, b"# a list\nmoney NOW\n"),
            Example({"words": ["mone", "ree", "cash"]}, drawn, 0, 0),
            Example({"words": ["money"]}, Frame(Image.new("RGB", (300, 200), "white")), 0, 0),
        ]


@cache
def _load_reader() -> tuple[Any, type[Exception]]:
    """Return the reader, shared by all word lists, and the error that it raises if there is no text."""
    import rapidocr
    from rapidocr.main import RapidOCRError

    models = Path(rapidocr.__file__).parent / "models"
    settings: dict[str, Any] = {
        "Global.log_level": "critical",
        # Images are already read in parallel.
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        # The default would enlarge a long thin image until its shorter side is 736.
        "Det.limit_type": "max",
        "Det.limit_side_len": DETECT_SIDE_PIXELS,
        # With a path, a missing file is an error. Without one it would be downloaded.
        "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
        "Cls.model_path": str(models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
        "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
    }
    reader = rapidocr.RapidOCR(params=settings)
    # The reader loads its models on first use, and no image should wait for that or fail because of it.
    nothing = np.zeros((MIN_SIDE, MIN_SIDE, 3), dtype=np.uint8)
    with suppress(RapidOCRError):
        reader.detect_and_crop(nothing, {})
    reader.cls_and_rotate([nothing])
    reader.recognize_txt([nothing])
    for name, part in (("Det", reader.text_det), ("Cls", reader.text_cls), ("Rec", reader.text_rec)):
        part.session.session = onnx_session(settings[f"{name}.model_path"])
    return reader, RapidOCRError


def _parts(crop: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield a line, uint8 [h, w, 3], as a whole, or in overlapping parts if it is very long."""
    height, width = crop.shape[:2]
    if width <= RATIO * height:
        yield crop
        return
    for left in range(
        0, width - round(LINE_OVERLAP_RATIO * height), round((RATIO - LINE_OVERLAP_RATIO) * height)
    ):
        yield crop[:, left : left + round(RATIO * height)]


def _portions(crops: Sequence[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield lines in order, in portions as large as the bounds allow: the reader pads all to the widest."""
    portion: list[NDArray[np.uint8]] = []
    widest = 0.0
    for crop in crops:
        ratio = crop.shape[1] / crop.shape[0]
        if portion and (len(portion) == BATCH or (len(portion) + 1) * max(widest, ratio) > RATIO):
            yield portion
            portion, widest = [], 0.0
        portion.append(crop)
        widest = max(widest, ratio)
    if portion:
        yield portion


def _drawn(text: str) -> Image.Image:
    """Draw black text on white."""
    image = Image.new("RGB", (480, 160), "white")
    ImageDraw.Draw(image).multiline_text((20, 20), text, "black", ImageFont.load_default(40))
    return image
