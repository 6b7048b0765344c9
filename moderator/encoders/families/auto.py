"""Further dual encoders of the transformers library: MetaCLIP 2, ALIGN, AltCLIP, Chinese-CLIP, ...

Nothing is taken on trust: what the model's own forward makes of a picture and two texts has to be what this
encoder makes of them, or the model is refused.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer

from moderator.encoders.families.transformers import TextReading, TransformersEncoder
from moderator.encoders.preprocessing import Preprocessing, read_image_processor
from moderator.encoders.weights import Source

#: Kinds of model that have a family of their own.
_OTHERS = {"clip": "clip:", "siglip": "siglip:", "siglip2": "siglip:"}
#: Largest difference of a logit from the model's own, as a share of the scale, by bytes of a number.
_LOGIT_TOLERANCE = {4: 1e-4, 2: 0.05}


class AutoEncoder(TransformersEncoder):
    """A model with `get_image_features`, `get_text_features` and one temperature."""

    family = "auto"
    text_inputs = ("input_ids", "attention_mask", "token_type_ids")

    def check_config(self, config: Any) -> None:
        """Anything with two towers that has no family of its own."""
        if other := _OTHERS.get(config.model_type):
            raise ValueError(f"it is a model of the kind {config.model_type!r}; name it with {other}")
        if not hasattr(config, "text_config") or not hasattr(config, "vision_config"):
            raise ValueError(
                f"a model of the kind {config.model_type!r} has not both a text and an image tower"
            )

    def read_texts(self, source: Source, config: Any) -> TextReading:
        """As many tokens as there are positions, or fewer where the tokenizer says so."""
        tokenizer = AutoTokenizer.from_pretrained(source.name, trust_remote_code=False, **source.pin)
        return TextReading(tokenizer, min(_positions(self._model, config), int(tokenizer.model_max_length)))

    def read_preprocessing(self, source: Source, config: Any) -> Preprocessing:
        """What the image processor's configuration says."""
        # With torchvision installed, transformers would otherwise choose another processor, with other rounding.
        processor = AutoImageProcessor.from_pretrained(
            source.name, backend="pil", trust_remote_code=False, **source.pin
        )
        return read_image_processor(processor)

    def scale_and_bias(self, model: Any) -> tuple[float, float]:
        """logit = exp(logit_scale) * cosine, or cosine / temperature where the model has that instead (ALIGN)."""
        with torch.inference_mode():
            if isinstance(getattr(model, "logit_scale", None), torch.Tensor):
                return float(model.logit_scale.float().exp()), 0.0
            if isinstance(getattr(model, "temperature", None), torch.Tensor):
                return 1 / float(model.temperature.float()), 0.0
        raise ValueError("it has neither logit_scale nor temperature, so it is no dual encoder")

    @torch.inference_mode()
    def check_loaded(self) -> None:
        """Compare with the model's own forward.

        Raises:
            ValueError: the logits differ, or the model cannot be called like this.
        """
        size = self.image_size
        pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        batch = torch.from_numpy(pixels).to(self._device)
        texts = ["a photo of a cat", "two houses by a lake"]
        try:
            outputs = self._model(pixel_values=self._tower.normalise(batch), **self._tokenize(texts))
            theirs = outputs.logits_per_image.float().cpu().numpy()
            ours = self.scale * self._tower(batch).cpu().numpy() @ self.embed_texts(texts).T + self.bias
        except (AttributeError, TypeError, IndexError) as error:
            raise ValueError(f"it cannot be called as a dual encoder: {error}") from error
        share = float(np.abs(theirs - ours).max()) / self.scale
        if ours.shape != theirs.shape or not share <= _LOGIT_TOLERANCE[self._model.dtype.itemsize]:
            raise ValueError(
                f"the model's own logits differ by {share:.2g} of the scale from cosine similarity, so its scores "
                "cannot be reproduced"
            )


def _positions(model: Any, config: Any) -> int:
    """Most tokens that there are positions for. RoBERTa's kind numbers positions from behind its padding index."""
    count = int(config.text_config.max_position_embeddings)
    for name, module in model.named_modules():
        table = name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        if table and module.padding_idx is not None and module.num_embeddings == count:
            return count - int(module.padding_idx) - 1
    return count
