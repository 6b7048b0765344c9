"""What the documents show is what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

from moderator.events import parse_message
from moderator.policies.lint import Severity, lint
from moderator.policies.loader import parse_policy
from moderator.verdicts import Verdict

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


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


def test_the_policies_on_the_page_of_signals_are_sound() -> None:
    policies = [parse_policy(text) for text in blocks("yaml", (ROOT / "docs" / "signals.md").read_text())]
    assert [policy.reference for policy in policies] == ["house-rules@1", "duplicates@1"]
    assert [f for policy in policies for f in lint(policy) if f.severity is not Severity.HINT] == []


def test_the_event_in_the_readme_is_an_event() -> None:
    (event,) = parse_message(json.loads(blocks("json")[0]))
    assert event.id == "upload-4711"


def test_the_verdict_in_the_readme_is_a_verdict() -> None:
    verdict = Verdict.model_validate_json(blocks("json")[1])
    assert set(json.loads(blocks("json")[1])) <= set(Verdict.model_fields)
    assert verdict.top_category == "live-animals"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_path_in_the_documents_exists() -> None:
    for name in re.findall(
        r"`((?:moderator|workers|policies|benchmarks|docker|docs)/[\w./-]+\.\w+)`", README
    ):
        assert (ROOT / name).exists(), name
