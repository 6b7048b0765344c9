"""The proofs that `docs/guarantees.md` names cover what it promises: with a promise broken, its proof fails."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mutants import MUTANTS, Mutant, MutantStale, copy_project, failed, run_proofs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def mutated(project: Path, mutant: Mutant) -> Iterator[Path]:
    mutant.apply(project)
    yield project
    mutant.revert(project)


@pytest.mark.slow
def test_with_nothing_broken_all_proofs_pass_on_the_copy(project: Path) -> None:
    where = "import moderator, workers; print(moderator.__file__, workers.__file__)"
    environment = {"PYTHONPATH": str(project)}
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [str(project / name / "__init__.py") for name in ("moderator", "workers")]

    run = run_proofs(project, [mutant.proof for mutant in MUTANTS])

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.broken)
def test_a_broken_promise_fails_its_proof(mutated: Path, mutant: Mutant) -> None:
    run = run_proofs(mutated, [mutant.proof])

    assert failed(run, mutant.proof), f"exit code {run.returncode}\n{run.stdout}\n{run.stderr}"


def test_a_mutant_that_the_code_left_behind_says_so(project: Path) -> None:
    gone = Mutant("nothing", "workers/shutdown.py", "no such text", "", "x")
    with pytest.raises(MutantStale, match=r"workers/shutdown\.py has 0 times 'no such text'"):
        gone.apply(project)


def test_a_proof_that_cannot_run_has_not_failed() -> None:
    """Exit code 2: an error of collection, say. Nor has one failed while another could not be set up."""
    line = "FAILED tests/a.py::test_b - assert"
    for code, output, expected in [
        (1, line, True),
        (2, line, False),
        (0, line, False),
        (1, "FAILED tests/a.py::test_bc - assert", False),
        (1, f"{line}\nERROR tests/a.py::test_b", False),
        (1, "FAILED tests/a.py::test_b - Failed: Timeout (>60.0s) from pytest-timeout.", False),
    ]:
        assert failed(subprocess.CompletedProcess([], code, output, ""), "a.py::test_b") is expected
