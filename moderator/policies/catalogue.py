"""Keep all policies of a folder current as files change, and never worse than the last good state."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from moderator.errors import (
    PolicyError,
    PolicyInvalid,
    PolicyNotFound,
    PolicyUnreadable,
    PolicyUnreleased,
    PolicyUnusable,
)
from moderator.policies.folder import Listing, scan
from moderator.policies.loader import POINTER_FILE, Problem
from moderator.policies.parsed_files import ParsedFiles
from moderator.policies.pointer_schema import canary_picks
from moderator.policies.schema import Policy
from moderator.policies.snapshot import Admit, ResolvedPolicy, Snapshot, derive
from moderator.suggestions import did_you_mean

#: A failed compilation is retried at each of the first refreshes, then after twice as many each time, up to a
#: maximum, because a retry may take long.
_EAGER_TRIES = 3
_REFRESHES_SKIPPED_MAX = 15


@dataclass(frozen=True)
class Selection:
    """The versions that judge one event: one decides, the shadows are only recorded."""

    decides: Policy
    shadows: tuple[Policy, ...] = ()


class Catalogue:
    """Every policy of a folder. Readers in any thread see a consistent state; `refresh` replaces it.

    Args:
        folder: contains `<name>/<version>.yaml`, `active.yaml` and `releases.lock`.
        signal_folders: further folders with signal files.

    Raises:
        PolicyNotFound: the folder does not exist or holds no policy.
        PolicyInvalid: no policy in it is valid; the message lists every problem.
    """

    def __init__(self, folder: Path, signal_folders: tuple[Path, ...] = ()) -> None:
        self.folder = folder
        self._files = ParsedFiles(folder, signal_folders)
        self._lock = Lock()
        self._admit: Admit = lambda policy: None
        self._listing = Listing((), (), (), ())
        self._failed = 0
        self._pause = 0
        self._snapshot = Snapshot()
        if not folder.is_dir():
            raise PolicyNotFound(
                f"the policy folder {folder} does not exist; set MODERATOR_POLICIES or --policies to one"
            )
        self.refresh()
        if not self._snapshot.policies:
            if self._snapshot.problems:
                raise PolicyInvalid(*self._snapshot.problems)
            raise PolicyNotFound(f"no policy in {folder}; write one as {folder}/NAME/1.yaml")

    @property
    def snapshot(self) -> Snapshot:
        """The current state. It is immutable; read the property again for a newer one."""
        return self._snapshot

    @property
    def problems(self) -> tuple[PolicyError, ...]:
        """Current problems in the folder. The policies concerned stay as they last worked, if they ever did."""
        return self._snapshot.problems

    def knows(self, name: str) -> bool:
        """Return whether a policy has any version, usable or not."""
        return bool(_versions(self._snapshot, name))

    def references(self) -> Iterator[str]:
        """Yield the references that events may use: each policy with a version in force, and each released version."""
        snapshot = self._snapshot
        yield from snapshot.resolved
        for name, version in snapshot.policies:
            if (name, version) in snapshot.releases:
                yield f"{name}@{version}"

    def get(self, name: str, version: int | None = None) -> Policy:
        """Return a version of a policy, released or not; None means the active one.

        Raises:
            PolicyNotFound: there is no such policy or version, or none is active; the message lists what exists.
            PolicyError: the file of that version is broken and was never read successfully.
        """
        snapshot = self._snapshot
        if version is None:
            return _resolved(snapshot, name).active
        policy = snapshot.policies.get((name, version))
        if policy is None:
            if (name, version) in snapshot.broken:
                raise snapshot.broken[name, version]
            versions = _versions(snapshot, name)
            raise PolicyNotFound(f"'{name}' has no version {version}; there are: {_listed(versions)}")
        return policy

    def released(self, name: str, version: int) -> Policy:
        """Return a version that may decide although no pointer names it.

        Raises:
            PolicyUnreleased: the version is a draft.
            PolicyError: as `get`.
        """
        policy = self.get(name, version)
        if (name, version) not in self._snapshot.releases:
            raise PolicyUnreleased(
                f"{policy.reference} is a draft, and only released versions decide; "
                f"run 'moderator policy release {policy.reference}', or name another version"
            )
        return policy

    def select(self, name: str, event_key: str) -> Selection:
        """Return the versions for one event: the active one or the canary decides, the shadows are scored beside it.

        The version that decides is never its own shadow. When the canary decides, the active version is scored
        only if it is listed as a shadow.

        Raises:
            PolicyNotFound: there is no such policy, or none of its versions is active.
        """
        resolved = _resolved(self._snapshot, name)
        decides, canary = resolved.active, resolved.pointer.canary
        if resolved.canary and canary and canary_picks(event_key, name, canary.percent):
            decides = resolved.canary
        return Selection(decides, tuple(p for p in resolved.shadows if p.version != decides.version))

    def require(self, admit: Admit) -> None:
        """Require `admit(policy)` to pass before a version that a pointer names goes live.

        If it raises `PolicyUnusable`, the previous version stays in force, and `refresh` retries. It is called for all
        such versions now, and at each refresh that finds a change.
        """
        with self._lock:
            self._admit = admit
            self._snapshot = self._derive(replace(self._snapshot, resolved={}))
            self._failed = 0

    def refresh(self) -> bool:
        """Read what changed in the folder since the last call, and return whether that makes a difference.

        Cheap if nothing changed: a listing and one `stat` per file, signal files included. Never raises for the
        content of files: a broken one is listed in `problems` and leaves the last good state in place. Files that
        could not be read, and versions that did not compile, are retried.
        """
        with self._lock:
            before = self._snapshot
            try:
                listing = scan(self.folder)
            except OSError as error:
                message = (
                    f"cannot be listed ({error.strerror or error}); what was read from it stays in force"
                )
                problem = PolicyUnreadable(Problem(str(self.folder), 1, "", message))
                if list(map(str, before.problems)) == [str(problem)]:
                    return False
                self._files.forget_stamps()  # everything is read again when the folder is back
                self._snapshot = replace(before, problems=(problem,))
                return True
            changed = self._files.update(listing) or listing.differs(self._listing)
            if not changed and not self._try_again():
                return False
            self._listing = listing
            self._snapshot = self._derive(before)
            return changed or _differ(before, self._snapshot)

    def _try_again(self) -> bool:
        """Return whether a failure may have been temporary and a retry is due."""
        if any(isinstance(problem, PolicyUnreadable) for problem in self._snapshot.problems):
            return True
        if not self._snapshot.unusable:
            return False
        self._pause -= 1
        return self._pause < 0

    def _derive(self, before: Snapshot) -> Snapshot:
        snapshot = derive(self.folder, self._listing, self._files.results(), before, self._admit)
        self._failed = self._failed + 1 if snapshot.unusable else 0
        self._pause = min(2 ** max(0, self._failed - _EAGER_TRIES) - 1, _REFRESHES_SKIPPED_MAX)
        return snapshot


def _differ(one: Snapshot, other: Snapshot) -> bool:
    """Return whether users or events would notice the difference."""

    def seen(snapshot: Snapshot) -> tuple[object, ...]:
        problems = [str(problem) for problem in snapshot.problems]
        return problems, snapshot.resolved, set(snapshot.policies), snapshot.releases, snapshot.strays

    return seen(one) != seen(other)


def _resolved(snapshot: Snapshot, name: str) -> ResolvedPolicy:
    resolved = snapshot.resolved.get(name)
    if resolved is not None:
        return resolved
    versions = _versions(snapshot, name)
    if not versions:
        names = sorted({n for n, _ in (*snapshot.policies, *snapshot.broken)})
        hint = " ".join(filter(None, (did_you_mean(name, names), f"there are: {_listed(names)}")))
        raise PolicyNotFound(f"no policy '{name[:80]}'; {hint}")
    if name in snapshot.pointers:
        unusable = snapshot.unusable.get((name, snapshot.pointers[name].active))
        if unusable is not None:
            raise PolicyUnusable(f"the active version cannot be used: {unusable}")
        raise PolicyNotFound(
            f"the version of '{name}' in {POINTER_FILE} cannot be used; "
            f"run 'moderator policy lint {name}' to see why"
        )
    released = [v for v in versions if (name, v) in snapshot.releases]
    if released:
        remedy = f"run 'moderator policy activate {name}@{released[-1]}'"
    else:
        remedy = (
            f"run 'moderator policy release {name}@{versions[-1]}' and then 'activate' with the same name"
        )
    raise PolicyNotFound(f"no version of '{name}' is active (versions: {_listed(versions)}); {remedy}")


def _versions(snapshot: Snapshot, name: str) -> list[int]:
    return sorted({v for n, v in (*snapshot.policies, *snapshot.broken) if n == name})


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things)) or "none"
