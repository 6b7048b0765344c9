import pytest

from moderator.operations.doctor.findings import MASK, Finding, failed, ok, problem, warning


@pytest.mark.parametrize(
    ("findings", "lax", "strict"),
    [
        ([], False, False),
        ([ok("a", "b")], False, False),
        ([ok("a", "b"), warning("a", "b", "c")], False, True),
        ([problem("a", "b", "c"), ok("a", "b")], True, True),
    ],
)
def test_problems_fail_and_warnings_only_where_they_are_to(
    findings: list[Finding], lax: bool, strict: bool
) -> None:
    assert (failed(findings, strict=False), failed(findings, strict=True)) == (lax, strict)


def test_secrets_are_masked_and_short_ones_garble_nothing() -> None:
    found = problem("a", "cannot reach redis at hunter22@host", "use hunter22").masked(("hunter22", "redis"))
    assert found.message == f"cannot reach redis at {MASK}@host"
    assert found.remedy == f"use {MASK}"
