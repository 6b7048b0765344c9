"""Select the versions of a policy that judge an image."""

from dataclasses import dataclass
from typing import Self

from moderator.errors import PolicyError
from moderator.events import Event
from moderator.policies.catalogue import Catalogue, Selection
from moderator.policies.references import parse_reference
from moderator.settings import Settings
from moderator.signals.signal_files import SIGNAL_FILES
from moderator.verdicts import PolicyFacts


@dataclass(frozen=True)
class PolicyResolver:
    """Resolver of policy references: `NAME`, with canary and shadows, or `NAME@VERSION` alone."""

    catalogue: Catalogue
    default_policy: str
    """The policy for events that name none."""
    drafts: bool = False
    """Whether references may name unreleased versions. Only for uses where the result decides nothing."""

    @classmethod
    def from_settings(cls, settings: Settings, *, drafts: bool = False) -> Self:
        """Read the policy folder that the settings name.

        Raises:
            PolicyError: as `Catalogue`.
        """
        catalogue = Catalogue(settings.policies, (settings.cache / SIGNAL_FILES,))
        return cls(catalogue, settings.default_policy, drafts)

    def select(self, reference: str, event_key: str) -> Selection:
        """Return the versions that decide and shadow for an event.

        Raises:
            PolicyNotFound: there is no such policy.
            PolicyUnreleased: the version is a draft.
        """
        name, version = parse_reference(reference)
        if version is None:
            return self.catalogue.select(name, event_key)
        find = self.catalogue.get if self.drafts else self.catalogue.released
        return Selection(find(name, version))

    def select_for(self, event: Event) -> Selection:
        """Return the versions for an event, of the policy that it names or else the default one.

        Raises:
            PolicyNotFound, PolicyUnreleased: as `select`.
        """
        return self.select(event.policy or self.default_policy, event.key)

    def describe(self, event: Event) -> PolicyFacts | None:
        """Return the policy that would have decided, only its name if no version may decide, or None if unknown."""
        try:
            decides = self.select_for(event).decides
            return PolicyFacts(name=decides.name, version=decides.version, digest=decides.digest)
        except PolicyError:
            pass
        try:
            name, _ = parse_reference(event.policy or self.default_policy)
        except PolicyError:
            return None
        return PolicyFacts(name=name) if self.catalogue.knows(name) else None
