"""Find an encoder by its name in the settings. A family is imported only when it is used."""

from collections.abc import Callable
from pathlib import Path

from moderator.encoders.encoder import Encoder
from moderator.errors import EncoderUnknown
from moderator.plugins import Registry
from moderator.settings import ModelSettings

#: A package adds a family with an entry point of this group; its value is called as `load_encoder` says.
FAMILIES: Registry[Callable[..., Encoder]] = Registry(
    group="moderator.encoders",
    noun="family of encoders",
    nouns="families",
    built_in={
        "embedded": "moderator.encoders.embedded.embedded_encoder:EmbeddedEncoder",
        "clip": "moderator.encoders.families.clip:ClipEncoder",
        "siglip": "moderator.encoders.families.siglip:SiglipEncoder",
        "auto": "moderator.encoders.families.auto:AutoEncoder",
        "openclip": "moderator.encoders.families.openclip:OpenClipEncoder",
    },
    error=EncoderUnknown,
)


def load_encoder(
    name: str, device: str = "auto", dtype: str = "auto", runtime: str = "auto", cache: Path | None = None
) -> Encoder:
    """Load an encoder and its weights by calling its family with the model, if named, and the other arguments.

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
        SettingsError: the device is missing, or the settings contradict each other.
    """
    family, model = parse_name(name)
    build = FAMILIES.get(family)
    return build(*([model] if model else []), device=device, dtype=dtype, runtime=runtime, cache=cache)


def parse_name(name: str) -> tuple[str, str]:
    """Return the family and the model of an encoder's name; the model is empty if the name has none.

    Raises:
        EncoderUnknown: no such family, or the model is missing or superfluous. Families from other packages may be
            named with or without a model.
    """
    family, _, model = name.partition(":")
    if family not in FAMILIES.names:
        raise EncoderUnknown(f"MODERATOR_ENCODER={name!r}: {FAMILIES.unknown(family)}")
    if family not in FAMILIES.built_in:
        return family, model
    if (family == "embedded") == bool(model):
        places = ("ARCH/PRETRAINED", "ARCH/FOLDER") if family == "openclip" else ("HUB-ID", "FOLDER")
        wanted = " or ".join(f"{family}:{place}" for place in places)
        remedy = "takes no model" if model else f"needs a model: {wanted}"
        raise EncoderUnknown(f"MODERATOR_ENCODER={name!r}: {family} {remedy}")
    return family, model


def encoder_of(settings: ModelSettings) -> Encoder:
    """Load the encoder that the settings name.

    Raises:
        EncoderUnknown, WeightsInvalid, RuntimeMissing, SettingsError: see `load_encoder`.
    """
    return load_encoder(settings.encoder, settings.device, settings.dtype, settings.runtime, settings.cache)
