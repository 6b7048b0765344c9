"""Judge an archived verdict again: from the embedding and the readings that the archive keeps, or from the image."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from pydantic import ValidationError

from moderator.archive.archive_store import Archive, ArchivedVerdict
from moderator.archive.evidence_reader import evidence_of
from moderator.archive.verdict_filter import VerdictFilter
from moderator.engine.engine import Engine
from moderator.engine.judge import Judge, Judged
from moderator.errors import PolicyError, ReplayImpossible
from moderator.identity import Identity
from moderator.policies.catalogue import Selection
from moderator.policies.schema import Policy
from moderator.queue.evidence import as_kept
from moderator.signals.evaluator import restored
from moderator.verdicts import Decision, ModelFacts, Verdict

#: Verdicts about one event that are looked at: those of people come on top.
VERDICTS_MAX = 100


@dataclass(frozen=True, eq=False)
class Replay:
    """An archived verdict, and what the same policy says now."""

    archived: Verdict
    verdict_id: int
    judged: Judged
    model: ModelFacts
    """The encoder of the replay."""
    from_image: bool

    @property
    def same_decision(self) -> bool:
        """Return whether the decision is the same, and that of each category."""
        now = self.judged.judgement
        return now.decision == self.archived.decision and {
            name: category.decision for name, category in now.categories.items()
        } == {name: category.decision for name, category in self.archived.categories.items()}

    @property
    def score_difference(self) -> float:
        """Return the largest difference between scores of a category; infinite if the categories are others."""
        now, before = self.judged.judgement.categories, self.archived.categories
        if now.keys() != before.keys():
            return float("inf")
        return max(abs(now[name].score - category.score) for name, category in before.items())


def replay(
    archive: Archive,
    engine: Engine,
    event_id: str,
    source: str | None = None,
    image: Callable[[Verdict], bytes] | None = None,
) -> Replay:
    """Judge the image of an event again, by the version of the policy that decided.

    Args:
        archive: has the verdict.
        engine: of the encoder that the verdict rests on; finds drafts and released versions.
        event_id: of the event.
        source: of the event; needed if several sources use the id.
        image: returns the bytes of the verdict's image; None: judge the archived embedding.

    Raises:
        ReplayImpossible: something that the verdict rests on is not there, or is another.
        ModeratorError: the image cannot be fetched or judged.
    """
    found, verdict = _find(archive, event_id, source)
    policy = _policy(engine, verdict)
    judge = Judge(engine.compiler, engine.signals)
    if image is None:
        judged = _from_evidence(archive, engine, judge, policy, found, verdict)
    else:
        judged = _from_image(engine, judge, policy, verdict, image(verdict))
    return Replay(verdict, found.id, judged, engine.model, image is not None)


def _find(archive: Archive, event_id: str, source: str | None) -> tuple[ArchivedVerdict, Verdict]:
    """Return the newest verdict about an event that was judged, not decided by people."""
    verdicts = archive.find(VerdictFilter(event_id=event_id, source=source), limit=VERDICTS_MAX)
    if not verdicts:
        raise ReplayImpossible(
            f"the archive has no verdict about the event {event_id!r}; it may be in the outbox still, or be erased"
        )
    try:
        read = [(found, Verdict.model_validate_json(found.body)) for found in verdicts]
    except ValidationError as error:
        raise ReplayImpossible(
            f"a verdict about {event_id!r} is of another version: update this program"
        ) from error
    sources = sorted({verdict.source for _, verdict in read})
    if len(sources) > 1:
        raise ReplayImpossible(
            f"events of several sources have this id: name one of {', '.join(sources)} with --source"
        )
    judged = [one for one in read if one[1].revises is None]
    if not judged:
        raise ReplayImpossible(f"all archived verdicts about {event_id!r} are those of people")
    found, verdict = judged[0]
    if verdict.decision is Decision.ERROR:
        reason = "" if verdict.error is None else f" ({verdict.error.type}: {verdict.error.message})"
        raise ReplayImpossible(f"the image of {event_id!r} was not judged{reason}")
    return found, verdict


def _policy(engine: Engine, verdict: Verdict) -> Policy:
    """Return the version that decided, with the same digest."""
    facts = verdict.policy
    if facts is None or facts.version is None:
        raise ReplayImpossible(f"the verdict about {verdict.event_id!r} names no version of a policy")
    reference = f"{facts.name}@{facts.version}"
    try:
        policy = engine.catalogue.get(facts.name, facts.version)
    except PolicyError as error:
        raise ReplayImpossible(f"{reference} cannot be read: {error}") from error
    if policy.digest != facts.digest:
        raise ReplayImpossible(
            f"the file of {reference} is another: its digest is {policy.digest[:12]}, and {(facts.digest or '')[:12]} "
            "decided; restore the file"
        )
    return policy


def _from_evidence(
    archive: Archive,
    engine: Engine,
    judge: Judge,
    policy: Policy,
    found: ArchivedVerdict,
    verdict: Verdict,
) -> Judged:
    evidence = evidence_of(archive, found.id)
    if evidence is None:
        raise ReplayImpossible(f"the archive has no embedding for the verdict about {verdict.event_id!r}")
    model, here = evidence.model, engine.encoder.identity
    if Identity(model.id, model.revision, model.preprocessing) != here:
        raise ReplayImpossible(
            f"the embedding is of {model.id} (revision {model.revision[:12]}), and the encoder is {here.id} (revision "
            f"{here.revision[:12]}); set MODERATOR_ENCODER to the former"
        )
    unseen = verdict.image is not None and verdict.image.frames_unseen > 0
    rows = evidence.embeddings.astype(np.float32)
    return judge.judge(rows, restored(evidence.readings), Selection(policy), unseen, evidence.views)


def _from_image(engine: Engine, judge: Judge, policy: Policy, verdict: Verdict, data: bytes) -> Judged:
    digest = sha256(data).hexdigest()
    if verdict.image is None or digest != verdict.image.sha256:
        expected = "unknown" if verdict.image is None else verdict.image.sha256[:12]
        raise ReplayImpossible(
            f"the image is another: its SHA-256 is {digest[:12]}, that of the verdict {expected}"
        )
    prepared = engine.preparer.prepare(data, Selection(policy))
    if prepared.needs_slow_reading:
        prepared = engine.preparer.read_slowly(data, prepared)
    embeddings = as_kept(engine.embed(prepared.pixels))
    unseen = prepared.facts.frames_unseen > 0
    judged = judge.judge(embeddings, prepared.readings, Selection(policy), unseen, prepared.views)
    return engine.second_stage.ask(data, judged) if judged.questions else judged
