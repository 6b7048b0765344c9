"""OWLv2: boxes of things named by words (Minderer et al., 2023, "Scaling Open-Vocabulary Object Detection")."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Owlv2ForObjectDetection

from moderator.errors import SignalFailed
from moderator.signals.signal import ModelHost
from moderator.vlm.boxes import FoundBox
from moderator.vlm.model_folder import LOADED_MODELS, ModelFolder
from moderator.vlm.model_loading import LOCAL, load_model, placement, weight_bytes

#: Most boxes kept of an image, best first: a count beyond says nothing more.
BOXES_MAX = 300


class Owlv2:
    """The model with its processor. Thread-safe: one caller at a time."""

    def __init__(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> None:
        self._name = folder.name
        self._device, self._dtype = device, dtype
        self._model = load_model(Owlv2ForObjectDetection, folder, device, dtype)
        self._processor = AutoImageProcessor.from_pretrained(str(folder.path), backend="pil", **LOCAL)
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder.path), **LOCAL)
        self._queries: dict[tuple[str, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self._turn = Lock()

    def check_words(self, words: Sequence[str]) -> None:
        """Embed words, which later calls need.

        Raises:
            SignalFailed: a word has more tokens than the model reads.
        """
        with self._turn:
            self._embedded(tuple(words))

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[Image.Image], words: Sequence[str], threshold: float
    ) -> list[list[FoundBox]]:
        """Return what is found in each image (RGB), best first, at most `BOXES_MAX` boxes.

        Raises:
            SignalFailed: the model returned no numbers.
        """
        with self._turn:
            queries, mask = self._embedded(tuple(words))
            pixels = self._processor(images=list(images), return_tensors="pt")["pixel_values"]
            grid = self._model.image_embedder(pixel_values=pixels.to(self._device, self._dtype))[0]
            features = grid.flatten(1, 2)
            count = len(images)
            logits = self._model.class_predictor(
                features, queries.expand(count, -1, -1), mask.expand(count, -1)
            )[0]
            boxes = self._model.box_predictor(features, grid).float().cpu()
            best = logits.float().cpu().max(dim=-1)
        scores = torch.sigmoid(best.values)
        if not (torch.isfinite(scores).all() and torch.isfinite(boxes).all()):
            raise SignalFailed(f"{self._name} returned NaN; try MODERATOR_SIGNAL_DTYPE=float32")
        return [_found(*image, threshold) for image in zip(scores, best.indices, boxes, strict=True)]

    @torch.inference_mode()
    def _embedded(self, words: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings of words, [1, words, dimension], and which of them count, [1, words]."""
        if words not in self._queries:
            most = int(self._model.config.text_config.max_position_embeddings)
            for word in words:
                if (tokens := len(self._tokenizer(word)["input_ids"])) > most:
                    raise SignalFailed(
                        f"'{word}' has {tokens} tokens and {self._name} reads {most}; shorten it"
                    )
            inputs = self._tokenizer(list(words), padding="max_length", max_length=most, return_tensors="pt")
            inputs = {name: inputs[name].to(self._device) for name in ("input_ids", "attention_mask")}
            rows: Any = self._model.owlv2.get_text_features(**inputs).pooler_output
            rows = rows / torch.linalg.norm(rows, ord=2, dim=-1, keepdim=True)
            self._queries[words] = rows[None], (inputs["input_ids"][:, 0] > 0)[None]
        return self._queries[words]


def load_owlv2(folder: ModelFolder, host: ModelHost) -> Owlv2:
    """Load the model, or return the one that is loaded.

    Raises:
        SignalFailed: the files are not the pinned ones, or cannot be loaded.
        SettingsError: the device is unknown or missing.
    """
    device, dtype = placement(host)
    model: Owlv2 = LOADED_MODELS.get(
        folder, host, weight_bytes(folder, dtype), lambda: Owlv2(folder, device, dtype), "owlv2"
    )
    return model


def _found(
    scores: torch.Tensor, words: torch.Tensor, boxes: torch.Tensor, threshold: float
) -> list[FoundBox]:
    """Return the boxes of one image above the threshold, best first.

    Args:
        scores: [boxes], words: [boxes], boxes: [boxes, 4] as centre, width and height, in shares of the square that the
            image was padded to.
    """
    kept = torch.nonzero(scores > threshold).flatten()
    kept = kept[torch.argsort(scores[kept], descending=True, stable=True)][:BOXES_MAX]
    return [
        FoundBox(score, word, x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        for score, word, (x, y, width, height) in zip(
            scores[kept].tolist(), words[kept].tolist(), boxes[kept].tolist(), strict=True
        )
    ]
