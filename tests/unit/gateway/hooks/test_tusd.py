import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.events import parse_message
from moderator.gateway.hooks.outcome import Failure, Shown, UploadOutcome
from moderator.gateway.hooks.tusd import (
    ANSWER_BYTES_MAX,
    TusdHook,
    answer_upload,
    read_tusd,
    refuse_upload,
    upload_event,
)
from moderator.settings import FailurePolicy, HookSettings
from moderator.verdicts import CategoryVerdict, Decision, ErrorFacts, Verdict
from tests.support.hook_bodies import tusd_body

TYPES = HookSettings().hook_types


def hook(kind: str = "post-finish", storage: dict[str, str] | None = None, **upload: Any) -> TusdHook:
    return read_tusd(tusd_body(kind, storage, **upload))


def test_a_finished_upload_becomes_an_event() -> None:
    event = upload_event(hook(), {"policy": "marketplace"})
    assert event == {
        "id": "14b1c4c77771671a8479bc0444bbc5ce",
        "source": "tusd",
        "policy": "marketplace",
        "image": {"path": "/srv/uploads/14b1"},
        "metadata": {
            "upload": {"size": 46205, "client": {"filename": "a cat.jpg", "filetype": "image/jpeg"}}
        },
    }
    assert "of-the-client" not in json.dumps(event), "no credentials of clients"
    assert len(upload_event(hook(ID="x" * 300), {})["id"]) == 71


@pytest.mark.parametrize("store", ["s3store", "gcsstore"])
def test_an_upload_in_a_bucket(store: str) -> None:
    storage = {"Type": store, "Bucket": "uploads", "Key": "tus/14b1"}
    assert upload_event(hook(storage=storage), {})["image"] == {"key": "uploads/tus/14b1"}


@pytest.mark.parametrize(
    "storage",
    [
        {"Type": "azurestore", "Key": "a"},
        {"Type": "filestore"},
        {"Type": "s3store", "Bucket": "b"},
        {"x": "y"},
    ],
)
def test_a_store_that_workers_cannot_read(storage: dict[str, str]) -> None:
    with pytest.raises(EventInvalid, match="Storage"):
        upload_event(hook(storage=storage), {})


@pytest.mark.parametrize(
    ("upload", "status"),
    [
        ({}, None),
        ({"Size": 1001}, 413),
        ({"Size": 1000}, None),
        ({"Size": 0, "SizeIsDeferred": True}, None),
        ({"Size": None}, None),
        ({"MetaData": {}}, None),
        ({"MetaData": None}, None),
        ({"MetaData": {"filetype": "application/pdf"}}, 415),
        ({"MetaData": {"type": "image/svg+xml"}}, 415),
        ({"MetaData": {"filetype": "IMAGE/JPEG; q=1"}}, None),
        ({"MetaData": {"filetype": "application/octet-stream"}, "IsPartial": True}, None),
        ({"Size": 1001, "IsPartial": True}, 413),
    ],
)
def test_uploads_are_refused_by_size_and_type(upload: dict[str, Any], status: int | None) -> None:
    answer = refuse_upload(hook("pre-create", **{"Size": 10, **upload}), 1000, TYPES)
    if status is None:
        assert answer == {}
        return
    assert answer["RejectUpload"] is True
    assert answer["HTTPResponse"]["StatusCode"] == status
    assert json.loads(answer["HTTPResponse"]["Body"])["decision"] == "reject"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"Type": "pre-create"}', b'{"Type": 1, "Event": {"Upload": {}}}']
)
def test_what_is_no_hook(body: bytes) -> None:
    with pytest.raises(EventInvalid):
        read_tusd(body)


def verdict(decision: Decision, error: str = "") -> Verdict:
    categories = {"weapons": CategoryVerdict(0.9, decision), "drugs": CategoryVerdict(0.1, Decision.ALLOW)}
    return Verdict(
        event_id="a",
        source="tusd",
        decision=decision,
        is_safe=decision is Decision.ALLOW,
        categories=categories,
        error=ErrorFacts(type="NotAnImage", message=error) if error else None,
    )


