from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from moderator.operations.doctor.access_signatures import check_signatures
from moderator.operations.doctor.findings import Level

SIGNATURE = "vfwCL5vxBfAxqGyHFjCMgNdXr4%2B3mLnOxSo%2BgV47CSQ%3D"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def sas(scheme: str = "https", **fields: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"sv": "2022-11-02", "sr": "c", **fields}.items())
    return f"{scheme}://shop.blob.core.windows.net/pictures?{query}&sig={SIGNATURE}"


@pytest.mark.parametrize(
    ("value", "level", "words"),
    [
        (None, Level.OK, "without a signature"),
        (sas(sp="r", se="2027-11-27"), Level.OK, "until 2027-11-27 00:00 UTC"),
        (sas(si="moderator"), Level.OK, "whose end Azure keeps"),
        (sas(sp="r", se="2026-11-29"), Level.WARNING, "ends on 2026-11-29"),
        (sas(sp="r", se="2026-11-26"), Level.PROBLEM, "ended on 2026-11-26"),
        (sas(sp="r", st="2026-11-28", se="2027-11-28"), Level.PROBLEM, "begins only on 2026-11-28"),
        (sas(sp="r", st="2026-11-27T00:05Z", se="2027-11-28"), Level.OK, "until"),
        (sas(sp="racwdl", se="2027-11-27"), Level.WARNING, "more than reading"),
        (sas("http", sp="r", se="2027-11-27"), Level.WARNING, "unencrypted"),
        (sas(sp="w", se="2027-11-27"), Level.PROBLEM, "the worker does not start"),
    ],
)
def test_a_signature(value: str | None, level: Level, words: str) -> None:
    (finding,) = check_signatures(SecretStr(value) if value else None, NOW)
    assert (finding.level, finding.check) == (level, "secrets.fetch-sas")
    assert words in finding.message
    assert (finding.remedy == "") is (level is Level.OK)
    assert SIGNATURE not in finding.message + finding.remedy


def test_each_has_a_finding() -> None:
    both = SecretStr(f"{sas(sp='r', se='2027-11-27')} {sas(sp='r', se='2026-11-26')}")
    assert [finding.level for finding in check_signatures(both, NOW)] == [Level.OK, Level.PROBLEM]
