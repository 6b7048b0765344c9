from moderator.backfill.result_rows import failed_row, result_row
from moderator.errors import ImageNotFound
from moderator.verdicts import CategoryVerdict, Decision, ErrorFacts, ModelFacts, PolicyFacts, Verdict

VERDICT = Verdict(
    event_id="run-1/3",
    source="backfill",
    decision=Decision.BLOCK,
    is_safe=False,
    unsafe_score=0.9,
    safe_score=0.1,
    categories={
        "weapons": CategoryVerdict(0.9, Decision.BLOCK),
        "alcohol": CategoryVerdict(0.2, Decision.ALLOW),
    },
    policy=PolicyFacts(name="marketplace", version=3, digest="d"),
    model=ModelFacts(id="m", revision="r", preprocessing="p", device="cpu", dtype="float32"),
)


def test_a_row_says_what_was_decided_by_what() -> None:
    row = result_row("/a.jpg", VERDICT)
    assert (row["id"], row["path"], row["decision"], row["category"]) == (
        "run-1/3",
        "/a.jpg",
        "block",
        "weapons",
    )
    assert row["scores"] == {"weapons": 0.9, "alcohol": 0.2}
    assert (row["policy"], row["policy_version"], row["policy_digest"]) == ("marketplace", 3, "d")
    assert (row["model"], row["model_revision"], row["sha256"], row["error_type"]) == ("m", "r", None, None)


def test_an_error_is_in_its_row() -> None:
    facts = {"decision": Decision.ERROR, "error": ErrorFacts(type="ImageBroken", message="cut off")}
    row = result_row("/a.jpg", VERDICT.model_copy(update=facts))
    assert (row["decision"], row["error_type"], row["error"]) == ("error", "ImageBroken", "cut off")


def test_what_was_never_sent_has_a_row_too() -> None:
    row = failed_row("caf\udce9.jpg", ImageNotFound("gone"))
    assert (row["id"], row["path"], row["decision"]) == (None, "caf\\udce9.jpg", "error")
    assert (row["error_type"], row["error"]) == ("ImageNotFound", "gone")
