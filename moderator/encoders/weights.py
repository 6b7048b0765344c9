"""Where weights come from (a hub id, perhaps with a revision, or a folder), and their digest."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from moderator.errors import ModelError, WeightsInvalid

#: Suffixes of the files that a model's embeddings depend on: weights, configuration, tokenizer.
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
        """Parse `hub-id`, `hub-id@revision`, or the path of an existing folder."""
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
        """The model's name without its location on this machine."""
        return self.folder.resolve().name if self.folder is not None else self.name


def model_files(folder: Path) -> list[Path]:
    """Return the files of a folder that embeddings depend on, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())


def digest_of(files: Iterable[Path]) -> str:
    """Return the SHA-256 over names, sizes and content (first 16 hex digits)."""
    digest = sha256()
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


@contextmanager
def loading(name: str, remedy: str) -> Iterator[None]:
    """Turn any exception that a library raises while it loads a model into `WeightsInvalid`.

    A model's files are not ours, and bad content can break a library anywhere: in pickle, zip, JSON, the hub's client,
    the configuration's types, the arithmetic on a size. So every exception is caught.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        plain = isinstance(error, OSError | ValueError)
        reason = f"{error}" if plain else f"{type(error).__name__}: {error}"
        raise WeightsInvalid(f"cannot load {name}: {reason}\n{remedy}") from error
