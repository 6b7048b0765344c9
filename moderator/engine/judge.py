"""From embeddings and signal readings to the parts of a verdict. Needs no image, no model and no queue."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from moderator.errors import ModeratorError, ours
from moderator.policies.catalogue import Selection
from moderator.policies.schema import Policy
from moderator.scoring.rules import Floats
from moderator.scoring.thresholds import CompiledPolicy, Judgement, judge
from moderator.signals.evaluator import Moment, Readings, Signals, due, facts, scores, unsure
from moderator.signals.signal import Frame
from moderator.verdicts import Decision, ErrorFacts, ShadowVerdict
from moderator.view import View, rows_of

log = logging.getLogger(__name__)


class PolicyCompiler(Protocol):
    """A source of policies with embedded prompts: `Compiler`, which embeds them, or a store of compiled policies."""

    def compile(self, policy: Policy) -> CompiledPolicy:
        """Return the policy, ready for scoring."""
        ...


@dataclass(frozen=True, eq=False)
class Judged:
    """The result of the policies for an image: the parts of a verdict."""

    policy: Policy
    """The version that decided."""
    judgement: Judgement
    signals: dict[str, Any]
    """The verdict's facts on each signal of that version."""
    shadows: tuple[ShadowVerdict, ...]
    readings: Readings
    """Readings of all signals that were read. With the embeddings, they reproduce the same parts."""


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
        self, embeddings: Floats, readings: Readings, selection: Selection, views: Sequence[View] = ()
    ) -> Judged:
        """Judge an image by each of the selected versions.

        Args:
            embeddings: float32 [views, dimension], rows of length 1.
            readings: of signals that use the image itself, by their keys. They may include signals that use the
                embedding; missing ones are read.
            selection: the versions; one decides.
            views: what each row shows; without it, each is a whole frame. A version judges no views that it does not
                ask for.

        Raises:
            EmbeddingInvalid: an embedding is not finite, or zero.
            SignalFailed, ModelMismatch: a signal of the deciding version failed, or was not read.
        """
        decides = selection.decides
        readings = self.read_embeddings(decides, embeddings, readings)
        judgement = self._judge(decides, embeddings, readings, views)
        shadows = []
        for policy in selection.shadows:
            verdict, readings = self._judge_shadow(policy, embeddings, readings, views)
            shadows.append(verdict)
        return Judged(decides, judgement, facts(decides, readings), tuple(shadows), readings)

    def read_embeddings(self, policy: Policy, embeddings: Floats, readings: Readings) -> Readings:
        """Return the readings, completed with the policy's signals that use the embedding; known ones stay."""
        if all(spec.key in readings for spec in policy.signals):
            return readings
        specs = [spec for spec in due([policy], Moment.EMBEDDING) if spec.key not in readings]
        return {**readings, **self._signals.read(specs, [Frame(embedding=row) for row in embeddings])}

    def _judge(
        self, policy: Policy, embeddings: Floats, readings: Readings, views: Sequence[View]
    ) -> Judgement:
        compiled = self._compiler.compile(policy)
        rows = rows_of(policy.views.plan(len(views)), views)
        if len(rows) < len(views):
            embeddings, views = embeddings[rows], [views[row] for row in rows]
        return judge(compiled, embeddings, scores(policy, readings), unsure(policy, readings), views)

    def _judge_shadow(
        self, policy: Policy, embeddings: Floats, readings: Readings, views: Sequence[View]
    ) -> tuple[ShadowVerdict, Readings]:
        """Return a shadow's verdict, and the readings with its own. Any failure of a shadow stays in its verdict."""
        try:
            readings = self.read_embeddings(policy, embeddings, readings)
            judged = self._judge(policy, embeddings, readings, views)
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


def describe_error(error: ModeratorError) -> ErrorFacts:
    """Return a verdict's facts on an error."""
    return ErrorFacts(type=type(error).__name__, message=str(error))
