"""The zero-shot recipe written with plain transformers, and a hostile mix of images to try it on."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.support.clip_models import PHOTOGRAPHS


class Reference:
    """`CLIPModel` in float32, as its documentation uses it."""

    def __init__(self, folder: Path) -> None:
        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = CLIPImageProcessorPil.from_pretrained(folder)

    def texts(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        return dict(self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt"))

    def pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return self.processor(images=list(images), return_tensors="pt")["pixel_values"]

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        """[images, texts]"""
        inputs = {**self.texts(texts), "pixel_values": self.pixels(images)}
        return self.model(**inputs).logits_per_image.softmax(dim=1).numpy()

    @torch.inference_mode()
    def image_embeddings(self, images: Sequence[Image.Image]) -> np.ndarray:
        inputs = {**self.texts(["a"]), "pixel_values": self.pixels(images)}
        return self.model(**inputs).image_embeds.numpy()

    @torch.inference_mode()
    def text_embeddings(self, texts: Sequence[str]) -> np.ndarray:
        size = self.processor.crop_size["height"]
        inputs = {**self.texts(texts), "pixel_values": torch.zeros(1, 3, size, size)}
        return self.model(**inputs).text_embeds.numpy()


@dataclass(frozen=True)
class Sample:
    """A file, and the picture that a person sees when they open it (its first frame where it moves)."""

    name: str
    data: bytes

    @property
    def seen(self) -> Image.Image:
        """Upright, and with what is transparent laid over white. The rest is Pillow's `convert("RGB")`."""
        return self.renderings[0]

    @property
    def renderings(self) -> list[Image.Image]:
        """The same, and if it has transparency over black and without it: a viewer may show any of them."""
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(self.data)))
        if not image.has_transparency_data:
            return [image.convert("RGB")]
        image = image.convert("RGBA")
        grounds = [Image.new("RGBA", image.size, colour) for colour in ("white", "black")]
        laid = [Image.alpha_composite(ground, image) for ground in grounds]
        return [one.convert("RGB") for one in (*laid, image)]


def photographs() -> list[Sample]:
    paths = sorted(p for p in PHOTOGRAPHS.iterdir() if p.suffix not in (".md", ".gif"))
    return [Sample(path.name, path.read_bytes()) for path in paths]


def synthetic() -> list[Sample]:
    """Noise, gradients, flat colours and odd shapes in all the modes that uploads come in."""
    noise = np.random.default_rng(7)
    samples = []

    def add(name: str, image: Image.Image, format: str = "PNG", **options: object) -> None:
        file = io.BytesIO()
        image.save(file, format, **options)
        samples.append(Sample(name, file.getvalue()))

    def rgb(width: int, height: int) -> Image.Image:
        return Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))

    def smooth(width: int, height: int) -> Image.Image:
        return rgb(max(1, width // 40), max(1, height // 40)).resize(
            (width, height), Image.Resampling.BICUBIC
        )

    for size in (
        (224, 224),
        (64, 64),
        (1, 1),
        (301, 17),
        (17, 301),
        (640, 480),
        (33, 500),
        (1, 300),
        (225, 223),
    ):
        add("noise {}x{}".format(*size), rgb(*size))
    for size in ((500, 400), (400, 500), (1000, 700), (64, 100), (32, 1000)):
        add("smooth {}x{}".format(*size), smooth(*size))
    for colour in ("black", "white", "red", "#123456"):
        add(f"flat {colour}", Image.new("RGB", (120, 90), colour))
    add("grey", smooth(200, 150).convert("L"))
    add("one bit", smooth(200, 150).convert("1"))
    add("palette", smooth(200, 150).quantize(16))
    add("palette gif", smooth(200, 150).quantize(32), "GIF")
    see_through = smooth(200, 150)
    see_through.putalpha(smooth(200, 150).convert("L"))
    add("rgba", see_through)
    add("rgba webp", see_through, "WEBP", lossless=True)
    add("grey with alpha", see_through.convert("LA"))
    add("palette with a transparent colour", smooth(200, 150).quantize(16), transparency=3)
    add("cmyk jpeg", smooth(200, 150).convert("CMYK"), "JPEG")
    add("grey jpeg", smooth(200, 150).convert("L"), "JPEG")
    add("progressive jpeg", smooth(300, 200), "JPEG", progressive=True, quality=70)
    add("webp", smooth(300, 200), "WEBP", quality=70)
    add("bmp", smooth(90, 120), "BMP")
    add("tiff", smooth(90, 120), "TIFF", compression="tiff_lzw")
    for orientation in (2, 3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        add(f"exif orientation {orientation}", smooth(300, 180), "JPEG", exif=exif)
    return samples
