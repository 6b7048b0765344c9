"""OpenCLIP's models: ViT up to G-14 and bigG-14, EVA01 and EVA02, MobileCLIP, SigLIP. Optional: `moderator[openclip]`.

`ARCH/PRETRAINED` names an architecture and one of OpenCLIP's tags for it. `ARCH/FOLDER` and `ARCH/FILE` take
weights from this machine; a folder that holds `open_clip_config.json` says itself what it is.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from moderator.encoders.encoder import Identity
from moderator.encoders.families.dual import DualEncoder
from moderator.encoders.preprocessing import Preprocessing
from moderator.encoders.runtimes.plan import TORCH, Plan, make_plan
from moderator.encoders.texts import TextLimit
from moderator.encoders.weights import digest_of, loading, model_files
from moderator.errors import EncoderUnknown, WeightsInvalid

try:
    import open_clip
except ImportError as error:
    raise EncoderUnknown(
        f"openclip: needs further packages ({error}): pip install 'moderator[openclip]'"
    ) from error

REMEDY = "Give a tag that this machine can reach or has cached, or weights of this architecture as a file or folder"
CONFIG = "open_clip_config.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".npz")
_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
#: What of a tag's configuration changes pixels.
_PIXELS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that decides what a model computes."""

    architecture: str
    """What OpenCLIP calls it: a built-in name, or `local-dir:` with a folder."""
    weights: Path
    label: str
    """Names it without its place on this machine."""
    preprocessing: dict[str, Any] | None
    """OpenCLIP's settings for pixels; None: the folder's own."""

    @property
    def own_folder(self) -> bool:
        """Whether the folder of the weights says what they are."""
        return self.architecture.startswith("local-dir:")

    @property
    def files(self) -> list[Path]:
        """The files that embeddings depend on."""
        return model_files(self.weights.parent) if self.own_folder else [self.weights]


class OpenClipEncoder(DualEncoder):
    """A model of OpenCLIP. Same numbers as its `encode_image`, `encode_text` and evaluation transform.

    Args:
        model: `ARCH/PRETRAINED`, `ARCH/FOLDER` or `ARCH/FILE` (`ViT-B-32//srv/models/b32.safetensors`).
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`; in another runtime than torch that of the
            image tower, and texts are embedded in float32.
        runtime: `auto`, `torch`, `onnx` or `openvino`.
        cache: folder for converted models; None: the user's.

    Raises:
        EncoderUnknown: no such architecture or tag.
        WeightsInvalid: the weights cannot be had or do not fit.
        RuntimeMissing: the packages of the runtime are not installed.
        SettingsError: the settings contradict each other.
    """

    image_part = "visual"
    #: `CLIP` has the first two, `CustomTextCLIP` the last.
    text_parts = ("transformer", "token_embedding", "text")

    def __init__(
        self,
        model: str,
        device: str = "auto",
        dtype: str = "auto",
        runtime: str = TORCH,
        cache: Path | None = None,
    ) -> None:
        plan = make_plan(runtime, device, dtype)
        checkpoint = find_checkpoint(model)
        with loading(f"openclip:{model}", REMEDY):
            self._hold(plan, partial(_create_model, checkpoint, plan))
            self._tokenizer = open_clip.get_tokenizer(checkpoint.architecture)
            preprocessing = _preprocessing(open_clip.get_model_preprocess_cfg(self._model))
            if getattr(self._tokenizer, "reduction_fn", None) is not None:
                raise ValueError("it shortens long texts by a method that is not supported")
        with torch.inference_mode():
            self.scale = float(self._model.logit_scale.float().exp())
            bias = self._model.logit_bias
            self.bias = 0.0 if bias is None else float(bias.float())
        self._add_towers(preprocessing, TextLimit(int(self._tokenizer.context_length), self._count_tokens))
        self.identity = Identity(
            id=f"openclip:{checkpoint.label}",
            revision=digest_of(checkpoint.files) + plan.suffix,
            preprocessing=str(preprocessing),
        )
        self._start(cache)

    @staticmethod
    def image_features(model: Any, batch: torch.Tensor) -> torch.Tensor:
        """What the model projects an image to."""
        features: torch.Tensor = model.encode_image(batch)
        return features

    def text_features(self, model: Any, texts: Sequence[str]) -> torch.Tensor:
        """What the model projects a text to."""
        features: torch.Tensor = model.encode_text(self._tokenizer(list(texts)).to(self._device))
        return features

    def _count_tokens(self, texts: list[str]) -> list[int]:
        if isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]  # and the marks of start and end
        cleaned = [self._tokenizer.clean_fn(text) for text in texts]
        ids = self._tokenizer.tokenizer(cleaned, truncation=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]


def _create_model(checkpoint: Checkpoint, plan: Plan) -> Any:
    return open_clip.create_model(
        checkpoint.architecture,
        pretrained=None if checkpoint.own_folder else str(checkpoint.weights),
        require_pretrained=True,
        weights_only=True,
        pretrained_text=False,
        precision=_PRECISIONS[plan.dtype],
        device=plan.device,
        force_preprocess_cfg=checkpoint.preprocessing,
    ).eval()


