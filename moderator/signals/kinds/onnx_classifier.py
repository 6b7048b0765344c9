"""`onnx-classifier`: the probability of some labels of a classifier in an ONNX file, on the CPU."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from moderator.errors import SignalFailed
from moderator.signals.onnx_session import onnx_session
from moderator.signals.signal import Context, Example, Frame, Options, SignalResult

Three = tuple[float, float, float]


class OnnxClassifierOptions(Options):
    """Options of a classifier: how its input is prepared, and which of its outputs count."""

    labels: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    """A name for each output, in order."""
    unsafe: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    """The labels whose probabilities are summed."""
    size: Annotated[int, Field(strict=True, ge=8, le=1024)] = 224
    """Side of the square input."""
    resize: Annotated[int, Field(strict=True, ge=8, le=1024)] | None = None
    """Length to which both sides are resized before the centre is cropped; default: `size`."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the input's axes."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours."""
    mean: Three = (0.0, 0.0, 0.0)
    """Subtracted from the values 0 to 255, in the order of `channels`."""
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ] = (1.0, 1.0, 1.0)
    """Divisor of the result."""
    softmax: bool = False
    """Whether the model returns logits, not probabilities."""


class OnnxClassifier:
    """Score: the summed probability of the unsafe labels. Facts: the most probable label and its probability."""

    options_type: ClassVar[type[Options]] = OnnxClassifierOptions
    extra: ClassVar[str] = "onnx"
    needs_file: ClassVar[bool | None] = True
    uses_pixels: ClassVar[bool] = True
    enough_pixels: ClassVar[int | None] = 512
    slow: ClassVar[bool] = False

    def __init__(self, options: OnnxClassifierOptions, context: Context) -> None:
        if missing := sorted(set(options.unsafe) - set(options.labels)):
            raise SignalFailed(f"'{missing[0]}' in 'unsafe' is none of the labels; correct it")
        try:
            self._session = onnx_session(context.content or b"")
        except ImportError as error:
            raise SignalFailed(
                "onnx-classifier needs onnxruntime; run: pip install 'moderator[onnx]'"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._options = options

    def read(self, frame: Frame) -> SignalResult:
        """Classify a frame."""
        assert frame.image is not None
        (output, *_) = self._session.run(None, {self._input: to_input(frame.image, self._options)})
        values = np.asarray(output, dtype=np.float64).reshape(-1)
        labels = self._options.labels
        if len(values) != len(labels):
            raise SignalFailed(f"the file has {len(values)} outputs and 'labels' {len(labels)}; correct them")
        if self._options.softmax:
            values = np.exp(values - values.max())
            values /= values.sum()
        elif (values < -1e-3).any() or (values > 1 + 1e-3).any():
            raise SignalFailed("the file gives no probabilities; write 'softmax: true' if they are logits")
        score = sum(
            value for label, value in zip(labels, values, strict=True) if label in self._options.unsafe
        )
        top = int(np.argmax(values))
        # Sums of rounded probabilities may exceed 1; NaN stays NaN and is refused.
        facts = {"top": labels[top][:100], "probability": round(float(values[top]), 4)}
        return SignalResult(float(np.clip(score, 0, 1)), facts)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return frames for a tiny model whose two outputs are the softmax of the mean red and the mean blue."""
        options = {
            "labels": ["red", "blue"],
            "unsafe": ["red"],
            "size": 8,
            "std": [25, 25, 25],
            "softmax": True,
        }
        model = bytes.fromhex(_EXAMPLE_MODEL)
        red, blue = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (40, 20), "blue")
        return [
            Example(options, Frame(red), 0.99, 1, model),
            Example(options, Frame(blue), 0, 0.01, model),
            Example({**options, "channels": "bgr"}, Frame(blue), 0.99, 1, model),
        ]


def to_input(image: Image.Image, options: OnnxClassifierOptions) -> NDArray[np.float32]:
    """Resize (bilinear), crop the centre, normalise -> float32 [1, 3, size, size] or [1, size, size, 3]."""
    side = max(options.resize or options.size, options.size)
    start = (side - options.size) // 2
    resized = image.resize((side, side), Image.Resampling.BILINEAR)
    crop = resized.crop((start, start, start + options.size, start + options.size))
    values = np.asarray(crop, dtype=np.float32)
    if options.channels == "bgr":
        values = values[:, :, ::-1]
    mean, std = np.array(options.mean, dtype=np.float32), np.array(options.std, dtype=np.float32)
    values = np.divide(values - mean, std, dtype=np.float32)
    if options.layout == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None])


_EXAMPLE_MODEL = (
    "08083a9b010a190a017812016d2211476c6f62616c41766572616765506f6f6c0a0f0a016d1201662207466c61747465"
    "6e0a110a01660a017712017922064d61744d756c1201672a230803080210014201774a180000803f0000000000000000"
    "00000000000000000000803f5a1c0a017812170a15080112110a0312016e0a0208030a0208080a02080862140a017912"
    "0f0a0d080112090a0312016e0a02080242040a00100d"
)
