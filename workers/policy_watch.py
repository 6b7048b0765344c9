"""Keep a worker's policies current, show which are in use, and announce them to other workers."""

import logging

from moderator.engine.engine import Engine
from moderator.errors import EncoderForeign
from moderator.policies.policy_metrics import LoadedPolicy
from moderator.queue.announcements import Announcements
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)


class PolicyWatch:
    """Checks the policy folder periodically.

    Args:
        engine: uses the policies.
        metrics: show policies and their faults.
        announcements: where other workers read which policies this one knows.
    """

    def __init__(self, engine: Engine, metrics: Metrics, announcements: Announcements) -> None:
        self._engine = engine
        self._metrics = metrics
        self._announcements = announcements

    def refresh(self) -> None:
        """Read the changes in the folder."""
        if self._engine.refresh_policies():
            self.show()
            self.announce()
            log.info("policies reloaded")

    def announce(self) -> None:
        """Announce which policies events may name here."""
        self._announcements.announce(self._engine.catalogue.references())

    def show(self) -> None:
        """Report the faults in the policy folder, and which versions are in use."""
        catalogue = self._engine.catalogue
        for problem in catalogue.problems:
            log.error("%s", problem)
            self._metrics.count_failure(problem)
        snapshot = catalogue.snapshot
        loaded: list[LoadedPolicy] = []
        for name, resolved in snapshot.resolved.items():
            loaded.append(LoadedPolicy(name, resolved.active.version, resolved.active.digest, "active"))
            if resolved.canary is not None:
                loaded.append(LoadedPolicy(name, resolved.canary.version, resolved.canary.digest, "canary"))
            loaded += [
                LoadedPolicy(name, shadow.version, shadow.digest, "shadow")
                for shadow in resolved.shadows
                if (name, shadow.version) not in snapshot.unusable
            ]
        self._metrics.show_policies(loaded)
        self._metrics.show_foreign_policies(
            {key for key, error in snapshot.unusable.items() if isinstance(error, EncoderForeign)}
        )
