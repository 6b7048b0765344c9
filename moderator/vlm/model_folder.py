"""A folder with a model, pinned by its list of digests, and loaded from this machine alone."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from threading import Lock
from typing import Any

from moderator.errors import ModeratorError, SignalFailed, brief
from moderator.signals.signal import Context, ModelHost

#: The file that a policy pins. It lists the digest of each file of the model, as `sha256sum` writes it.
MANIFEST_FILE = "SHA256SUMS"
MANIFEST_BYTES_MAX = 100_000
CONFIG_BYTES_MAX = 1_000_000
#: Weights as safetensors hold numbers only; other formats and modules may hold code.
_REFUSED = frozenset((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".py"))
_LINE = re.compile(r"^([0-9a-f]{64}) [ *]([A-Za-z0-9][\w.+-]{0,199})$")


@dataclass(frozen=True)
class ModelFolder:
    """A model of the transformers library in a folder of this machine."""

    path: Path
    digests: Mapping[str, str]
    """SHA-256 by file name."""
    name: str
    """Of the model, with the beginning of the digest of its list."""
    config: Mapping[str, Any]

    @classmethod
    def of(cls, kind: str, context: Context) -> "ModelFolder":
        """Return the folder of a signal whose file is a list of digests. Reads the configuration, no weights.

        Raises:
            SignalFailed: the file is no such list, or the folder differs from it.
        """
        if context.content is None or context.folder is None:
            raise SignalFailed(
                f"{kind} needs the {MANIFEST_FILE} of a model's folder; run: moderator signals pin FOLDER"
            )
        digests = _parse(context.content)
        path = context.folder
        _check_names(path, digests)
        try:
            content = (path / "config.json").read_bytes()[: CONFIG_BYTES_MAX + 1]
        except OSError as error:
            raise SignalFailed(
                f"{path.name}/config.json cannot be read ({error.strerror}); check it"
            ) from error
        if sha256(content).hexdigest() != digests["config.json"]:
            raise _changed(path, "config.json")
        try:
            config = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise SignalFailed(f"{path.name}/config.json is no JSON; copy the model again") from error
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise SignalFailed(f"{path.name}/config.json names no model_type; copy the model again")
        name = f"{path.name[:64]} {sha256(context.content).hexdigest()[:12]}"
        return cls(path, digests, name, config)

    @property
    def model_type(self) -> str:
        """The architecture, as the configuration names it."""
        return str(self.config["model_type"])[:64]

    def verify(self) -> None:
        """Read all files and compare their digests.

        Raises:
            SignalFailed: a file is missing or differs.
        """
        for name, expected in self.digests.items():
            if digest_of_file(self.path / name) != expected:
                raise _changed(self.path, name)

    def weights(self) -> list[Path]:
        """Return the files with weights."""
        return [self.path / name for name in self.digests if name.endswith(".safetensors")]


def list_digests(folder: Path) -> str:
    """Return the list of digests of a model's folder, one line per file.

    Raises:
        SignalFailed: a file cannot be read, or the folder has files that are never loaded.
    """
    try:
        files = sorted(
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name != MANIFEST_FILE
        )
    except OSError as error:
        raise SignalFailed(f"{folder} cannot be read ({error.strerror}); name a folder") from error
    digests = {path.name: digest_of_file(path) for path in files if path.is_file()}
    _check_names(folder, digests)
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        SignalFailed: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SignalFailed(f"{path.name} cannot be read ({error.strerror}); copy the model again") from error


class LoadedModels:
    """The models that this process has loaded, shared by all signals. Thread-safe."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[object, ...], tuple[Any, int]] = {}
        self._lock = Lock()

    def get(
        self, folder: ModelFolder, host: ModelHost, size: int, load: Callable[[], Any], *parts: object
    ) -> Any:
        """Return a model, loaded at most once after its files are verified.

        Args:
            folder: of the model.
            host: where it runs.
            size: bytes of its weights once loaded.
            load: loads it.
            parts: what else the loaded model depends on.

        Raises:
            SignalFailed: the files differ from their digests, the model takes too much memory, or cannot be loaded.
        """
        key = (folder.path, folder.name, host.device, host.dtype, *parts)
        with self._lock:
            if key in self._loaded:
                return self._loaded[key][0]
            total = size + sum(used for _, used in self._loaded.values())
            if host.memory is not None and total > host.memory:
                raise SignalFailed(
                    f"{folder.name} takes {size / 1e9:.1f} GB of memory, with others {total / 1e9:.1f} GB, and "
                    f"MODERATOR_SIGNAL_MEMORY allows {host.memory / 1e9:.1f} GB; raise it, or use a smaller model"
                )
            folder.verify()
            try:
                model = load()
            except ModeratorError:
                raise
            except Exception as error:  # a model's files may break a library anywhere
                raise SignalFailed(f"the model {folder.name} cannot be loaded: {brief(error)}") from error
            self._loaded[key] = model, size
            return model


LOADED_MODELS = LoadedModels()


def _parse(content: bytes) -> dict[str, str]:
    if len(content) > MANIFEST_BYTES_MAX:
        raise SignalFailed(
            f"{MANIFEST_FILE} has more than {MANIFEST_BYTES_MAX} bytes; list a model's files only"
        )
    digests: dict[str, str] = {}
    for n, line in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None or found[2] in digests:
            raise SignalFailed(
                f"line {n} of {MANIFEST_FILE} is no digest with a new file name; run: moderator signals pin FOLDER"
            )
        digests[found[2]] = found[1]
    return digests


def _check_names(path: Path, digests: Iterable[str]) -> None:
    """Refuse a folder whose files are not the listed ones: the library would read them all the same."""
    listed = set(digests)
    if refused := sorted(name for name in listed if Path(name).suffix in _REFUSED):
        raise SignalFailed(
            f"{path.name} has {refused[0]}, which may hold code; keep safetensors alone, and pin it again"
        )
    if "config.json" not in listed or not any(name.endswith(".safetensors") for name in listed):
        raise SignalFailed(f"{path.name} has no config.json or no safetensors; name the folder of a model")
    try:
        there = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    except OSError as error:
        raise SignalFailed(f"{path.name} cannot be read ({error.strerror}); check it") from error
    if missing := sorted(listed - there):
        raise SignalFailed(f"{path.name} lacks {missing[0]}; copy the model again")
    if more := sorted(there - listed - {MANIFEST_FILE}):
        raise SignalFailed(
            f"{path.name} has {more[0]}, which is not in its {MANIFEST_FILE}; remove it or pin it again"
        )


def _changed(path: Path, name: str) -> SignalFailed:
    return SignalFailed(f"{path.name}/{name} is not the pinned file; copy it again, or pin the folder again")
