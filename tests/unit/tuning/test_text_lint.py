"""What an encoder shows about a policy: prompts that mean the same, contradict, are cut, or reach nothing."""

from pathlib import Path

import numpy as np
import pytest

from moderator.policies.lint_finding import LintFinding, Severity
from moderator.policies.loader import parse_policy
from moderator.scoring.batch_decisions import ImageBlock, decide_block
from moderator.scoring.layout import lay_out
from moderator.scoring.thresholds import CompiledPolicy
from moderator.tuning.text_lint import cut_findings, sample_findings, text_findings

#: Texts by their direction in the plane, in degrees; likeness is the cosine.
DEGREES = {
    "a gun": 0,
    "a handgun": 10,
    "a rifle": -30,
    "a water pistol": 62,
    "a chair": 150,
    "a table": 170,
    "a plate": 200,
}
POLICY = """\
name: market
version: 1
safe: [{shared}]
categories:
  weapons: {{unsafe: [{unsafe}], safe: [{safe}], review: {review}, block: {block}}}
"""


def compiled(
    unsafe: str,
    safe: str = "",
    shared: str = "a chair, a plate",
    review: float = 0.4,
    block: float = 0.6,
    scale: float = 10.0,
    more: str = "",
) -> CompiledPolicy:
    text = POLICY.format(unsafe=unsafe, safe=safe, shared=shared, review=review, block=block)
    policy = parse_policy(text + more)
    layout = lay_out(policy)
    angles = np.radians([DEGREES[text] for text in layout.prompts])
    matrix = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return CompiledPolicy(policy, layout, matrix, scale, 0.0)


def found(policy: CompiledPolicy) -> list[LintFinding]:
    return list(text_findings(policy, 0.0))


def test_prompts_that_are_well_chosen_give_no_finding() -> None:
    assert found(compiled("a gun, a rifle", "a water pistol")) == []


def test_near_duplicates_of_a_side_are_reported_once() -> None:
    (finding,) = found(compiled("a gun, a rifle, a handgun", "a water pistol"))
    assert finding.path == ("categories", "weapons", "unsafe", 2)
    assert finding.severity is Severity.HINT
    assert "'a handgun' and 'a gun' mean the same to the model (likeness 0.98)" in finding.message
    more = "  others: {unsafe: [a water pistol], safe: [a chair]}\n"
    (finding,) = found(compiled("a gun, a rifle", "a chair", shared="a chair, a table, a plate", more=more))
    assert finding.path == ("safe", 1)


def test_a_safe_prompt_that_means_what_an_unsafe_one_means_contradicts_it() -> None:
    (finding,) = found(compiled("a gun, a rifle", "a handgun", block=0.5))
    assert finding.path == ("categories", "weapons", "safe", 0)
    assert finding.severity is Severity.WARNING
    assert "'a handgun' is safe and 'a gun' is not" in finding.message


def test_a_safe_prompt_on_the_wrong_side_is_hinted_at() -> None:
    (finding,) = found(compiled("a gun", "a water pistol"))
    assert finding.severity is Severity.HINT
    assert "'a water pistol' is nearer to the unsafe 'a gun' (likeness 0.47)" in finding.message


def test_a_threshold_that_the_prompts_themselves_do_not_reach_is_out_of_reach() -> None:
    weak = compiled("a gun, a rifle", "a water pistol", scale=1.0, block=0.9, review=0.4)
    (finding,) = found(weak)
    assert finding.path == ("categories", "weapons", "block")
    assert "block 0.9 is out of reach: even the unsafe prompts themselves" in finding.message


def test_sigmoid_needs_an_encoder_with_a_bias() -> None:
    more = "  others: {unsafe: [a water pistol], rule: sigmoid}\n"
    (finding,) = found(compiled("a gun, a rifle", "a water pistol", more=more))
    assert finding.path == ("categories", "others", "rule")


def test_prompts_are_cut_in_the_longest_template() -> None:
    text = Path("policies/marketplace/3.yaml").read_text()
    policy = parse_policy(text.replace('templates: ["{}"]', 'templates: ["{}", "a photo of {} here"]'))
    assert list(cut_findings(policy, lambda texts: [])) == []
    longest = max(policy.categories["smoking"].unsafe, key=len)
    limit = len(longest) + 16

    def truncated(texts: list[str]) -> list[str]:
        assert all(text.startswith("a photo of ") for text in texts)
        return [text for text in texts if len(text) > limit]

    findings = list(cut_findings(policy, truncated))  # type: ignore[arg-type]
    assert all(len(finding.message) > limit for finding in findings)
    assert len(findings) == sum(
        len(prompt) + 16 > limit
        for prompts in (policy.safe, *((*c.unsafe, *c.safe) for c in policy.categories.values()))
        for prompt in prompts
    )


@pytest.mark.parametrize(("degrees", "reached"), [(0, True), (100, False)])
def test_a_category_that_no_picture_reaches_is_hinted_at(degrees: float, reached: bool) -> None:
    policy = compiled("a gun, a rifle", "a water pistol")
    angles = np.radians([170, degrees])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    decisions = decide_block(policy, ImageBlock(rows, np.arange(3)))
    findings = list(sample_findings(policy, decisions))
    assert (findings == []) == reached
    if not reached:
        assert findings[0].path == ("categories", "weapons")
        assert "the highest score of 2 is" in findings[0].message
