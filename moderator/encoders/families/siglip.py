"""SigLIP and SigLIP 2 (at a fixed resolution) through the transformers library.

They were trained with a sigmoid per pair of picture and text, so a logit has a bias, and the rule `sigmoid`
reads a prompt's probability on its own (Zhai et al., 2023, "Sigmoid Loss for Language Image Pre-Training").
Texts were padded to 64 tokens on the right, and padding was not masked: the text tower reads its vector off the
last position. SigLIP 1 dropped punctuation and case, which its tokenizer does; SigLIP 2 was trained on
lower-cased text (Tschannen et al., 2025), which the tokenizers of its checkpoints leave to their users.
"""

from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from moderator.encoders.families.transformers import TextReading, TransformersEncoder
from moderator.encoders.preprocessing import Preprocessing, read_usual
from moderator.encoders.weights import Source
from moderator.errors import EncoderUnknown


class SiglipEncoder(TransformersEncoder):
    """A `SiglipModel`. Same numbers as `SiglipProcessor` (PIL, `padding="max_length"`) and `SiglipModel`.

    Raises:
        EncoderUnknown: the tokenizer of SigLIP 1 needs packages that are not installed.
        WeightsInvalid: there is no such model, or it cannot be loaded.
    """

    family = "siglip"
    text_inputs = ("input_ids",)

    def check_config(self, config: Any) -> None:
        """Only `siglip`, which is what SigLIP 2 at a fixed resolution calls itself, too."""
        if config.model_type == "siglip2":
            raise ValueError(
                "it takes pictures of any shape (NaFlex), which is not supported; choose a checkpoint with a fixed "
                "resolution, such as google/siglip2-base-patch16-224"
            )
        if config.model_type != "siglip":
            raise ValueError(
                f"it is a model of the kind {config.model_type!r}, not 'siglip'; try clip: or auto:"
            )

    def read_texts(self, source: Source, config: Any) -> TextReading:
        """64 tokens, padded on the right."""
        named = get_tokenizer_config(source.name, **source.pin).get("tokenizer_class")
        first = named in (None, "SiglipTokenizer")
        if first and not (find_spec("sentencepiece") and find_spec("google.protobuf")):
            raise EncoderUnknown(
                f"siglip:{source.label} has the tokenizer of SigLIP 1, which needs further packages: "
                "pip install 'moderator[siglip]'"
            )
        tokenizer = AutoTokenizer.from_pretrained(source.name, trust_remote_code=False, **source.pin)
        tokenizer.padding_side = "right"
        return TextReading(
            tokenizer, int(config.text_config.max_position_embeddings), padded=True, lower=not first
        )

    def read_preprocessing(self, source: Source, config: Any) -> Preprocessing:
        """Resize to a square, whatever the shape, scale by 1/255, normalise."""
        processor = SiglipImageProcessorPil.from_pretrained(source.name, **source.pin)
        return read_usual(processor, config.vision_config.image_size, squash=True)

    def scale_and_bias(self, model: Any) -> tuple[float, float]:
        """logit = exp(logit_scale) * cosine + logit_bias."""
        with torch.inference_mode():
            return float(model.logit_scale.float().exp()), float(model.logit_bias.float())
