"""All policies of a folder, kept current while files change, and never worse than the last good state."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
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
from moderator.policies.loader import (
    POINTER_FILE,
    Problem,
    check_signal_files,
    digest_if_there,
    read_policy,
)
from moderator.policies.releases import LOCK_FILE
from moderator.policies.schema import Policy, canary_picks
from moderator.policies.snapshot import Admit, Snapshot, Standing, attempt, derive

#: Modification time, change time (ns), size and inode: they tell an edited file from an untouched one. Empty: there,
#: and not to be looked at.
_Stamp = tuple[int, ...]
_Stamps = dict[Path, _Stamp]
#: What failed to compile is tried again at each of so many refreshes, then after twice as many each time, up to the
#: second number: it may take long.
_EAGER_TRIES = 3
_LONGEST_PAUSE = 15


@dataclass(frozen=True)
class Selection:
    """The versions that look at one event: one decides, the shadows are only recorded."""

    decides: Policy
    shadows: tuple[Policy, ...] = ()


class Catalogue:
    """Every policy of a folder. Readers of any thread see one consistent state; `refresh` brings the next.

    Args:
        folder: holds `<name>/<version>.yaml`, `active.yaml` and `releases.lock`.
        signal_folders: where files of signals may lie beside it.

    Raises:
        PolicyNotFound: the folder does not exist or holds no policy.
        PolicyInvalid: no policy in it is valid; the message lists every problem.
    """

    def __init__(self, folder: Path, signal_folders: tuple[Path, ...] = ()) -> None:
        self.folder = folder
        self._signal_folders = signal_folders
        self._lock = Lock()
        self._admit: Admit = lambda policy: None
        self._listing = Listing((), (), (), ())
        self._stamps: _Stamps = {}
        self._parsed: dict[Path, Policy | PolicyError] = {}
        self._digests: dict[Path, tuple[_Stamp, str | None]] = {}
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
        """The current state. It does not change; ask again for a newer one."""
        return self._snapshot

    @property
    def problems(self) -> tuple[PolicyError, ...]:
        """What is wrong in the folder now. Policies it concerns are as they last worked, if they ever did."""
        return self._snapshot.problems

    def knows(self, name: str) -> bool:
        """Whether there is a version of a policy, usable or not."""
        return bool(_versions(self._snapshot, name))

    def references(self) -> Iterator[str]:
        """What events may name: each policy that has a version in force, and each released version."""
        snapshot = self._snapshot
        yield from snapshot.standings
        for name, version in snapshot.policies:
            if (name, version) in snapshot.releases:
                yield f"{name}@{version}"

    def get(self, name: str, version: int | None = None) -> Policy:
        """A version of a policy, released or not; None is the active one.

        Raises:
            PolicyNotFound: there is no such policy or version, or none is active; the message lists what is.
            PolicyError: the file of that version is broken and was never read well.
        """
        snapshot = self._snapshot
        if version is None:
            return _standing(snapshot, name).active
        policy = snapshot.policies.get((name, version))
        if policy is None:
            if (name, version) in snapshot.broken:
                raise snapshot.broken[name, version]
            versions = _versions(snapshot, name)
            raise PolicyNotFound(f"'{name}' has no version {version}; there are: {_listed(versions)}")
        return policy

    def released(self, name: str, version: int) -> Policy:
        """A version that may decide though no pointer names it.

        Raises:
            PolicyUnreleased: it is a draft.
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
        """The versions for one event: the active one or the canary decides, the shadows look on.

        A version that decides is not its own shadow. When the canary decides, the active version looks on
        only if it is listed as a shadow.

        Raises:
            PolicyNotFound: there is no such policy, or none of its versions is active.
        """
        standing = _standing(self._snapshot, name)
        decides, canary = standing.active, standing.pointer.canary
        if standing.canary and canary and canary_picks(event_key, name, canary.percent):
            decides = standing.canary
        return Selection(decides, tuple(p for p in standing.shadows if p.version != decides.version))

    def require(self, admit: Admit) -> None:
        """Let a version that a pointer names go live only after `admit(policy)`, from now on.

        Where it raises `PolicyUnusable`, what worked before stays in force, and `refresh` tries again. It is called
        for all such versions now, and at each refresh that finds a change.
        """
        with self._lock:
            self._admit = admit
            self._snapshot = self._derive(replace(self._snapshot, standings={}))
            self._failed = 0

    def refresh(self) -> bool:
        """Take in what changed in the folder since the last call; False where that makes no difference.

        Cheap where nothing did: a listing and one `stat` per file, those of signals included. Never raises for what is
        in the files: a broken one is listed in `problems` and leaves what worked before in place. What could not be
        read, or did not compile, is tried again.
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
                self._stamps = {}  # all is read again when it is back
                self._snapshot = replace(before, problems=(problem,))
                return True
            stamps = self._read_changed(listing)
            changed = stamps != self._stamps or listing.differs(self._listing)
            if not changed and not self._try_again():
                return False
            self._stamps, self._listing = stamps, listing
            self._snapshot = self._derive(before)
            return changed or _differ(before, self._snapshot)

    def _read_changed(self, listing: Listing) -> _Stamps:
        """Parse the files that changed, and return the stamps of all."""
        # Files in a folder that cannot be listed now are still there, as far as we know.
        hidden = [path for path in self._parsed if path.parent in listing.unreadable]
        files = [*listing.files, *hidden]
        stamps = dict(self._stamps_of(files, gone=()))
        for path in [p for p in self._parsed if p not in stamps]:
            del self._parsed[path]
        for path, stamp in stamps.items():
            known = self._parsed.get(path)
            if known is None or isinstance(known, PolicyUnreadable) or stamp != self._stamps.get(path):
                self._parsed[path] = attempt(read_policy, path)
        of_signals = {
            folder / signal.file
            for policy in self._parsed.values()
            if isinstance(policy, Policy)
            for signal in policy.signals
            if signal.file is not None
            for folder in (self.folder, *self._signal_folders)
        }
        return {
            **stamps,
            **dict(self._stamps_of([self.folder / POINTER_FILE, self.folder / LOCK_FILE])),
            **dict(self._stamps_of(of_signals)),
        }

    def _stamps_of(self, paths: Iterable[Path], gone: _Stamp | None = None) -> Iterator[tuple[Path, _Stamp]]:
        for path in paths:
            try:
                s = path.stat()
                yield path, (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino)
            except (FileNotFoundError, NotADirectoryError):
                if gone is not None:
                    yield path, gone
            except OSError:
                yield path, ()

    def _try_again(self) -> bool:
        """Whether something failed that may have passed, and it is time to look."""
        if any(isinstance(problem, PolicyUnreadable) for problem in self._snapshot.problems):
            return True
        if not self._snapshot.unusable:
            return False
        self._pause -= 1
        return self._pause < 0

    def _derive(self, before: Snapshot) -> Snapshot:
        checked = {path: self._with_signal_files(path, result) for path, result in self._parsed.items()}
        snapshot = derive(self.folder, self._listing, checked, before, self._admit)
        self._failed = self._failed + 1 if snapshot.unusable else 0
        self._pause = min(2 ** max(0, self._failed - _EAGER_TRIES) - 1, _LONGEST_PAUSE)
        return snapshot

    def _with_signal_files(self, path: Path, result: Policy | PolicyError) -> Policy | PolicyError:
        """The policy, or what is wrong with the files of its signals."""
        if isinstance(result, Policy) and result.signals:
            try:
                check_signal_files(result, path, self._digest)
            except PolicyError as error:
                return error
        return result

    def _digest(self, path: Path) -> str | None:
        """The digest of a signal's file, taken again when the file changed or could not be read."""
        stamp = self._stamps.get(path)
        if stamp is None:
            return None
        known_stamp, digest = self._digests.get(path, ((), None))
        if digest is None or stamp != known_stamp:
            digest = digest_if_there(path)
            self._digests[path] = stamp, digest
        return digest


def _differ(one: Snapshot, other: Snapshot) -> bool:
    """Whether people or events would notice."""

    def seen(snapshot: Snapshot) -> tuple[object, ...]:
        problems = [str(problem) for problem in snapshot.problems]
        return problems, snapshot.standings, set(snapshot.policies), snapshot.releases, snapshot.strays

    return seen(one) != seen(other)


def _standing(snapshot: Snapshot, name: str) -> Standing:
    standing = snapshot.standings.get(name)
    if standing is not None:
        return standing
    versions = _versions(snapshot, name)
    if not versions:
        names = sorted({n for n, _ in (*snapshot.policies, *snapshot.broken)})
        close = get_close_matches(name, names, n=1, cutoff=0.6)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise PolicyNotFound(f"no policy '{name[:80]}'; {hint}there are: {_listed(names)}")
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
