"""Turn a picture into a model's input bit for bit as the model's own library does."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from moderator.encoders.encoder import Pixels
from moderator.images.resize import Resize


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop the centre, and then `value = (pixel * factor - mean) / std` in each channel.

    `squash` resizes to a square of `resize` pixels whatever the shape; else `resize` is the shortest edge.
    `rounded` crops at rounded offsets, as torchvision does; else they are rounded down.
    """

    resize: int
    crop: int
    resample: Image.Resampling
    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1 / 255
    squash: bool = False
    rounded: bool = False

    @property
    def geometry(self) -> Resize:
        """The part that is applied to the picture, before there are tensors."""
        return Resize(self.resize, self.crop, self.resample, self.squash, self.rounded)

    def __call__(self, image: Image.Image) -> Pixels:
        """Resize and crop an RGB image: uint8 [crop, crop, 3]."""
        return self.geometry(image)

    def __str__(self) -> str:
        """Name everything that changes an embedding."""
        verb = "squash" if self.squash else "resize"
        parts = [
            f"{verb} {self.resize} {self.resample.name.lower()}",
            f"crop {self.crop}{' rounded' if self.rounded else ''}",
            f"mean {list(self.mean)}",
            f"std {list(self.std)}",
        ]
        if abs(self.factor * 255 - 1) > 1e-6:
            parts.insert(2, f"factor {self.factor:.6g}")
        return ", ".join(parts)


def read_image_processor(processor: Any) -> Preprocessing:
    """Read the steps of an image processor of transformers, if a `Preprocessing` can express them all.

    Args:
        processor: one of the Pillow-based image processors.

    Raises:
        ValueError: it does something else, which the message names.
    """
    from transformers.image_processing_backends import PilBackend
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    efficientnet = type(processor) is EfficientNetImageProcessorPil
    if not efficientnet:
        for step in ("_preprocess", "resize", "center_crop", "rescale", "normalize", "process_image"):
            if getattr(type(processor), step, None) is not getattr(PilBackend, step):
                raise ValueError(f"its image processor {type(processor).__name__} has a {step} of its own")
    if not processor.do_resize or not processor.do_rescale or getattr(processor, "do_pad", None):
        raise ValueError("its preprocessing is not: resize, crop, scale, normalise")

    size = processor.size
    shortest = size["shortest_edge"] if not (size.get("longest_edge") or size.get("height")) else None
    if shortest is None and (not size.get("height") or size["height"] != size["width"]):
        raise ValueError(f"it resizes to {dict(size)}, which is neither a square nor a shortest edge")
    resize = int(shortest or size["height"])
    crop = resize
    if processor.do_center_crop:
        crop = int(processor.crop_size["height"])
        if crop != processor.crop_size["width"]:
            raise ValueError(f"it crops to {dict(processor.crop_size)}, which is no square")
    if shortest is None and crop > resize:
        raise ValueError(f"it resizes to a square of {resize} pixels and then crops {crop}")
    if shortest is not None and not processor.do_center_crop:
        raise ValueError("it resizes the shortest edge and crops nothing, so its inputs differ in shape")

    normalised = processor.do_normalize
    mean = _channels(processor.image_mean if normalised else 0.0)
    std = _channels(processor.image_std if normalised else 1.0)
    if efficientnet:
        mean, std = _efficientnet(processor, mean, std)
    return Preprocessing(
        resize=resize,
        crop=crop,
        resample=Image.Resampling(int(processor.resample)),
        mean=mean,
        std=std,
        factor=float(processor.rescale_factor),
        squash=shortest is None,
    )


def read_usual(processor: Any, size: int, squash: bool) -> Preprocessing:
    """Read the steps of an image processor, if they are those that its family was trained with.

    Args:
        processor: as for `read_image_processor`.
        size: side of the model's input.
        squash: whether it resizes to a square; else it resizes the shortest edge and then crops.

    Raises:
        ValueError: it does something else.
    """
    read = read_image_processor(processor)
    if (
        read.squash is not squash
        or read.crop != size
        or not processor.do_normalize
        or abs(read.factor * 255 - 1) > 1e-6
    ):
        steps = (
            f"resize to {size} x {size}" if squash else f"resize the shortest edge, crop the centre to {size}"
        )
        raise ValueError(f"its preprocessing is not: {steps}, scale by 1/255, normalise")
    return read


def _efficientnet(
    processor: Any, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Apply its two extra steps: subtract 1 after scaling, and divide the result by `image_std` again."""
    if processor.rescale_offset:
        mean = tuple(m + 1 for m in mean)
    if processor.include_top:
        std = tuple(s * top for s, top in zip(std, _channels(processor.image_std), strict=True))
    return mean, std


def _channels(value: Any) -> tuple[float, ...]:
    values = tuple(float(v) for v in value) if isinstance(value, list | tuple) else (float(value),) * 3
    if len(values) != 3:
        raise ValueError(f"it normalises {len(values)} channels, not three")
    return values
