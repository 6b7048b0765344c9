"""What the archive keeps of a delivery."""

import json
from dataclasses import replace

import pytest

from moderator.archive.archive_records import column_text, read_delivery, subject_text
from moderator.errors import RecordRefused
from moderator.verdicts import Decision
from tests.support.archived import DIMENSION, NOON, make_delivery, make_evidence, make_verdict


def test_a_verdict_becomes_columns() -> None:
    delivery = make_delivery(make_verdict(3), make_evidence(3, frames=2))
    record = read_delivery(delivery)
    assert record.identity == ("shop", "e3", delivery.key.rpartition("#")[2])
    assert {name: record.columns[name] for name in ("decision", "policy", "policy_version", "subject")} == {
        "decision": "block",
        "policy": "market",
        "policy_version": 1,
        "subject": "user-3",
    }
    assert record.columns["decided_at"] == NOON
    assert record.columns["body"].encode() == delivery.body
    assert record.flags == {"weapons": Decision.BLOCK}
    assert record.evidence is not None
    assert (record.evidence.frames, record.evidence.space.dimension) == (2, DIMENSION)
    assert record.evidence.day == NOON.date()


def test_evidence_is_kept_as_it_came() -> None:
    delivery = make_delivery(make_verdict(1), make_evidence(1))
    assert delivery.evidence_fields is not None
    embedding, tensor, readings = delivery.evidence_fields
    newer = json.dumps({**json.loads(tensor), "views": ["of a newer version"]}).encode()
    record = read_delivery(replace(delivery, evidence_fields=(embedding, newer, readings)))
    assert record.evidence is not None
    assert record.evidence.tensor.encode() == newer
    assert record.evidence.embedding == embedding


def test_an_error_has_no_policy_and_no_image() -> None:
    verdict = make_verdict(1, decision=Decision.ERROR, policy=None, image=None, model=None, categories={})
    record = read_delivery(make_delivery(verdict))
    assert (record.columns["policy"], record.columns["image_sha256"], record.evidence) == (None, None, None)
    assert record.flags == {}


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b"{}",
        b'{"created_at": "yesterday", "decision": "allow"}',
        b'{"created_at": "0001-01-01T00:00:00+23:00", "decision": "allow"}',
        b'{"created_at": "2026-01-01T00:00:00Z", "decision": "perhaps"}',
        b'{"created_at": "2026-01-01T00:00:00Z", "decision": "allow", "policy": {"version": 1e99}}',
        b'{"created_at": "2026-01-01T00:00:00Z", "decision": "allow", "categories": {"x": 1}}',
    ],
)
def test_what_is_no_verdict_is_refused(body: bytes) -> None:
    with pytest.raises(RecordRefused):
        read_delivery(replace(make_delivery(make_verdict(1)), body=body))


def test_subjects() -> None:
    assert subject_text("user-1") == "user-1"
    assert subject_text(17) == "17"
    assert [subject_text(value) for value in (None, "", True, 1.5, ["a"], {})] == [None] * 6
    long = subject_text("x" * 257)
    assert long is not None
    assert long.startswith("sha256:")
    assert long != subject_text("x" * 258)


def test_columns_hold_no_nul() -> None:
    assert column_text("a\0b") == "a\\u0000b"
    record = read_delivery(make_delivery(make_verdict(1, event_id="e\0", metadata={"subject": "s\0"})))
    assert "\0" not in "".join((*record.identity, record.columns["subject"], record.columns["body"]))
