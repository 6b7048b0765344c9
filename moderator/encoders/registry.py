"""Finds an encoder by the name in the settings. Imports a family only when it is asked for."""

from collections.abc import Callable
from difflib import get_close_matches

from moderator.encoders.base import Encoder
from moderator.errors import EncoderUnknown


def _embedded(_: str, device: str, dtype: str) -> Encoder:
    from moderator.encoders.embedded import EmbeddedEncoder

    return EmbeddedEncoder(device=device, dtype=dtype)


def _clip(model: str, device: str, dtype: str) -> Encoder:
    from moderator.encoders.clip import ClipEncoder

    return ClipEncoder(model, device=device, dtype=dtype)


def _siglip(model: str, device: str, dtype: str) -> Encoder:
    from moderator.encoders.siglip import SiglipEncoder

    return SiglipEncoder(model, device=device, dtype=dtype)


def _auto(model: str, device: str, dtype: str) -> Encoder:
    from moderator.encoders.auto import AutoEncoder

    return AutoEncoder(model, device=device, dtype=dtype)


def _openclip(model: str, device: str, dtype: str) -> Encoder:
    from moderator.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(model, device=device, dtype=dtype)


FAMILIES: dict[str, Callable[[str, str, str], Encoder]] = {
    "embedded": _embedded,
    "clip": _clip,
    "siglip": _siglip,
    "auto": _auto,
    "openclip": _openclip,
}


def load_encoder(name: str, device: str = "auto", dtype: str = "auto") -> Encoder:
    """Load an encoder and its weights.

    Args:
        name: `FAMILY` or `FAMILY:MODEL`, e.g. `embedded`, `clip:openai/clip-vit-base-patch32` or
            `openclip:ViT-B-32/laion2b_s34b_b79k`.
        device: see `MODERATOR_DEVICE`.
        dtype: see `MODERATOR_DTYPE`.

    Raises:
        EncoderUnknown: no such family, or its optional packages are not installed.
        WeightsInvalid: the weights are missing or not the published ones.
        SettingsError: the device is not there.
    """
    family, _, model = name.partition(":")
    if family not in FAMILIES:
        close = get_close_matches(family, FAMILIES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise EncoderUnknown(
            f"MODERATOR_ENCODER={name!r}: no family {family!r}{hint}; there are: {', '.join(FAMILIES)}"
        )
    if (family == "embedded") == bool(model):
        places = ("ARCH/PRETRAINED", "ARCH/FOLDER") if family == "openclip" else ("HUB-ID", "FOLDER")
        wanted = " or ".join(f"{family}:{place}" for place in places)
        remedy = "takes no model" if model else f"needs a model: {wanted}"
        raise EncoderUnknown(f"MODERATOR_ENCODER={name!r}: {family} {remedy}")
    return FAMILIES[family](model, device, dtype)
