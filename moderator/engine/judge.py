"""From embeddings and signal readings to the parts of a verdict. Needs no image, no model and no queue."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from moderator.errors import ModeratorError, SignalBusy, ours
from moderator.policies.catalogue import Selection
from moderator.policies.category_schema import Category
from moderator.policies.schema import Policy
from moderator.scoring.opinions import Opinion, OpinionOutcome, outcome_of, questions, with_opinions
from moderator.scoring.rules import Floats
from moderator.scoring.thresholds import CompiledPolicy, Judgement, judge, severest
from moderator.signals.evaluator import Moment, Outcome, Readings, Signals, due, facts, scores, unsure
from moderator.signals.question import Question, opinion_key
from moderator.signals.signal import Frame, SignalResult
from moderator.verdicts import Decision, ErrorFacts, ShadowVerdict
from moderator.view import View, rows_of

log = logging.getLogger(__name__)

#: Most characters of the reason in a verdict's facts on a second opinion.
REASON_CHARACTERS_MAX = 300
_NOT_ASKED = SignalBusy("nobody was asked")


class PolicyCompiler(Protocol):
    """A source of policies with embedded prompts: `Compiler`, which embeds them, or a store of compiled policies."""

    def compile(self, policy: Policy) -> CompiledPolicy:
        """Return the policy, ready for scoring."""
        ...


@dataclass(frozen=True, eq=False)
class Judged:
    """The result of the policies for an image: the parts of a verdict."""

    compiled: CompiledPolicy
    """The version that decided, with the thresholds that apply here."""
    judgement: Judgement
    signals: dict[str, Any]
    """The verdict's facts on each signal of that version."""
    shadows: tuple[ShadowVerdict, ...]
    readings: Readings
    """Readings of all signals that were read. With the embeddings, they reproduce the same parts."""
    questions: tuple[Question, ...] = ()
    """For an image in review whose policy asks for a second opinion: what to ask. Empty once it is answered."""
    opinions: Readings = field(default_factory=dict)
    """Readings of second opinions on the image, which `readings` includes."""
    opinion: OpinionOutcome | None = None
    """What result of them, if the image needed one."""
    unseen: bool = False
    """Whether a part of the image has no embedding: then it is not allowed, whatever an opinion says."""

    @property
    def policy(self) -> Policy:
        """The version that decided."""
        return self.compiled.policy

    @property
    def decisive(self) -> Category | None:
        """The category that blocked the image or put it into review; None: it is allowed, or was not all seen."""
        name, top = severest(self.judgement.categories)
        decides = top.decision is self.judgement.decision is not Decision.ALLOW
        return self.compiled.categories[name] if decides else None


class Judge:
    """Judge of images by their embeddings. Thread-safe.

    A worker passes what the model just returned; a back-test, a replay or a live preview of a policy being edited
    passes stored embeddings. The caller chooses the versions that judge.

    Args:
        compiler: returns policies ready for scoring.
        signals: creates and reads the signals that use the embedding.
    """

    def __init__(self, compiler: PolicyCompiler, signals: Signals) -> None:
        self._compiler = compiler
        self._signals = signals

    def judge(
        self,
        embeddings: Floats,
        readings: Readings,
        selection: Selection,
        unseen: bool = False,
        views: Sequence[View] = (),
    ) -> Judged:
        """Judge an image by each of the selected versions.

        Args:
            embeddings: float32 [views, dimension], rows of length 1.
            readings: of signals that use the image itself, by their keys. They may include signals that use the
                embedding; missing ones are read. A second opinion among them counts if it answers the same questions;
                a shadow asks for none.
            selection: the versions; one decides.
            unseen: whether a part of the image has no embedding: then no version allows it.
            views: what each row shows; without it, each is a whole picture. A version judges no views that it does not
                ask for.

        Raises:
            EmbeddingInvalid: an embedding is not finite, or zero.
            SignalFailed, ModelMismatch: a signal of the deciding version failed, or was not read.
        """
        decides = selection.decides
        readings = self.read_embeddings(decides, embeddings, readings)
        compiled = self._compiler.compile(decides)
        judgement = _judgement(compiled, embeddings, readings, views, unseen)
        complete = {**readings, **_unasked(decides)}
        opinions = due([decides], Moment.REVIEW)
        asked = questions(compiled, judgement, unsure(decides, complete)) if opinions else ()
        shadows = []
        for policy in selection.shadows:
            verdict, readings = self._judge_shadow(policy, embeddings, readings, views, unseen)
            shadows.append(verdict)
        judged = Judged(
            compiled, judgement, facts(decides, complete), tuple(shadows), readings, asked, unseen=unseen
        )
        keys = [opinion_key(spec.key, asked) for spec in opinions] if asked else []
        given = {key: readings[key] for key in keys if key in readings}
        return reconsider(judged, given) if given else judged

    def read_embeddings(self, policy: Policy, embeddings: Floats, readings: Readings) -> Readings:
        """Return the readings, completed with the policy's signals that use the embedding; known ones stay."""
        if all(spec.key in readings for spec in policy.signals):
            return readings
        specs = [spec for spec in due([policy], Moment.EMBEDDING) if spec.key not in readings]
        return {**readings, **self._signals.read(specs, [Frame(embedding=row) for row in embeddings])}

    def _judge_shadow(
        self, policy: Policy, embeddings: Floats, readings: Readings, views: Sequence[View], unseen: bool
    ) -> tuple[ShadowVerdict, Readings]:
        """Return a shadow's verdict, and the readings with its own. Any failure of a shadow stays in its verdict."""
        try:
            readings = self.read_embeddings(policy, embeddings, readings)
            compiled = self._compiler.compile(policy)
            judged = _judgement(compiled, embeddings, readings, views, unseen)
        except Exception as error:
            cause = describe_error(ours(error))
            log.info("the shadow %s cannot judge: %s", policy.reference, cause.message)
            return (
                ShadowVerdict(
                    version=policy.version, digest=policy.digest, decision=Decision.ERROR, error=cause
                ),
                readings,
            )
        return (
            ShadowVerdict(
                version=policy.version,
                digest=policy.digest,
                decision=judged.decision,
                unsafe_score=judged.unsafe_score,
                categories=judged.categories,
            ),
            readings,
        )


