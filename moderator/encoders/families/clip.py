"""CLIP models through the transformers library: OpenAI's, MetaCLIP, and OpenCLIP's that were converted."""

from typing import Any

from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from moderator.encoders.families.transformers import TransformersEncoder
from moderator.encoders.preprocessing import Preprocessing, read_usual
from moderator.encoders.weights import Source


class ClipEncoder(TransformersEncoder):
    """A `CLIPModel`. Same numbers as `CLIPProcessor` (PIL) and `CLIPModel`, within rounding."""

    family = "clip"

    def check_config(self, config: Any) -> None:
        """Only `clip`."""
        if config.model_type != "clip":
            raise ValueError(f"it is a model of the kind {config.model_type!r}, not 'clip'; try auto:")

    def read_preprocessing(self, source: Source, config: Any) -> Preprocessing:
        """Shortest edge, centre crop, scale by 1/255, normalise."""
        processor = CLIPImageProcessorPil.from_pretrained(source.name, **source.pin)
        return read_usual(processor, config.vision_config.image_size, squash=False)
