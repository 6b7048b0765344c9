"""Finds an encoder by the name in the settings. Imports a family only when it is asked for."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from moderator.encoders.base import Encoder
from moderator.errors import EncoderUnknown
from moderator.settings import ModelSettings


def _embedded() -> Callable[..., Encoder]:
    from moderator.encoders.embedded import EmbeddedEncoder

    return EmbeddedEncoder


def _clip() -> Callable[..., Encoder]:
    from moderator.encoders.clip import ClipEncoder

    return ClipEncoder


def _siglip() -> Callable[..., Encoder]:
    from moderator.encoders.siglip import SiglipEncoder

    return SiglipEncoder


def _auto() -> Callable[..., Encoder]:
    from moderator.encoders.auto import AutoEncoder

    return AutoEncoder


def _openclip() -> Callable[..., Encoder]:
    from moderator.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder


FAMILIES: dict[str, Callable[[], Callable[..., Encoder]]] = {
    "embedded": _embedded,
    "clip": _clip,
    "siglip": _siglip,
    "auto": _auto,
    "openclip": _openclip,
}


def load_encoder(
    name: str, device: str = "auto", dtype: str = "auto", runtime: str = "auto", cache: Path | None = None
) -> Encoder:
    """Load an encoder and its weights.

    Args:
        name: `FAMILY` or `FAMILY:MODEL`, e.g. `embedded`, `clip:openai/clip-vit-base-patch32` or
            `openclip:ViT-B-32/laion2b_s34b_b79k`.
        device: see `MODERATOR_DEVICE`.
        dtype: see `MODERATOR_DTYPE`.
        runtime: see `MODERATOR_RUNTIME`.
        cache: see `MODERATOR_CACHE`; None: the user's cache folder.

    Raises:
        EncoderUnknown: no such family, or its optional packages are not installed.
        WeightsInvalid: the weights are missing or not the published ones.
        RuntimeMissing: the packages of the runtime are not installed.
        SettingsError: the device is not there, or the settings contradict each other.
    """
    family, model = parse_name(name)
    build = FAMILIES[family]()
    return build(*([model] if model else []), device=device, dtype=dtype, runtime=runtime, cache=cache)


def parse_name(name: str) -> tuple[str, str]:
    """The family and the model of an encoder's name; the model is empty where the family has only one.

    Raises:
        EncoderUnknown: no such family, or the model is missing or one too many.
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
    return family, model


def encoder_of(settings: ModelSettings) -> Encoder:
    """The encoder that the settings name.

    Raises:
        EncoderUnknown, WeightsInvalid, RuntimeMissing, SettingsError: as `load_encoder`.
    """
    return load_encoder(settings.encoder, settings.device, settings.dtype, settings.runtime, settings.cache)