def _judgement(
    compiled: CompiledPolicy, embeddings: Floats, readings: Readings, views: Sequence[View], unseen: bool
) -> Judgement:
    policy, unasked = compiled.policy, _unasked(compiled.policy)
    readings = {**readings, **unasked}
    rows = rows_of(policy.view_plan(len(views)), views)
    if len(rows) < len(views):
        embeddings, views = embeddings[rows], [views[row] for row in rows]
    judgement = judge(
        compiled,
        embeddings,
        scores(policy, readings),
        unsure(policy, readings),
        views,
        unasked=frozenset(spec.name for spec in policy.signals if spec.key in unasked),
    )
    return _at_least_review(judgement) if unseen else judgement


def _at_least_review(judgement: Judgement) -> Judgement:
    """Return the judgement of an image of which a part was not seen: an allow becomes a review."""
    if judgement.decision is Decision.ALLOW:
        return replace(judgement, decision=Decision.REVIEW)
    return judgement


def reconsider(judged: Judged, opinions: Readings) -> Judged:
    """Return the parts of the verdict on an image in review, with second opinions.

    An opinion that is missing or failed leaves the image in review.

    Args:
        judged: with questions.
        opinions: readings of the signals that give a second opinion, by their `opinion_key`.
    """
    specs = due([judged.policy], Moment.REVIEW)
    read = {spec.name: opinions.get(opinion_key(spec.key, judged.questions), _NOT_ASKED) for spec in specs}
    errors = [outcome for outcome in read.values() if isinstance(outcome, ModeratorError)]
    judgement = with_opinions(
        judged.compiled,
        judged.judgement,
        {
            name: Opinion()
            if isinstance(outcome, ModeratorError)
            else Opinion(outcome.score, outcome.unsure, outcome.clears)
            for name, outcome in read.items()
        },
        unsure(judged.policy, {**judged.readings, **_unasked(judged.policy)}),
    )
    if judged.unseen:
        judgement = _at_least_review(judgement)
    if not errors:
        result = outcome_of(judgement)
    elif all(isinstance(error, SignalBusy) for error in errors):
        result = OpinionOutcome.NOT_ASKED
    else:
        result = OpinionOutcome.FAILED
    described = {spec.name: _opinion_facts(spec.kind, read[spec.name], result) for spec in specs}
    return replace(
        judged,
        judgement=judgement,
        signals={**judged.signals, **described},
        readings={**judged.readings, **opinions},
        opinions=opinions,
        questions=(),
        opinion=result,
    )


def _opinion_facts(kind: str, outcome: Outcome, result: OpinionOutcome) -> dict[str, Any]:
    """Return the verdict's facts on a second opinion."""
    if isinstance(outcome, ModeratorError):
        reason = f"{type(outcome).__name__}: {outcome}"[:REASON_CHARACTERS_MAX]
        return {"kind": kind, "score": 0.0, "asked": [], "outcome": result.value, "reason": reason}
    return {"kind": kind, "score": outcome.score, **outcome.facts, "outcome": result.value}


def _unasked(policy: Policy) -> Readings:
    """Return readings for signals that give a second opinion, for an image that needs none."""
    return {spec.key: SignalResult(0.0, {"asked": []}) for spec in due([policy], Moment.REVIEW)}


def describe_error(error: ModeratorError) -> ErrorFacts:
    """Return a verdict's facts on an error."""
    return ErrorFacts(type=type(error).__name__, message=str(error))
