"""All policies of a folder, kept current while files change, and never worse than the last good state."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from threading import Lock

from moderator.errors import PolicyError, PolicyInvalid, PolicyNotFound, PolicyUnreleased
from moderator.policies.loader import POINTER_FILE, load_policy
from moderator.policies.releases import LOCK_FILE
from moderator.policies.schema import Policy, canary_picks
from moderator.policies.snapshot import Snapshot, Standing, attempt, derive, policy_files

#: Modification time, change time (ns), size and inode: they tell an edited file from an untouched one.
_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Selection:
    """The versions that look at one event: one decides, the shadows are only recorded."""

    decides: Policy
    shadows: tuple[Policy, ...] = ()


def parse_reference(text: str) -> tuple[str, int | None]:
    """Read `NAME` or `NAME@VERSION`; the version is None where none is given.

    Raises:
        PolicyNotFound: the text is neither.
    """
    match = re.fullmatch(r"([a-z0-9]+(?:-[a-z0-9]+)*)(?:@([1-9][0-9]{0,5}))?", text)
    if not match:
        raise PolicyNotFound(
            f"'{text[:80]}' does not name a policy; write NAME or NAME@VERSION, such as marketplace@2"
        )
    return match[1], int(match[2]) if match[2] else None


class Catalogue:
    """Every policy of a folder. Readers of any thread see one consistent state; `refresh` brings the next.

    Args:
        folder: holds `<name>/<version>.yaml`, `active.yaml` and `releases.lock`.

    Raises:
        PolicyNotFound: the folder does not exist or holds no policy.
        PolicyInvalid: no policy in it is valid; the message lists every problem.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._stamps: dict[Path, _Stamp] = {}
        self._parsed: dict[Path, Policy | PolicyError] = {}
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

    def refresh(self) -> bool:
        """Take in what changed in the folder since the last call; False where nothing did.

        Cheap where nothing did: one listing and one `stat` per file. Never raises for what is in the files:
        a broken one is listed in `problems` and leaves what worked before in place.
        """
        with self._lock:
            stamps = self._stat()
            if stamps == self._stamps:
                return False
            for path in [p for p in self._parsed if p not in stamps]:
                del self._parsed[path]
            for path, stamp in stamps.items():
                if path.parent != self.folder and stamp != self._stamps.get(path):
                    self._parsed[path] = attempt(load_policy, path)
            self._stamps = stamps
            self._snapshot = derive(self.folder, self._parsed, self._snapshot)
            return True

    def _stat(self) -> dict[Path, _Stamp]:
        paths = [self.folder / POINTER_FILE, self.folder / LOCK_FILE, *policy_files(self.folder)]
        stamps = {}
        for path in paths:
            try:
                s = path.stat()
            except OSError:
                continue
            stamps[path] = (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino)
        return stamps


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
