"""Finds an encoder by the name in the settings. Imports a family only when it is asked for."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from moderator.encoders.base import Encoder
from moderator.errors import EncoderUnknown


def _embedded(_: str, device: str, dtype: str, runtime: str, cache: Path | None) -> Encoder:
    from moderator.encoders.embedded import EmbeddedEncoder

    return EmbeddedEncoder(device=device, dtype=dtype, runtime=runtime, cache=cache)


def _clip(model: str, device: str, dtype: str, runtime: str, cache: Path | None) -> Encoder:
    from moderator.encoders.transformers import TransformersEncoder

    return TransformersEncoder(model, device=device, dtype=dtype, runtime=runtime, cache=cache)


FAMILIES: dict[str, Callable[[str, str, str, str, Path | None], Encoder]] = {
    "embedded": _embedded,
    "clip": _clip,
}


def load_encoder(
    name: str, device: str = "auto", dtype: str = "auto", runtime: str = "auto", cache: Path | None = None
) -> Encoder:
    """Load an encoder and its weights.

    Args:
        name: `FAMILY` or `FAMILY:MODEL`, e.g. `embedded` or `clip:openai/clip-vit-base-patch32`.
        device: see `MODERATOR_DEVICE`.
        dtype: see `MODERATOR_DTYPE`.
        runtime: see `MODERATOR_RUNTIME`.
        cache: see `MODERATOR_CACHE`; None: the user's cache folder.

    Raises:
        EncoderUnknown: no such family.
        WeightsInvalid: the weights are missing or not the published ones.
        RuntimeMissing: the packages of the runtime are not installed.
        SettingsError: the device is not there, or the settings contradict each other.
    """
    family, _, model = name.partition(":")
    if family not in FAMILIES:
        close = get_close_matches(family, FAMILIES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise EncoderUnknown(
            f"MODERATOR_ENCODER={name!r}: no family {family!r}{hint}; there are: {', '.join(FAMILIES)}"
        )
    if (family == "embedded") == bool(model):
        remedy = "takes no model" if model else f"needs a model: {family}:HUB-ID or {family}:FOLDER"
        raise EncoderUnknown(f"MODERATOR_ENCODER={name!r}: {family} {remedy}")
    return FAMILIES[family](model, device, dtype, runtime, cache)
