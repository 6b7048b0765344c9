"""What the families of the transformers library share: a source, three steps to read it, two towers to run."""

import os
import re
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, NamedTuple

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from moderator.encoders.encoder import Identity
from moderator.encoders.families.dual import DualEncoder
from moderator.encoders.preprocessing import Preprocessing
from moderator.encoders.runtimes.plan import TORCH, Plan, make_plan
from moderator.encoders.texts import TextLimit
from moderator.encoders.weights import Source, digest_of, loading, model_files

REMEDY = (
    "Give a hub id that this machine can reach or has cached, or a folder with config.json, model.safetensors, "
    "tokenizer and preprocessor_config.json"
)
#: A weight of one of several layers.
_OF_A_LAYER = re.compile(r"\.\d+\.")


class TextReading(NamedTuple):
    """How a family's texts become tokens."""

    tokenizer: Any
    length: int
    """Most tokens that the tower reads."""
    padded: bool = False
    """Whether every text is padded to `length`, because the model was trained so."""
    lower: bool = False
    """Whether texts are lower-cased before the tokenizer sees them."""


class TransformersEncoder(DualEncoder):
    """Base of the families. Same numbers as the model's own processor (on Pillow) and forward, within rounding.

    A family says which models it takes (`check_config`), how texts are read (`read_texts`), how pictures are
    prepared (`read_preprocessing`), and how a cosine becomes a logit (`scale_and_bias`).

    Args:
        model: hub id, `hub-id@revision`, or a folder as `save_pretrained` writes it.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`; in another runtime than torch that of the
            image tower, and texts are embedded in float32.
        runtime: `auto`, `torch`, `onnx` or `openvino`.
        cache: folder for converted models; None: the user's.

    Raises:
        WeightsInvalid: there is no such model, or it cannot be loaded.
        RuntimeMissing: the packages of the runtime are not installed.
        SettingsError: the settings contradict each other.
    """

    image_part = "vision_model"
    text_parts = ("text_model",)
    family: ClassVar[str]
    #: What the text tower is given of what the tokenizer returns.
    text_inputs: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")

    def __init__(
        self,
        model: str,
        device: str = "auto",
        dtype: str = "auto",
        runtime: str = TORCH,
        cache: Path | None = None,
    ) -> None:
        plan = make_plan(runtime, device, dtype)
        source = Source.parse(model)
        # Else transformers asks a service of the hub to convert weights that are not safetensors.
        os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
        with loading(f"{self.family}:{model}", REMEDY):
            config = AutoConfig.from_pretrained(source.name, trust_remote_code=False, **source.pin)
            self.check_config(config)
            commit = getattr(config, "_commit_hash", None)
            if (
                source.folder is None and commit
            ):  # all files of one commit, even if the branch moves meanwhile
                source = Source(source.name, None, str(commit))
            self._hold(plan, partial(_load_model, source, config, plan))
            self._reading = self.read_texts(source, config)
            check_vocabulary(self._reading.tokenizer, config)
            preprocessing = self.read_preprocessing(source, config)
            self.scale, self.bias = self.scale_and_bias(self._model)
            self._add_towers(preprocessing, TextLimit(self._reading.length, self._count_tokens))
            self.check_loaded()

        text = ", texts in lower case" if self._reading.lower else ""
        text += f", padded to {self._reading.length} tokens" if self._reading.padded else ""
        self.identity = Identity(
            id=f"{self.family}:{source.label}",
            revision=(
                str(source.revision) if source.folder is None else digest_of(model_files(source.folder))
            )
            + plan.suffix,
            preprocessing=f"{preprocessing}{text}",
        )
        self._start(cache)

    # --- what a family says

    def check_config(self, config: Any) -> None:
        """Refuse models of another family.

        Raises:
            ValueError: with the reason.
        """
        raise NotImplementedError

    def read_texts(self, source: Source, config: Any) -> TextReading:
        """The tokenizer and how it is used."""
        tokenizer = AutoTokenizer.from_pretrained(source.name, trust_remote_code=False, **source.pin)
        return TextReading(tokenizer, int(config.text_config.max_position_embeddings))

    def read_preprocessing(self, source: Source, config: Any) -> Preprocessing:
        """How pictures reach the image tower.

        Raises:
            ValueError: the model's own preprocessing cannot be reproduced.
        """
        raise NotImplementedError

    def scale_and_bias(self, model: Any) -> tuple[float, float]:
        """logit = scale * cosine + bias."""
        with torch.inference_mode():
            return float(model.logit_scale.float().exp()), 0.0

    def check_loaded(self) -> None:
        """A last look at the loaded model; a family may refuse it with a ValueError."""

    # --- the encoder

    @staticmethod
    def image_features(model: Any, batch: torch.Tensor) -> torch.Tensor:
        """What the model projects an image to."""
        features: torch.Tensor = model.get_image_features(pixel_values=batch).pooler_output
        return features

    def text_features(self, model: Any, texts: Sequence[str]) -> torch.Tensor:
        """What the model projects a text to."""
        features: torch.Tensor = model.get_text_features(**self._tokenize(texts)).pooler_output
        return features

    def _tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        tokens = self._reading.tokenizer(
            self._cased(texts),
            padding="max_length" if self._reading.padded else True,
            truncation=True,
            max_length=self._reading.length,
            return_tensors="pt",
        )
        return {name: tokens[name].to(self._device) for name in self.text_inputs if name in tokens}

    def _count_tokens(self, texts: list[str]) -> list[int]:
        # verbose: or the library warns of lengths once, and then never again.
        ids = self._reading.tokenizer(self._cased(texts), truncation=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]

    def _cased(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._reading.lower else list(texts)


def _load_model(source: Source, config: Any, plan: Plan) -> Any:
    """Weights as safetensors or, where there are none, as a pickle that may hold tensors only.

    Raises:
        ValueError: weights are missing, which transformers would make up, or left over, or no tensors.
    """
    try:
        model, loaded = AutoModel.from_pretrained(
            source.name,
            config=config,
            dtype=plan.dtype,
            weights_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **source.pin,
        )
    except UnpicklingError as error:  # torch's message recommends to load it all the same
        raise ValueError("its weights are no safetensors and hold something else than tensors") from error
    missing: Collection[str] = loaded["missing_keys"]
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {min(missing)}")
    # Some published files hold a tower's unused head; a layer that is left out gives other numbers.
    over = [name for name in loaded["unexpected_keys"] if _OF_A_LAYER.search(name)]
    if over:
        raise ValueError(f"config.json has no place for {len(over)} weights of layers, such as {min(over)}")
    return model.eval().to(plan.device)


#: A vocabulary that transformers makes up has the special tokens and nothing else.
MADE_UP_VOCABULARY = 8


def check_vocabulary(tokenizer: Any, config: Any) -> None:
    """Refuse an empty vocabulary, which transformers makes up where there is none, and one that does not fit.

    Raises:
        ValueError: with both sizes.
    """
    size = config.text_config.vocab_size
    if not MADE_UP_VOCABULARY < len(tokenizer) <= size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens and the model {size}")
