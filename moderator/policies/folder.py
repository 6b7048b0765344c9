"""List a policy folder: version files, and files that look like one and are not read."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from moderator.errors import PolicyError, PolicyInvalid, PolicyUnreadable
from moderator.policies.audit import AUDIT_FILE
from moderator.policies.loader import POINTER_FILE, Problem
from moderator.policies.releases import LOCK_FILE
from moderator.policies.schema import Policy

#: Maximum number of strays reported; nobody reads more.
MAX_STRAYS = 50

_YAML = re.compile(r"\.ya?ml$", re.IGNORECASE)
#: Copies that editors and people leave: `3.yaml~`, `3.yaml.bak`, `#3.yaml#`.
_COPY = re.compile(r"\.ya?ml", re.IGNORECASE)
#: Folders that file systems and Python create, and files for people.
_EXPECTED = re.compile(
    r"lost\+found|__pycache__|(readme|licen[cs]e|changelog|codeowners)(\..*)?|.*\.(md|rst)", re.I
)


@dataclass(frozen=True)
class Listing:
    """The contents of a folder at one moment, without hidden files."""

    files: tuple[Path, ...]
    """`<name>/<version>.yaml`, and other files in these folders that end in `.yaml`."""
    others: tuple[Path, ...]
    """Everything else: files, and folders without a version, each followed by its contents."""
    unreadable: tuple[Path, ...]
    """Folders that exist and cannot be listed now."""
    problems: tuple[PolicyError, ...]
    """Files that somebody may believe to be in use."""

    def differs(self, other: "Listing") -> bool:
        """Return whether another listing differs; errors are never equal, so their texts are compared."""
        texts, others = ([str(problem) for problem in one.problems] for one in (self, other))
        return texts != others or replace(self, problems=()) != replace(other, problems=())


def scan(folder: Path) -> Listing:
    """List a policy folder.

    Raises:
        OSError: the folder cannot be listed.
    """
    files: list[Path] = []
    others: list[Path] = []
    unreadable: list[Path] = []
    problems: list[PolicyError] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            if re.fullmatch(r"active\.ya?ml", entry.name, re.I) and entry.name != POINTER_FILE:
                problems.append(_problem(entry, f"is not read; rename it to {POINTER_FILE}"))
            elif entry.name not in (POINTER_FILE, LOCK_FILE, AUDIT_FILE):
                others.append(entry)
            continue
        if _EXPECTED.fullmatch(entry.name):
            continue
        try:
            inside = _entries(entry)
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable.append(entry)
            message = f"cannot be listed ({error.strerror or error}); check its permissions and its disk"
            problems.append(PolicyUnreadable(Problem(str(entry), 1, "", message)))
            continue
        versions = [path for path in inside if path.suffix == ".yaml" and not path.is_dir()]
        files += versions
        if not versions:
            others.append(entry)
        for path in inside:
            if path in versions:
                continue
            if _YAML.search(path.name) and not path.is_dir():
                problems.append(_problem(path, f"is not read; rename it to {path.stem}.yaml"))
            else:
                others.append(path)
    return Listing(tuple(files), tuple(others), tuple(unreadable), tuple(problems))


def strays(folder: Path, listing: Listing, policies: Iterable[Policy]) -> tuple[Problem, ...]:
    """Return the files that nothing reads, with the remedy: somebody may believe that they have an effect."""
    named = {PurePosixPath(signal.file) for p in policies for signal in p.signals if signal.file is not None}
    used = {path for file in named for path in (file, *file.parents)}
    found: list[Problem] = []
    for path in listing.others:
        if PurePosixPath(path.relative_to(folder).as_posix()) in used or _EXPECTED.fullmatch(path.name):
            continue
        if any(problem.file == str(path.parent) for problem in found):
            continue  # its folder is reported
        found.append(Problem(str(path), 1, "", f"is not read: {_why(folder, path)}"))
    return tuple(found[:MAX_STRAYS])


def _why(folder: Path, path: Path) -> str:
    if path.is_dir() and path.parent == folder:
        return f"the folder holds no version; write {path.name}/1.yaml, or remove it"
    if path.is_dir():
        return f"versions lie directly in {path.parent.name}/; move them there, or remove the folder"
    if path.parent == folder and _YAML.search(path.name):
        return "versions lie at NAME/VERSION.yaml; move it there, or out of the folder of policies"
    if _COPY.search(path.name):
        return "versions end in .yaml; remove the copy, or give it the name of the next version"
    return (
        "no policy names it as the file of a signal; name it in one, or move it out of the folder of policies"
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _problem(path: Path, message: str) -> PolicyInvalid:
    return PolicyInvalid(Problem(str(path), 1, "", message))


def missing_releases(
    folder: Path, releases: Iterable[tuple[str, int]], there: set[tuple[str, int]]
) -> Iterator[PolicyInvalid]:
    """Yield a problem for each released version whose file is missing: its verdicts could no longer be explained."""
    gone = [release for release in releases if release not in there]
    if not gone:
        return
    lock = folder / LOCK_FILE
    try:
        lines = lock.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for name, version in gone:
        reference = f"{name}@{version}"
        line = next((n for n, text in enumerate(lines, 1) if text.split()[:1] == [reference]), 1)
        message = (
            f"is released, and its file {folder / name / f'{version}.yaml'} is gone; restore it (git restore)"
        )
        yield PolicyInvalid(Problem(str(lock), line, reference, message))