@pytest.mark.parametrize(
    ("decision", "status", "categories"),
    [(Decision.ALLOW, None, None), (Decision.REVIEW, None, None), (Decision.BLOCK, 403, ["weapons"])],
)
def test_a_verdict_in_time_is_answered(
    decision: Decision, status: int | None, categories: list[str] | None
) -> None:
    answer = answer_upload(UploadOutcome.judged(verdict(decision), FailurePolicy.REJECT))["HTTPResponse"]
    assert answer["Header"]["Moderation-Decision"] == decision.value
    assert answer.get("StatusCode") == status
    if status:
        assert json.loads(answer["Body"]) == {
            "decision": "block",
            "source": "tusd",
            "id": "a",
            "categories": categories,
        }


@pytest.mark.parametrize("failure", list(Failure))
@pytest.mark.parametrize("policy", list(FailurePolicy))
def test_without_a_judgement_the_failure_policy_decides_and_says_so(
    failure: Failure, policy: FailurePolicy
) -> None:
    if failure is Failure.ERROR:
        outcome = UploadOutcome.judged(verdict(Decision.ERROR, "no image"), policy)
    else:
        outcome = UploadOutcome.without("tusd", "a", policy, failure, "no verdict")
    answer = answer_upload(outcome)["HTTPResponse"]
    assert answer["Header"]["Moderation-Decision"] == policy.value
    assert answer["Header"]["Moderation-Failure"] == failure.value
    refused = {None: None, Failure.ERROR: 422}.get(failure, 503) if policy is FailurePolicy.REJECT else None
    assert answer.get("StatusCode") == refused


@given(st.text(), st.sampled_from(list(Failure)), st.text(max_size=256), st.sampled_from(list(FailurePolicy)))
def test_answers_are_small_enough_for_tusd(
    why: str, failure: Failure, id: str, policy: FailurePolicy
) -> None:
    answer = answer_upload(UploadOutcome.without("s" * 256, id, policy, failure, why * 100))
    assert len(json.dumps(answer).encode()) < ANSWER_BYTES_MAX


def test_the_policys_message_reaches_the_uploader() -> None:
    blocked = verdict(Decision.BLOCK).model_copy(update={"message": "Weapons may not be offered here."})
    answer = answer_upload(UploadOutcome.judged(blocked, FailurePolicy.HOLD))
    assert json.loads(answer["HTTPResponse"]["Body"])["message"] == "Weapons may not be offered here."
    long = blocked.model_copy(update={"message": "ä" * 500, "event_id": "ä" * 256, "source": "ä" * 256})
    answer = answer_upload(UploadOutcome.judged(long, FailurePolicy.HOLD))
    assert len(json.dumps(answer)) < ANSWER_BYTES_MAX
    assert "message" not in json.loads(answer["HTTPResponse"]["Body"])


def test_a_verdict_of_many_categories_is_small_enough_too() -> None:
    many = {f"{'x' * 60}{n}": CategoryVerdict(0.9, Decision.BLOCK) for n in range(1000)}
    long = verdict(Decision.BLOCK).model_copy(
        update={"categories": many, "event_id": "ä" * 256, "source": "ä" * 256}
    )
    outcome = UploadOutcome.judged(long, FailurePolicy.HOLD)
    assert outcome.decision is Shown.BLOCK
    assert len(json.dumps(answer_upload(outcome)).encode()) < ANSWER_BYTES_MAX


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20_000), max_size=5))
def test_whatever_a_client_states_makes_no_event_invalid(stated: dict[str, str]) -> None:
    event = parse_message(upload_event(hook(MetaData=stated), {}))[0]
    assert event.image.path == "/srv/uploads/14b1"
