"""The flood breaker in a worker: counts what is published, and diverts blocks of categories in flood."""

import logging
from collections import Counter
from collections.abc import Mapping
from threading import Lock

from moderator.engine.engine import Engine
from moderator.policies.schema import Policy
from moderator.queue.executors import Executor
from moderator.queue.floods import FloodKey, FloodReading, Floods, flood_rule
from moderator.scoring.flood import FloodRule, FloodState, FloodTurn, describe_rise, next_turn
from moderator.settings import FloodSettings
from moderator.verdicts import Decision, Diversion, Verdict
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)

#: Seconds between two exchanges with Redis.
FLOODS_EVERY_SECONDS = 1.0
_Version = tuple[str, int]
_LOGGED = {
    FloodTurn.OPEN: "its blocks go to review now: %s",
    FloodTurn.CALM: "it blocks as usual again; blocks count again after the cool-down",
    FloodTurn.HIGH: "it blocks far more than usual again",
    FloodTurn.CLOSE: "its blocks count again",
}


class FloodWatch:
    """Counts verdicts and diverts blocks from memory; `refresh` alone talks to Redis. Thread-safe.

    Args:
        floods: where all workers count.
        rule: when a breaker opens and closes; None: it is switched off.
        engine: knows the policies in force.
        metrics: show the state, and count.
    """

    def __init__(self, floods: Floods, rule: FloodRule | None, engine: Engine, metrics: Metrics) -> None:
        self._floods = floods
        self._rule = rule
        self._engine = engine
        self._metrics = metrics
        self._images: Counter[_Version] = Counter()
        self._blocks: Counter[tuple[_Version, str]] = Counter()
        self._lock = Lock()
        # Replaced as a whole: readers need no lock.
        self._open: Mapping[FloodKey, str] = {}
        self._known: set[FloodKey] = set()

    def divert(self, verdict: Verdict, policy: Policy) -> Verdict:
        """Return the verdict; one that blocks in categories in flood alone becomes a review that says so."""
        if not self._open or verdict.decision is not Decision.BLOCK:
            return verdict
        blocking = (name for name, one in verdict.categories.items() if one.decision is Decision.BLOCK)
        if not all(self._is_open(policy, name) for name in blocking):
            return verdict
        category = verdict.top_category
        if category is None:
            return verdict
        reason = self._open.get(FloodKey(policy.name, category))
        if reason is None:  # closed meanwhile
            return verdict
        diversion = Diversion(category=category, reason=f"flood breaker: {reason}")
        return verdict.model_copy(update={"decision": Decision.REVIEW, "diverted": diversion})

    def count(self, verdict: Verdict) -> None:
        """Count a published verdict."""
        facts = verdict.policy
        if self._rule is None or facts is None or facts.version is None or not verdict.categories:
            return
        if verdict.diverted is not None:
            self._metrics.floods.count_diverted(facts.name, verdict.diverted.category)
        blocked = [name for name, one in verdict.categories.items() if one.decision is Decision.BLOCK]
        version = facts.name, facts.version
        with self._lock:
            # A version's verdicts have all of its categories.
            self._images[version] += 1
            for name in blocked:
                self._blocks[version, name] += 1

    def refresh(self) -> None:
        """Send the counts since the last call, read the state, and open or close breakers.

        Raises errors of Redis: then the counts are sent with the next ones, and the state stays as it was read last.
        """
        if self._rule is None:
            return
        with self._lock:
            images, self._images = self._images, Counter()
            blocks, self._blocks = self._blocks, Counter()
        counts = self._by_category(images, blocks)
        self._known |= counts.keys()
        wanted = dict.fromkeys(self._known | self._in_force(), (0, 0)) | counts
        try:
            reading = self._floods.count(wanted)
        except BaseException:
            with self._lock:
                self._images.update(images)
                self._blocks.update(blocks)
            raise
        self._turn(reading, self._rule)

    def _turn(self, reading: FloodReading, rule: FloodRule) -> None:
        """Show the state as it was read, and change what is due. The next call reads the changes, whoever made them."""
        opened = {}
        for key, flood in reading.floods.items():
            record = flood.record
            reason = record.reason
            is_open = record.state(rule, reading.now) is FloodState.OPEN
            turn = next_turn(record, rule, reading.now)
            if turn is not None:
                if turn is FloodTurn.OPEN:
                    reason = describe_rise(record)
                elif turn is FloodTurn.CLOSE:
                    reason = "the category blocks as usual again"
                if self._floods.turn(key, flood, turn, reason):
                    level = logging.INFO if turn is FloodTurn.CALM else logging.WARNING
                    text = _LOGGED[turn] % reason if turn is FloodTurn.OPEN else _LOGGED[turn]
                    log.log(level, "flood breaker: category %s of %s: %s", key.category, key.policy, text)
                is_open = turn is not FloodTurn.CLOSE
            if is_open:
                opened[key] = reason
        self._open = opened
        self._metrics.floods.show((*key, key in opened) for key in reading.floods)

    def _in_force(self) -> set[FloodKey]:
        resolved = self._engine.catalogue.snapshot.resolved
        return {
            FloodKey(name, category)
            for name, one in resolved.items()
            for policy in (one.active, one.canary)
            if policy is not None
            for category in policy.categories
            if _is_watched(policy, category)
        }

    def _is_open(self, policy: Policy, category: str) -> bool:
        return FloodKey(policy.name, category) in self._open and _is_watched(policy, category)

    def _by_category(
        self, images: Mapping[_Version, int], blocks: Mapping[tuple[_Version, str], int]
    ) -> dict[FloodKey, tuple[int, int]]:
        """Return images and blocks of each watched category, of all versions together."""
        policies = self._engine.catalogue.snapshot.policies
        counts: dict[FloodKey, tuple[int, int]] = {}
        for version, number in images.items():
            policy = policies.get(version)
            for category in policy.categories if policy is not None else ():
                if policy is not None and _is_watched(policy, category):
                    key = FloodKey(version[0], category)
                    before, blocked = counts.get(key, (0, 0))
                    counts[key] = before + number, blocked + blocks.get((version, category), 0)
        return counts


def make_flood_watch(
    settings: FloodSettings, executor: Executor, engine: Engine, metrics: Metrics
) -> FloodWatch:
    """Return the flood breaker of the settings."""
    rule = flood_rule(settings) if settings.flood_breaker else None
    return FloodWatch(Floods(executor, settings.flood_window), rule, engine, metrics)


def _is_watched(policy: Policy, category: str) -> bool:
    spec = policy.categories.get(category)
    return spec is not None and spec.flood
