"""What the page of guarantees names as proof exists."""

import ast
import re
from pathlib import Path

from moderator.settings import Settings
from tests.chaos.catalogue import FAULTS
from tests.integration.mutants import MUTANTS

TESTS = Path(__file__).parents[2]
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text()


def functions(file: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    assert [pair for pair in named if pair[1] not in functions(TESTS / pair[0])] == []


def test_every_row_of_the_table_of_faults_is_named_and_exists() -> None:
    assert set(re.findall(r"`chaos ([\w-]+)`", PAGE)) == set(FAULTS)


def test_every_promise_names_its_proof() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    headers = [row for row in rows if row.endswith("shown by |")]
    assert len(headers) == 2
    assert [
        row for row in rows if row not in headers and not re.search(r"`[^`|]+` \||not tested[^|]*\|$", row)
    ] == []


def test_every_setting_that_is_named_exists() -> None:
    names = re.findall(r"MODERATOR_(\w+)", PAGE)
    assert names
    assert [name for name in names if name.lower() not in Settings.model_fields] == []


def test_the_page_names_each_promise_that_is_broken_on_purpose() -> None:
    section = PAGE.partition("## What the proofs are worth")[2].partition("\n## ")[0]
    assert re.findall(r"^- (.*): `([^`]+)`$", section, re.M) == [(m.broken, m.proof) for m in MUTANTS]
    rows = "".join(line for line in PAGE.splitlines() if line.startswith("|"))
    assert [m.proof for m in MUTANTS if f"`{m.proof}`" not in rows] == []


def test_each_promise_can_still_be_broken() -> None:
    """The code that a mutant changes stands there exactly once."""
    sources = {m.file: (TESTS.parent / m.file).read_text() for m in MUTANTS}
    assert [(m.broken, m.file) for m in MUTANTS if sources[m.file].count(m.text) != 1] == []
