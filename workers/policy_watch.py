"""Keep a worker's policies current, show which are in use, and announce them to other workers and to commands."""

import logging
import os
import socket
from uuid import uuid4

from moderator.engine.engine import Engine
from moderator.errors import EncoderForeign
from moderator.policies.policy_metrics import LoadedPolicy
from moderator.policies.snapshot import Snapshot
from moderator.printable import printable
from moderator.queue.announcements import PROBLEM_CHARACTERS_MAX, Announcements, HeldPolicy
from moderator.queue.deadline import within
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)

#: Seconds that a worker that ends waits for Redis to take its announcement back.
LEAVE_SECONDS = 1.0


def worker_name() -> str:
    """Return a name for this worker that no other has: its machine, its process, and something random.

    Workers in containers may share the first two.
    """
    return f"{printable(socket.gethostname())}-{os.getpid()}-{uuid4().hex[:4]}"


class PolicyWatch:
    """Checks the policy folder periodically.

    Args:
        engine: uses the policies.
        metrics: show policies and their faults.
        announcements: where others read which policies this one knows and holds.
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
        """Announce which policies events may name here, and which versions are in force."""
        catalogue = self._engine.catalogue
        self._announcements.announce(catalogue.references(), held_policies(catalogue.snapshot))

    def leave(self) -> None:
        """Announce that this worker ends. Without Redis, the announcement ends by itself."""
        try:
            with within(LEAVE_SECONDS):
                self._announcements.leave()
        except Exception as error:  # the worker ends all the same
            log.info("cannot withdraw the announcement of this worker: %s", error)

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


def held_policies(snapshot: Snapshot) -> dict[str, HeldPolicy]:
    """Return what is in force of each policy that `active.yaml` names, and why not what it names."""
    held: dict[str, HeldPolicy] = {}
    for name in {**snapshot.pointers, **snapshot.resolved}:
        resolved, read = snapshot.resolved.get(name), snapshot.pointers.get(name)
        pointer = resolved.pointer if resolved else None
        held[name] = HeldPolicy(
            pointer=pointer,
            digest=resolved.active.digest if resolved else None,
            read=read,
            problem=_problem(snapshot, name)[:PROBLEM_CHARACTERS_MAX],
        )
    return held


def _problem(snapshot: Snapshot, name: str) -> str:
    """Return why a policy's pointer, or a shadow in it, cannot be used; empty if all of it can."""
    read, resolved = snapshot.pointers.get(name), snapshot.resolved.get(name)
    for version in read.shadow if read else ():
        if (name, version) in snapshot.unusable:
            return str(snapshot.unusable[name, version])
    if read is None or (resolved is not None and resolved.pointer == read):
        return ""
    about = (f": {name}.active: ", f": {name}.canary: ", f": {name}.shadow: ")
    found = (str(problem) for problem in snapshot.problems)
    return next((text for text in found if any(part in text for part in about)), "see the worker's log")
