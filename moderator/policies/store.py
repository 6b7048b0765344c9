"""The only way to change a policy folder: locked, compared, checked, recorded, and in steps that survive a crash.

No other code writes `releases.lock`, `active.yaml` and `audit.jsonl`; people may still edit the first two by hand.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from moderator.errors import PolicyConflict, PolicyNotFound, PolicyNotWritten, PolicyUnreleased
from moderator.policies.audit import (
    MAX_REASON_LENGTH,
    Action,
    Change,
    Mark,
    Record,
    append,
    current_user,
    history,
    read_records,
    version_before,
)
from moderator.policies.catalogue import Catalogue
from moderator.policies.loader import POINTER_FILE, load_policy, read_file
from moderator.policies.pointer_changes import (
    pointed_at,
    promoted,
    with_canary,
    with_shadow,
    without_canary,
    without_shadow,
)
from moderator.policies.pointer_schema import Pointer
from moderator.policies.pointers import read_pointers, with_pointer
from moderator.policies.policy_files import locked, replace_text
from moderator.policies.releases import LOCK_FILE, read_releases, releases_text, verify
from moderator.policies.schema import Policy
from moderator.printable import printable


@dataclass(frozen=True)
class Activation:
    """A policy's pointer before and after."""

    before: Pointer | None
    now: Pointer


