"""What a tuning works on: labelled images, and the similarities of their views with all texts in question."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.engine.judge import PolicyCompiler
from moderator.errors import PolicyUnusable
from moderator.policies.category_schema import Category, Rule
from moderator.policies.fields import NO_SHIFT
from moderator.policies.schema import Policy
from moderator.scoring.allowance import allowances, parts
from moderator.scoring.batch_decisions import ImageBlock, decide_block
from moderator.scoring.rules import Floats as Vectors
from moderator.scoring.score_calibration import logit
from moderator.tuning.data_splits import copies_of, strata_of
from moderator.tuning.few_shot import ViewRows
from moderator.tuning.labelled_images import LabelledImages
from moderator.tuning.prompt_candidates import CandidateProposer, variations
from moderator.tuning.prompt_search import PromptSides, PromptTable
from moderator.tuning.vocabulary import embed_vocabulary, everyday_texts, full_vocabulary
from moderator.view import rows_of

Floats = NDArray[np.float64]
Templates = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TextTable:
    """The similarities of all texts in question, in some templates."""

    table: PromptTable
    matrix: Vectors
    """float32 [T, dimension], the embedding of each text."""
    texts: tuple[str, ...]
    columns: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class TuningBench:
    """A policy, its compiler, and n labelled images that are judged by it."""

    policy: Policy
    compiler: PolicyCompiler
    images: LabelledImages
    _tables: dict[Templates, TextTable] = field(default_factory=dict)
    _bare: dict[Templates, Floats] = field(default_factory=dict)

    @cached_property
    def categories(self) -> Mapping[str, Category]:
        """Return the categories with the thresholds that apply on the encoder, else the policy's own."""
        return self.policy.categories_on(self.images.identity) or self.policy.categories

    @cached_property
    def truth(self) -> NDArray[np.bool_]:
        """Return whether each image shows each category: bool [n, C]."""
        return np.stack([self.images.truth(name) for name in self.categories], axis=1)

    @cached_property
    def safe(self) -> NDArray[np.bool_]:
        """Return which images show nothing that is not allowed: bool [n]."""
        return np.array([not shown & self.categories.keys() for shown in self.images.shows], dtype=np.bool_)

    @cached_property
    def strata(self) -> NDArray[np.str_]:
        """Return what each image is alike in; see `strata_of`."""
        return strata_of(self.images.shows, self.images.columns)

    @cached_property
    def copies(self) -> NDArray[np.int64]:
        """Return the first copy of each image; see `copies_of`."""
        block = self.images.block
        return copies_of(block.embeddings[block.starts[:-1]])

    @cached_property
    def _planned(self) -> tuple[NDArray[np.int64], ImageBlock]:
        """Return the rows of the views that the policy asks for, and the block that they are from."""
        block = self.images.block_for(self.policy)
        if block.views is None:
            return np.arange(len(block.embeddings)), block
        return np.array(rows_of(self.policy.view_plan(len(block.views)), block.views)), block

    @cached_property
    def rows(self) -> ViewRows:
        """Return the embeddings of these views."""
        rows, block = self._planned
        variants = None if self.images.variants is None else self.images.variants.astype(np.float64)
        starts = np.searchsorted(rows, block.starts)
        return ViewRows(block.embeddings[rows].astype(np.float64), starts, variants)

    def bare_odds(self, templates: Templates) -> Floats:
        """Return the log-odds of each category without midpoint and calibration, in other templates: [n, C].

        Those of a condition, and of a signal that was not read, are NaN.
        """
        if templates not in self._bare:
            bare = {
                name: spec.model_copy(update={"midpoint": NO_SHIFT, "calibration": None})
                for name, spec in self.categories.items()
            }
            policy = changed_policy(self.policy, templates=templates, categories=bare, encoders=())
            scores = decide_block(self.compiler.compile(policy), self.images.block_for(self.policy)).scores
            odds = np.where(np.isnan(scores), np.nan, logit(scores.astype(np.float64)))
            odds[:, [spec.when is not None for spec in self.categories.values()]] = np.nan
            self._bare[templates] = odds
        return self._bare[templates]

    def table(self, templates: Templates, category: str) -> TextTable:
        """Return the similarities of the policy's prompts, their variations, and a vocabulary, in some templates.

        Views are lowered as the category asks.
        """
        shared, asked = self._table(templates), self.categories[category].view_allowance
        rows, block = self._planned
        if not asked or block.views is None:
            return shared
        lowered = asked * parts([block.views[row] for row in rows]).astype(np.float64)
        table = replace(shared.table, allowances=shared.table.allowances + lowered)
        return replace(shared, table=table)

    def _table(self, templates: Templates) -> TextTable:
        if templates not in self._tables:
            compiled = self.compiler.compile(changed_policy(self.policy, templates=templates, encoders=()))
            vocabulary = full_vocabulary(self.compiler, templates)
            by_text = dict(zip(compiled.layout.prompts, compiled.matrix, strict=True))
            for texts, matrix in [(vocabulary.texts, vocabulary.matrix), *self._varied(templates)]:
                for text, row in zip(texts, matrix, strict=True):
                    by_text.setdefault(text, row)
            matrix = np.stack(list(by_text.values()))
            rows, block = self._planned
            logits = compiled.scale * (self.rows.embeddings @ matrix.T.astype(np.float64)) + compiled.bias
            lowered = (
                np.zeros(len(rows)) if block.views is None else allowances([block.views[row] for row in rows])
            )
            table = PromptTable(logits, self.rows.starts, lowered.astype(np.float64))
            columns = {text: n for n, text in enumerate(by_text)}
            self._tables[templates] = TextTable(table, matrix, tuple(by_text), columns)
        return self._tables[templates]

    def _varied(self, templates: Templates) -> Iterator[tuple[tuple[str, ...], Vectors]]:
        for name, spec in self.categories.items():
            if self.searchable(name) and self.images.truth(name).any():
                unsafe, safe = variations(spec.unsafe, spec.safe)
                vocabulary = embed_vocabulary(self.compiler, (*unsafe, *safe), templates)
                yield vocabulary.texts, vocabulary.matrix

    def proposer(self, category: str, text_table: TextTable) -> CandidateProposer:
        """Return what proposes prompts for a category."""
        spec = self.categories[category]
        unsafe, safe = variations(spec.unsafe, spec.safe)
        columns = text_table.columns
        return CandidateProposer(
            text_table.matrix,
            tuple(columns[text] for text in unsafe),
            tuple(columns[text] for text in (*safe, *everyday_texts())),
        )

    def sides(self, category: str, text_table: TextTable) -> PromptSides:
        """Return the prompts of a category as columns."""
        spec = self.categories[category]
        own = [prompt for prompt in spec.safe if prompt not in self.policy.safe]
        unsafe, safe, fixed = (
            tuple(text_table.columns[prompt] for prompt in prompts)
            for prompts in (spec.unsafe, own, self.policy.safe)
        )
        return PromptSides(unsafe, safe, fixed)

    def searchable(self, category: str) -> bool:
        """Return whether prompts of a category can be searched: its rule is `softmax-sum`, without a probe."""
        spec = self.categories[category]
        return spec.has_prompts and spec.rule is Rule.SOFTMAX_SUM and spec.probe is None


def changed_policy(policy: Policy, **changes: Any) -> Policy:
    """Return a policy with some fields changed, checked as a file is.

    Raises:
        PolicyUnusable: the fields do not go together.
    """
    try:
        return Policy(**{name: getattr(policy, name) for name in Policy.model_fields} | changes)
    except ValueError as error:
        raise PolicyUnusable(f"{policy.reference} cannot be changed so: {error}") from error
