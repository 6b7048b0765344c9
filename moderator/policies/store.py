"""The one way to change a folder of policies: locked, checked, and in one step that a crash does not halve."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moderator.policies.catalogue import Catalogue
from moderator.policies.pointers import Activation, swap_active
from moderator.policies.releases import release
from moderator.policies.schema import Policy


@dataclass(frozen=True)
class PolicyStore:
    """A folder of policies that several people and programs change.

    Changes wait for one another, start from what the folder says then, and are on the disk when they return.
    """

    folder: Path
    check: Callable[[Policy], object]
    """Is given a version before it is released or activated; what it raises prevents that."""

    def read(self) -> Catalogue:
        """Read the folder as it is now.

        Raises:
            PolicyError: as `Catalogue`.
        """
        return Catalogue(self.folder)

    def release(self, name: str, version: int) -> Policy:
        """Release a version, for good; a version that is released already is not checked again.

        Raises:
            PolicyNotFound: there is no such version.
            PolicyError: as `releases.release`, or what `check` raises.
        """
        self.read().get(name, version)
        return release(self.folder, name, version, self.check)

    def activate(self, name: str, version: int) -> Activation:
        """Let a released version decide.

        Raises:
            PolicyNotFound: there is no such version.
            PolicyError: as `pointers.swap_active`, or what `check` raises.
        """
        self.read().get(name, version)
        return swap_active(self.folder, name, version, self.check)
