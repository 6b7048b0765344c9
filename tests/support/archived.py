"""Verdicts on their way to an archive, as a worker makes them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np

from moderator.archive.archive_records import read_delivery
from moderator.archive.archive_store import Added, Archive
from moderator.events import event_key
from moderator.queue.evidence import Evidence
from moderator.queue.outbox import Delivery
from moderator.verdicts import CategoryVerdict, Decision, ImageFacts, ModelFacts, PolicyFacts, Verdict

DIMENSION = 8
MODEL = ModelFacts(id="hub/model", revision="r1", preprocessing="p", device="cpu", dtype="float32")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_verdict(number: int, **more: Any) -> Verdict:
    """Every third is a block for weapons."""
    decision = more.pop("decision", Decision.BLOCK if number % 3 == 0 else Decision.ALLOW)
    fields: dict[str, Any] = {
        "event_id": f"e{number}",
        "source": "shop",
        "decision": decision,
        "is_safe": decision is Decision.ALLOW,
        "unsafe_score": 0.5,
        "categories": {
            "weapons": CategoryVerdict(0.9 if decision is Decision.BLOCK else 0.1, decision),
            "drugs": CategoryVerdict(0.2, Decision.ALLOW),
        },
        "policy": PolicyFacts(name="market", version=1, digest="0" * 64),
        "model": MODEL,
        "image": ImageFacts(sha256=image_of(number), width=1, height=1, format="JPEG"),
        "created_at": NOON,
        "metadata": {"subject": f"user-{number % 10}"},
    }
    return Verdict(**fields | more)


def image_of(number: int) -> str:
    return sha256(f"image {number}".encode()).hexdigest()


def make_evidence(number: int, frames: int = 1, model: ModelFacts = MODEL) -> Evidence:
    rows = np.random.default_rng(number).standard_normal((frames, DIMENSION)).astype(np.float32)
    return Evidence(rows, {"nudity": {"score": number / 100}}, model)


def make_delivery(verdict: Verdict, evidence: Evidence | None = None) -> Delivery:
    body = verdict.model_dump_json().encode()
    key = f"{event_key(verdict.source, verdict.event_id)}#{sha256(body).hexdigest()[:12]}"
    if evidence is None:
        return Delivery(key, "", body, 1, 0.0)
    fields = evidence.to_fields()
    return Delivery(key, "", body, 1, 0.0, Evidence.from_fields(*fields), fields)


def deliveries(numbers: Sequence[int], frames: int = 1, **more: Any) -> list[Delivery]:
    return [make_delivery(make_verdict(number, **more), make_evidence(number, frames)) for number in numbers]


def fill(archive: Archive, numbers: Sequence[int], frames: int = 1, **more: Any) -> Added:
    return archive.add([read_delivery(delivery) for delivery in deliveries(numbers, frames, **more)])
