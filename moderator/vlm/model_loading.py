"""Load models of the transformers library from pinned folders: safetensors only, nothing from the network."""

import os
from collections.abc import Collection
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoImageProcessor, AutoTokenizer

from moderator.encoders.device import resolve_device
from moderator.signals.signal import ModelHost
from moderator.vlm.model_folder import ModelFolder

#: How every part of a model is loaded.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def placement(host: ModelHost) -> tuple[torch.device, torch.dtype]:
    """Return where the models of signals run, and in which precision.

    On CUDA, `auto` is bfloat16: the activations of some of these models exceed the range of float16.

    Raises:
        SettingsError: the device is unknown or missing.
    """
    device, dtype = resolve_device(host.device, host.dtype)
    return device, torch.bfloat16 if host.dtype == "auto" and device.type == "cuda" else dtype


def weight_bytes(folder: ModelFolder, dtype: torch.dtype) -> int:
    """Return the bytes that a model's weights take in a precision, from the headers of its files."""
    numbers = 0
    for path in folder.weights():
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                count = 1
                for length in file.get_slice(name).get_shape():
                    count *= length
                numbers += count
    return numbers * dtype.itemsize


def load_model(factory: Any, folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a model with all of its weights, ready for inference.

    Raises:
        ValueError: weights are missing, which the library would make up.
        Exception: whatever the library raises.
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    model, loaded = factory.from_pretrained(
        str(folder.path), dtype=dtype, use_safetensors=True, output_loading_info=True, **LOCAL
    )
    missing: Collection[str] = loaded["missing_keys"]
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {min(missing)}")
    return model.eval().to(device)


def load_processor(factory: Any, folder: ModelFolder) -> Any:
    """Load a model's processor for still images, on Pillow whatever else is installed.

    Processors of models that also read videos need a further package for these; it is left out.
    """

    class StillImages(factory):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return (
                None if argument is None else super().check_argument_for_proper_class(argument_name, argument)
            )

        @classmethod
        def _get_arguments_from_pretrained(cls, name: str, processor_dict: Any = None, **_: Any) -> list[Any]:
            parts = {
                "image_processor": AutoImageProcessor.from_pretrained(name, backend="pil", **LOCAL),
                "tokenizer": AutoTokenizer.from_pretrained(name, **LOCAL),
            }
            return [parts.get(attribute) for attribute in cls.get_attributes()]

    StillImages.__name__ = factory.__name__
    return StillImages.from_pretrained(str(folder.path), **LOCAL)