@dataclass(frozen=True)
class PolicyStore:
    """A policy folder that several people and programs change.

    Changes wait for one another, start from the folder as it is by then, and are on disk when they return. Each is
    recorded (see `audit`). A change that makes no difference is neither made nor recorded.

    All methods that change something take the `name` and the `version` of a policy, a `reason` for the record, and
    `expect`: what the caller has seen, so that nothing changes if it is otherwise by now. For a release that is the
    digest of the text, for all others the active version, 0 for none; None: anything.

    They raise, besides the errors that they list:
        PolicyNotFound: there is no such version.
        PolicyInvalid: the version, `releases.lock` or `active.yaml` is not valid.
        PolicyChanged: the version was edited after its release.
        PolicyConflict: the folder is not as the caller expects.
        PolicyNotWritten: the folder is not writable.
    and whatever `check` raises.
    """

    folder: Path
    check: Callable[[Policy], object]
    """Compiles a version before it is released or goes live; an error prevents that."""
    actor: str = field(default_factory=current_user)
    """User name in the records."""

    def read(self) -> Catalogue:
        """Read the folder as it is now.

        Raises:
            PolicyError: as `Catalogue`.
        """
        return Catalogue(self.folder)

    def log(self, name: str | None = None) -> list[Change]:
        """Return all changes, or those of one policy, oldest first, with their outcomes.

        A change that another process is making may appear as not applied.

        Raises:
            PolicyInvalid: `releases.lock` or `active.yaml` is not valid.
        """
        changes = history(*read_records(self.folder), read_pointers(self.folder), read_releases(self.folder))
        return [change for change in changes if name in (None, change.record.policy)]

    def release(self, name: str, version: int, *, expect: str | None = None, reason: str = "") -> Policy:
        """Release a version permanently: write its digest to `releases.lock`, and return the policy.

        A version that is released already is not checked again.
        """
        while True:
            policy = self._load(name, version)
            if expect not in (None, policy.digest):
                raise PolicyConflict(
                    f"{policy.reference} has the digest {policy.digest[:12]}, not {str(expect)[:12]}: it was edited "
                    "meanwhile; look at it again, and release what it says now"
                )
            if verify(policy, read_releases(self.folder)):
                return policy
            self.check(policy)  # outside the lock: this may take long
            with locked(self.folder):
                if self._load(name, version).digest != policy.digest:
                    continue  # edited in the meantime
                releases = read_releases(self.folder)
                if not verify(policy, releases):
                    text = releases_text({**releases, (name, version): policy.digest})
                    record = self._record(Action.RELEASE, name, version, policy.digest, reason)
                    self._write(LOCK_FILE, text, record)
                return policy

    def activate(self, name: str, version: int, *, expect: int | None = None, reason: str = "") -> Activation:
        """Make a released version decide.

        If it was a shadow or the canary, it no longer is. Other shadows and another canary stay.

        Raises:
            PolicyUnreleased: the version is not released.
        """
        return self._point(
            Action.ACTIVATE, name, version, partial(pointed_at, version=version), expect, reason
        )

    def shadow(
        self, name: str, version: int, *, on: bool = True, expect: int | None = None, reason: str = ""
    ) -> Activation:
        """Score a released version beside the active one, which goes on to decide; or end that.

        Args:
            on: whether the version is to be a shadow. To end it, neither its file nor its release is needed.

        Raises:
            PolicyUnreleased: the version is not released.
            PolicyNotFound: the policy has no active version.
            PolicyConflict: the version is active, or there are too many shadows.
        """

        def change(pointer: Pointer) -> Pointer:
            return with_shadow(pointer, name, version) if on else without_shadow(pointer, version)

        return self._point(
            Action.SHADOW, name, version, self._beside(name, change), expect, reason, needed=on
        )

    def canary(
        self, name: str, version: int, percent: float | None, *, expect: int | None = None, reason: str = ""
    ) -> Activation:
        """Make a released version decide for a share of the events, in place of the active one; or end that.

        Another canary of the policy ends. The choice of events is stable, see `pointer_schema.canary_picks`.

        Args:
            percent: of the events, 0 to 100; None ends the canary, which needs neither its file nor its release.

        Raises:
            PolicyUnreleased: the version is not released.
            PolicyNotFound: the policy has no active version.
            PolicyConflict: the version is active; or the canary to end is another version.
        """

        def change(pointer: Pointer) -> Pointer:
            if percent is None:
                return without_canary(pointer, name, version)
            return with_canary(pointer, name, version, percent)

        needed = percent is not None
        return self._point(Action.CANARY, name, version, self._beside(name, change), expect, reason, needed)

    def promote(self, name: str, version: int, *, expect: int | None = None, reason: str = "") -> Activation:
        """Make a shadow or the canary decide for all events.

        Raises:
            PolicyUnreleased: the version is not released.
            PolicyConflict: the version is neither a shadow nor the canary.
        """
        change = partial(promoted, name=name, version=version)
        return self._point(Action.PROMOTE, name, version, change, expect, reason)

    def rollback(self, name: str, *, expect: int | None = None, reason: str = "") -> Activation:
        """Make the previously active version decide again; each repetition goes one version further back.

        Raises:
            PolicyNotFound: no earlier version is recorded.
        """
        pointer = read_pointers(self.folder).get(name)
        if pointer is None:
            self.read().get(name)  # raises, and lists what exists
        earlier = version_before(self.log(name), name)
        if pointer is None or earlier is None:
            raise PolicyNotFound(
                f"no version of '{name}' is recorded as active before the one that is active now; "
                f"name it: moderator policy activate {name}@VERSION"
            )
        # If somebody has changed the pointer since, the version before it differs as well.
        expect = pointer.active if expect is None else expect
        return self._point(
            Action.ROLLBACK, name, earlier, partial(pointed_at, version=earlier), expect, reason
        )

    def _point(
        self,
        action: Action,
        name: str,
        version: int,
        change: Callable[[Pointer | None], Pointer],
        expect: int | None,
        reason: str,
        needed: bool = True,
    ) -> Activation:
        """Replace a policy's pointer by what `change` makes of it; `needed`: the version is to be used from now on."""
        if needed:
            # Outside the lock: this may take long. A released version does not change in the meantime.
            self.check(self._released(name, version))
        with locked(self.folder):
            digest = read_releases(self.folder).get((name, version))
            if needed:
                digest = self._released(name, version).digest
            before = read_pointers(self.folder).get(name)
            active = before.active if before else 0
            if expect not in (None, active):
                raise PolicyConflict(self._other_version(name, active, expect))
            now = change(before)
            if now != before:
                text = read_file(self.folder / POINTER_FILE, missing=b"").decode("utf-8-sig")
                text = with_pointer(text, name, now)
                record = self._record(action, name, version, digest, reason, before, now)
                self._write(POINTER_FILE, text, record)
            return Activation(before, now)

    def _beside(self, name: str, change: Callable[[Pointer], Pointer]) -> Callable[[Pointer | None], Pointer]:
        """Return a change that is refused for a policy without an active version."""

        def changed(pointer: Pointer | None) -> Pointer:
            if pointer is None:
                self.read().get(name)  # raises, and lists what exists
            assert pointer is not None
            return change(pointer)

        return changed

    def _record(
        self,
        action: Action,
        name: str,
        version: int,
        digest: str | None,
        reason: str,
        before: Pointer | None = None,
        after: Pointer | None = None,
    ) -> Record:
        return Record(
            who=printable(self.actor),
            action=action,
            policy=name,
            version=version,
            before=before,
            after=after,
            digest=digest,
            why=printable(reason, " ")[:MAX_REASON_LENGTH],
        )

    def _write(self, file: str, text: str, record: Record) -> None:
        append(self.folder, record)
        replace_text(self.folder / file, text)
        with suppress(PolicyNotWritten):  # the change is made; `history` finds that out without the mark
            append(self.folder, Mark(applied=record.id))

    def _load(self, name: str, version: int) -> Policy:
        path = self.folder / name / f"{version}.yaml"
        if not path.exists():
            self.read().get(name, version)  # raises, and lists what exists
        return load_policy(path)

    def _released(self, name: str, version: int) -> Policy:
        policy = self._load(name, version)
        if not verify(policy, read_releases(self.folder)):
            raise PolicyUnreleased(
                f"{policy.reference} is not released, and only released versions decide: "
                f"run 'moderator policy release {policy.reference}' first"
            )
        return policy

    def _other_version(self, name: str, active: int, expected: int | None) -> str:
        now = f"version {active} of '{name}' is active" if active else f"no version of '{name}' is active"
        seen = f"version {expected} as expected" if expected else "none as expected"
        return (
            f"{now}, not {seen}: it was changed meanwhile; look at 'moderator policy log {name}', and try again "
            f"with --expect {active}"
        )
