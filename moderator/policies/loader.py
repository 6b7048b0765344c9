"""Read policy files and the pointer file, and report all of their problems."""

import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from moderator.errors import PolicyInvalid, PolicyUnreadable
from moderator.policies.characters import invisible, named, shown
from moderator.policies.fields import MAX_PROBLEMS, Slug
from moderator.policies.messages import explain
from moderator.policies.pointer_schema import Pointer
from moderator.policies.schema import Policy
from moderator.policies.yaml_reader import MAX_BYTES, Document, Fault, KeyPath, read_document
from moderator.signals.signal_files import digest_below
from moderator.signals.signal_registry import option_problems

POINTER_FILE = "active.yaml"

T = TypeVar("T")
Pointers = dict[str, Pointer]

_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)
_POINTERS: TypeAdapter[Pointers] = TypeAdapter(dict[Slug, Pointer], config=ConfigDict(defer_build=True))


@dataclass(frozen=True)
class Problem:
    """One thing to fix in a file. As text: `file:line: key.path: problem; remedy`."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return shown(f"{self.file}:{self.line}: {key}{self.message}")


def key_text(path: KeyPath) -> str:
    """Return a readable key path, with items counted from one: `categories.weapons.unsafe, item 3`."""
    keys = ".".join(str(p) for p in path if isinstance(p, str))
    items = "".join(f", item {p + 1}" for p in path if isinstance(p, int))
    return keys + items


def parse_policy(content: bytes | str, file: str = "policy") -> Policy:
    """Parse the content of a policy file; errors refer to it as `file`.

    Raises:
        PolicyInvalid: its `args` are one `Problem` for each thing to fix.
    """
    document = read_document(_encoded(content))
    policy = _validated(document, file, _POLICY)
    if problems := list(_option_problems(policy, document, file)):
        raise PolicyInvalid(*problems)
    return policy


def parse_pointers(content: bytes | str, file: str = POINTER_FILE) -> Pointers:
    """Parse the content of the pointer file: policy name -> `Pointer`. A file without keys activates nothing.

    Raises:
        PolicyInvalid: its `args` are one `Problem` for each thing to fix.
    """
    document = read_document(_encoded(content))
    return {} if document.empty else _validated(document, file, _POINTERS)


def load_policy(path: Path) -> Policy:
    """Read `<folder>/<name>/<version>.yaml` and check the signal files in the folder against their pins.

    Raises:
        PolicyInvalid: as `read_policy`, or a signal file is not the pinned one.
    """
    policy = read_policy(path)
    check_signal_files(policy, path, digest_if_there)
    return policy


def read_policy(path: Path) -> Policy:
    """Read `<folder>/<name>/<version>.yaml`, which must contain that name and version.

    Raises:
        PolicyInvalid: the file is not a valid policy; the message lists every problem.
        PolicyUnreadable: the file cannot be read.
    """
    document = read_document(read_file(path))
    policy = _validated(document, str(path), _POLICY)
    problems = []
    if path.parent.name != policy.name:
        message = f"is '{policy.name}' in the folder '{path.parent.name}'; make the two the same"
        problems.append(Problem(str(path), document.line_of(("name",)), "name", message))
    if path.stem != str(policy.version):
        message = f"is {policy.version} in the file '{path.name}'; make the two the same"
        problems.append(Problem(str(path), document.line_of(("version",)), "version", message))
    problems += _option_problems(policy, document, str(path))
    if problems:
        raise PolicyInvalid(*problems)
    return policy


def _option_problems(policy: Policy, document: Document, file: str) -> Iterator[Problem]:
    """Yield the problems with the kinds and options of signals."""
    for n, signal in enumerate(policy.signals):
        for key, message in option_problems(signal.kind, signal.options, signal.file is not None):
            path: KeyPath = ("signals", n, key)
            yield Problem(file, document.line_of(path), key_text(path), message)


def check_signal_files(policy: Policy, path: Path, digest_of: Callable[[Path], str | None]) -> None:
    """Check the signal files in the policy folder against the digests that the policy pins.

    Args:
        policy: read from `path`.
        path: the policy's file.
        digest_of: returns the digest of a file, or None if it is missing: it may be added later, or be in the cache.

    Raises:
        PolicyInvalid: the content of a file differs.
    """
    problems = []
    for n, signal in enumerate(policy.signals):
        if signal.file is None:
            continue
        digest = digest_of(path.parent.parent / signal.file)
        if digest not in (None, signal.sha256):
            key: KeyPath = ("signals", n, "sha256")
            message = (
                f"'{signal.file}' has another content: its digest is {digest}; restore the file, or, for a "
                "new version, write that digest"
            )
            problems.append(Problem(str(path), line_of(path, key), key_text(key), message))
    if problems:
        raise PolicyInvalid(*problems)


def digest_if_there(file: Path) -> str | None:
    """Return the SHA-256 of a file, or None if it cannot be read."""
    try:
        return digest_below(file.parent, file.name)
    except OSError:
        return None


def line_of(path: Path, key: KeyPath) -> int:
    """Return the line of a key in a file that `load_policy` accepts, or of the nearest key above it."""
    return read_document(read_file(path)).line_of(key)


def read_file(path: Path, missing: bytes | None = None) -> bytes:
    """Read a file up to a bounded size; return `missing`, if given, when the file does not exist.

    A larger file is cut just above the bound.

    Raises:
        PolicyUnreadable: the file cannot be read.
        PolicyInvalid: it is not a regular file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PolicyInvalid(Problem(str(path), 1, "", "is not a regular file; remove it"))
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        if missing is not None and isinstance(error, FileNotFoundError):
            return missing
        message = f"cannot be read ({error.strerror or error}); check that it exists and its permissions"
        raise PolicyUnreadable(Problem(str(path), 1, "", message)) from error


def _encoded(content: bytes | str) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def _validated(document: Document, file: str, kind: TypeAdapter[T]) -> T:
    pointers = kind is _POINTERS
    faults = list(document.faults)
    result: T | None = None
    if isinstance(document.data, Mapping):
        try:
            result = kind.validate_python(document.data)
        except ValidationError as error:
            known = {fault.path for fault in faults}
            faults += [fault for fault in explain(error, document, pointers) if fault.path not in known]
    elif document.complete:
        example = "marketplace: {active: 1}" if pointers else "name: marketplace"
        faults.append(Fault(1, (), f"the file has to be a group of keys; start with '{example}'"))
    if faults or result is None:
        faults = [_with_invisible_cause(fault, document) for fault in faults]
        faults.sort(key=lambda fault: fault.line)
        problems = [Problem(file, f.line, key_text(f.path), f.message) for f in faults[:MAX_PROBLEMS]]
        raise PolicyInvalid(*problems)
    return result


def _with_invisible_cause(fault: Fault, document: Document) -> Fault:
    """Return the fault, blamed on an invisible character if its line has one: no other advice would help."""
    texts = [part for part in (*fault.path[-1:], document.value_at(fault.path)) if isinstance(part, str)]
    character = next((c for text in texts for c in text if invisible(c)), None)
    for line in range(fault.line, fault.line - 3, -1):
        column, there = document.invisible.get(line, (0, ""))
        if column and (there == character or not fault.path):
            at = f" at column {column}" + (f" of line {line}" if line != fault.line else "")
            cause = f"contains the invisible character {named(there)}{at}; write a plain space or nothing in its place"
            return replace(fault, message=cause if fault.path else f"{cause} ({fault.message})")
    if character is None:
        return fault
    cause = (
        f"contains the invisible character {named(character)}; write a plain space or nothing in its place"
    )
    return replace(fault, message=cause)
