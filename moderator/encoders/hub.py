"""Fetch a model once, so that it loads without the network from then on, and pin what was fetched."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, snapshot_download

from moderator.encoders.encoder_registry import FAMILIES
from moderator.encoders.weights import Source, digest_of, loading
from moderator.errors import EncoderUnknown, WeightsInvalid

#: Families whose models are repositories on the hub.
_ON_THE_HUB = ("clip", "siglip", "auto")
#: Files fetched besides the weights: configuration and vocabulary.
_SUFFIXES = (".json", ".txt", ".model")
_REMEDY = (
    "Check the id and the revision, and that this machine reaches the hub (HF_ENDPOINT names a mirror, HF_TOKEN opens "
    "gated models); or copy the model's folder here and name that"
)


@dataclass(frozen=True)
class Pulled:
    """A model that is now on this machine."""

    name: str
    """As MODERATOR_ENCODER takes it, pinned where the family can pin."""
    revision: str
    """Commit on the hub, or digest of the weights."""
    folder: Path
    files: int
    bytes: int


def pull(name: str) -> Pulled:
    """Fetch the files of the model `name` into the hub library's cache.

    Raises:
        EncoderUnknown: no such family, or there is nothing to fetch.
        WeightsInvalid: the hub cannot be reached or has no such model.
    """
    family, _, model = name.partition(":")
    if family not in FAMILIES.built_in or family == "embedded" or not model:
        raise EncoderUnknown(
            f"{name!r} cannot be fetched; give {', '.join(f'{known}:ID' for known in _ON_THE_HUB)} or "
            "openclip:ARCH/PRETRAINED (the embedded encoder comes with its packages)"
        )
    if family == "openclip":
        return _pull_openclip(model)
    source = Source.parse(model)
    if source.folder is not None:
        raise EncoderUnknown(f"{name!r} is a folder of this machine: there is nothing to fetch")
    with loading(name, _REMEDY):
        info = HfApi().model_info(source.name, revision=source.revision)
        wanted = wanted_files([file.rfilename for file in info.siblings or ()])
        if info.sha is None or not wanted:
            raise WeightsInvalid(f"{name}: the hub shows no weights for it in a format that is loaded here")
        folder = Path(snapshot_download(source.name, revision=info.sha, allow_patterns=wanted))
    return _pulled(f"{family}:{source.name}@{info.sha}", info.sha, folder, [folder / file for file in wanted])


def wanted_files(files: list[str]) -> list[str]:
    """Select the files of a repository that loading reads: safetensors if there are any, else pickled tensors."""
    top = [file for file in files if len(PurePosixPath(file).parts) == 1]
    weights = [
        f for f in top if f.startswith("model") and f.endswith((".safetensors", ".safetensors.index.json"))
    ]
    if not any(f.endswith(".safetensors") for f in weights):
        weights = [
            f for f in top if f.startswith("pytorch_model") and f.endswith((".bin", ".bin.index.json"))
        ]
    if not weights:
        return []
    texts = [f for f in top if f.endswith(_SUFFIXES) and not f.endswith(".index.json")]
    return sorted({*weights, *texts})


def _pull_openclip(model: str) -> Pulled:
    from moderator.encoders.families.openclip import fetch

    checkpoint = fetch(model)
    files = checkpoint.files
    return _pulled(f"openclip:{model}", digest_of(files), checkpoint.weights.parent, files)


def _pulled(name: str, revision: str, folder: Path, files: list[Path]) -> Pulled:
    return Pulled(name, revision, folder, len(files), sum(file.stat().st_size for file in files))
