"""What the documents show is what the code does."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs.examples import examples_in, with_examples
from moderator.events import parse_message
from moderator.operations.doctor.server_checks import RIGHTS
from moderator.policies.lint import lint
from moderator.policies.lint_finding import Severity
from moderator.policies.loader import parse_policy
from moderator.verdicts import Verdict

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_generated_parts_are_current() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_policy_in_the_readme_is_sound() -> None:
    policy = parse_policy(blocks("yaml")[0])
    assert policy.reference == "pets@1"
    assert [f for f in lint(policy) if f.severity is not Severity.HINT] == []


def test_the_conditions_on_the_page_of_policies_are_sound() -> None:
    (text,) = [
        text for text in blocks("yaml", (ROOT / "docs" / "policies.md").read_text()) if "when:" in text
    ]
    assert lint(parse_policy(text)) == ()


def test_the_policies_on_the_page_of_signals_are_sound() -> None:
    policies = [parse_policy(text) for text in blocks("yaml", (ROOT / "docs" / "signals.md").read_text())]
    assert [policy.reference for policy in policies] == [
        "house-rules@1",
        "duplicates@1",
        "small-things@1",
        "shop@4",
    ]
    assert [f for policy in policies for f in lint(policy) if f.severity is not Severity.HINT] == []


def test_the_event_in_the_readme_is_an_event() -> None:
    (event,) = parse_message(json.loads(blocks("json")[0]))
    assert event.id == "upload-4711"


def test_the_verdict_in_the_readme_is_a_verdict() -> None:
    verdict = Verdict.model_validate_json(blocks("json")[1])
    assert set(json.loads(blocks("json")[1])) <= set(Verdict.model_fields)
    assert verdict.top_category == "live-animals"


def test_each_example_has_a_page() -> None:
    programs = {path for kind in ("*.py", "*.js", "*.mjs") for path in (ROOT / "examples").rglob(kind)}
    shown = [example for page in PAGES for example in examples_in(page.read_text())]
    assert sorted(shown) == sorted(path.relative_to(ROOT).as_posix() for path in programs)


def test_examples_are_put_into_pages(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "a.py").write_text("new\n")
    page = "See [`examples/a.py`](x):\n\n```python\nold\n```\n\n```python\nother\n```\n"
    assert with_examples(page, tmp_path) == page.replace("old", "new")


def test_the_rights_on_the_page_of_hardening_are_those_that_are_tested() -> None:
    assert RIGHTS in (ROOT / "docs" / "hardening.md").read_text()


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


def test_exceptions_from_the_security_rules_have_their_reasons() -> None:
    """As docs/hardening.md says: on the very line, in parentheses."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in rules["select"]
    assert [rule for rule in rules["ignore"] if re.fullmatch(r"S\d+", rule)] == ["S101"]
    assert {folder for folder, rules in rules["per-file-ignores"].items() if "S" in rules} == {
        "tests/**",
        "benchmarks/**",
    }
    silenced = [
        (path, line)
        for folder in ("moderator", "workers", "docs")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"#\s*(noqa|ruff):", line) and re.search(r"\bS\d{3}\b|noqa(?!:)", line)
    ]
    assert len(silenced) >= 4
    assert [item for item in silenced if not re.search(r"# noqa: [A-Z0-9, ]+ \(\w.{6,}\)$", item[1])] == []


def test_known_vulnerabilities_are_excepted_with_a_reason() -> None:
    lines = (ROOT / "audit-exceptions.txt").read_text().splitlines()
    exceptions = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in exceptions if not re.match(r"[A-Z][A-Za-z0-9-]+  ?\S.{20,}", line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_the_documents_exists(page: Path) -> None:
    folders = "moderator|workers|policies|benchmarks|docker|docs|examples|tests"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_the_architecture_answers_twenty_questions_with_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\w[^|]*\?) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(rows) >= 20
    for question, answer in rows:
        files = re.findall(r"`([^`]+)`", answer)
        assert files, question
        assert [file for file in files if not (ROOT / file).is_file()] == [], question


def test_the_architecture_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = [path.parent for path in (ROOT / "moderator").glob("*/__init__.py")]
    assert [path.name for path in packages if f"`moderator/{path.name}/`" not in page] == ["data"] * (
        (ROOT / "moderator" / "data" / "__init__.py").exists()
    )
