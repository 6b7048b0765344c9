"""Where weights come from: a hub id, perhaps with a revision, or a folder; and what they are, as a digest."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from moderator.errors import ModelError, WeightsInvalid

#: Files of a model's folder that its embeddings depend on: weights, configuration, tokenizer.
_SUFFIXES = frozenset((".safetensors", ".bin", ".pt", ".npz", ".json", ".txt", ".model"))


@dataclass(frozen=True)
class Source:
    """A model as the setting names it."""

    name: str
    """Hub id without the revision, or path of the folder."""
    folder: Path | None
    revision: str | None

    @classmethod
    def parse(cls, model: str) -> "Source":
        """Read `hub-id`, `hub-id@revision`, or a folder that is there."""
        folder = Path(model)
        if folder.is_dir():
            return cls(model, folder, None)
        name, _, revision = model.partition("@")
        return cls(name, None, revision or None)

    @property
    def pin(self) -> dict[str, str]:
        """The keyword argument that pins the revision."""
        return {"revision": self.revision} if self.revision else {}

    @property
    def label(self) -> str:
        """Names the model without its place on this machine."""
        return self.folder.resolve().name if self.folder is not None else self.name


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that embeddings depend on, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 over names and content (first 16 hex digits)."""
    digest = sha256()
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


@contextmanager
def loading(name: str, remedy: str) -> Iterator[None]:
    """Whatever a library breaks with while it loads a model becomes a `WeightsInvalid`.

    Files of a model are foreign, and what they hold breaks libraries anywhere: in pickle, zip, JSON, the hub's client,
    the configuration's types, an arithmetic on a size. So everything is caught.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        plain = isinstance(error, OSError | ValueError)
        reason = f"{error}" if plain else f"{type(error).__name__}: {error}"
        raise WeightsInvalid(f"cannot load {name}: {reason}\n{remedy}") from error