def find_checkpoint(model: str) -> Checkpoint:
    """Find what `ARCH/...` names; a tag's weights are downloaded, or taken from the cache of the hub.

    Raises:
        EncoderUnknown: no such architecture or tag.
        WeightsInvalid: the weights cannot be had, or it is unclear how pictures reach the model, or which activation
            the weights were trained with.
    """
    architecture, _, rest = model.partition("/")
    config = open_clip.get_model_config(architecture) if architecture in open_clip.list_models() else None
    if config is None:
        raise EncoderUnknown(f"openclip:{model}: OpenCLIP {open_clip.__version__} knows no {architecture!r}")
    tags = {tag: open_clip.get_pretrained_cfg(architecture, tag) for tag in _tags(architecture)}
    path = Path(rest)
    if rest in tags:
        return _tagged(architecture, rest, tags[rest], config)
    if rest and path.is_dir():
        weights = _weights_in(path)
        label = f"{architecture}/{path.resolve().name}"
        if (path / CONFIG).is_file():
            _check_same(architecture, config, path / CONFIG)
            return Checkpoint(f"local-dir:{path}", weights, label, None)
    elif rest and path.is_file():
        weights, label = path, f"{architecture}/{path.name}"
    else:
        known = ", ".join(tags) or "none"
        raise EncoderUnknown(
            f"openclip:{model}: {rest!r} is neither a file nor a folder, nor one of OpenCLIP's tags of "
            f"{architecture} ({known})"
        )
    _check_activation(model, architecture, config, tags.values())
    ways = {json.dumps({key: tag.get(key) for key in _PIXELS}) for tag in tags.values()}
    if len(ways) != 1:
        raise WeightsInvalid(
            f"openclip:{model}: nothing says how pictures reach this model, and the published ones of {architecture} "
            f"differ; put {CONFIG} beside the weights, in a folder, and name the folder"
        )
    return Checkpoint(architecture, weights, label, json.loads(ways.pop()))


def fetch(model: str) -> Checkpoint:
    """Fetch weights and vocabulary of `ARCH/PRETRAINED` to this machine.

    Raises:
        EncoderUnknown, WeightsInvalid: as `find_checkpoint`.
    """
    checkpoint = find_checkpoint(model)
    with loading(f"openclip:{model}", REMEDY):
        open_clip.get_tokenizer(checkpoint.architecture)
    return checkpoint


def _tagged(architecture: str, tag: str, settings: dict[str, Any], config: dict[str, Any]) -> Checkpoint:
    # OpenCLIP only warns of this, and computes something else than the weights were trained for.
    if bool(settings.get("quick_gelu")) != bool(config.get("quick_gelu")):
        quick = (
            f"{architecture}-quickgelu"
            if settings.get("quick_gelu")
            else architecture.removesuffix("-quickgelu")
        )
        raise EncoderUnknown(
            f"openclip:{architecture}/{tag}: these weights want another activation; name them {quick}/{tag}"
        )
    with loading(f"openclip:{architecture}/{tag}", REMEDY):
        weights = Path(open_clip.download_pretrained(settings))
    return Checkpoint(architecture, weights, f"{architecture}/{tag}", settings)


def _check_activation(
    model: str, architecture: str, config: dict[str, Any], tags: Iterable[dict[str, Any]]
) -> None:
    """Refuse bare weights under a name that published weights of either activation (GELU or QuickGELU) go by.

    Nothing in the weights shows which one they were trained with, and with the other one they compute something else.
    """
    quick = f"{architecture}-quickgelu"
    own = bool(config.get("quick_gelu"))
    if not own and (quick in open_clip.list_models() or any(tag.get("quick_gelu") for tag in tags)):
        raise WeightsInvalid(
            f"openclip:{model}: nothing says which activation these weights want: if QuickGELU, as OpenAI's, name them "
            f"{quick}/...; else put {CONFIG} beside the weights, in a folder, and name the folder"
        )


def _tags(architecture: str) -> list[str]:
    return list(open_clip.list_pretrained_tags_by_model(architecture))


def _weights_in(folder: Path) -> Path:
    """The one file of weights of a folder; safetensors go first."""
    for suffix in _WEIGHTS:
        found = sorted(folder.glob(f"*{suffix}"))
        if len(found) > 1:
            raise WeightsInvalid(f"{folder} holds {len(found)} files *{suffix}; name one of them")
        if found:
            return found[0]
    raise WeightsInvalid(f"{folder} holds no weights ({', '.join(f'*{suffix}' for suffix in _WEIGHTS)})")


def _check_same(architecture: str, config: dict[str, Any], path: Path) -> None:
    """Refuse a folder that says that it is something else than was asked for."""
    with loading(str(path), REMEDY):
        own = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        for part in ("vision_cfg", "text_cfg"):
            for key in ("image_size", "layers", "width", "patch_size", "timm_model_name", "context_length"):
                asked, found = config[part].get(key), own[part].get(key)
                if asked is not None and found is not None and asked != found:
                    raise ValueError(f"{part}.{key} is {found!r}, and {asked!r} in {architecture}")


def _preprocessing(settings: dict[str, Any]) -> Preprocessing:
    """OpenCLIP's evaluation transform (`open_clip.transform.image_transform`), if it is one of the usual two.

    Raises:
        ValueError: it is another.
    """
    size = settings["size"]
    width = size if isinstance(size, int) else size[0]
    mode = settings.get("resize_mode") or "shortest"
    if not isinstance(size, int) and tuple(size) != (width, width):
        raise ValueError(f"its input of {tuple(size)} pixels is no square")
    if mode not in ("shortest", "squash"):
        raise ValueError(f"its preprocessing {mode!r} is not supported")
    bilinear = settings.get("interpolation") == "bilinear"
    return Preprocessing(
        resize=width,
        crop=width,
        resample=Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC,
        mean=tuple(float(v) for v in settings["mean"]),
        std=tuple(float(v) for v in settings["std"]),
        squash=mode == "squash",
        rounded=mode == "shortest",
    )
