import json
from dataclasses import replace

import numpy as np
import pytest

from moderator.queue.evidence import Evidence
from moderator.verdicts import ModelFacts
from moderator.view import View

MODEL = ModelFacts(id="embedded", revision="1", preprocessing="p", device="cpu", dtype="float32")


def evidence() -> Evidence:
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Evidence(rows, {"hash-list|x": {"score": 1.0, "unsure": False, "facts": {"list": "x"}}}, MODEL)


def test_it_comes_back_in_half_precision() -> None:
    kept = evidence()
    read = Evidence.from_fields(*kept.to_fields())
    assert read.embeddings.dtype == np.float16
    np.testing.assert_array_equal(read.embeddings, kept.embeddings.astype(np.float16))
    assert (read.readings, read.model) == (kept.readings, MODEL)


def test_other_programs_can_read_the_fields() -> None:
    embedding, tensor, readings = evidence().to_fields()
    assert len(embedding) == 3 * 8 * 2
    assert json.loads(tensor) == {"dtype": "float16", "shape": [3, 8], "model": MODEL.model_dump()}
    assert json.loads(readings)["hash-list|x"]["facts"] == {"list": "x"}


def test_the_views_come_with_the_embeddings() -> None:
    views = (
        View("whole", 0, (0, 0, 9, 9)),
        View("panel", 0, (1, 2, 3, 4)),
        View("whole", 0, (0, 0, 9, 9), 180),
    )
    kept = replace(evidence(), views=views)
    assert Evidence.from_fields(*kept.to_fields()).views == views
    assert json.loads(kept.to_fields()[1])["views"][1] == {
        "name": "panel",
        "frame": 0,
        "box": [1, 2, 3, 4],
        "turn": 0,
    }


def test_whole_frames_need_no_views() -> None:
    views = tuple(View("whole", frame, (0, 0, 9, 9)) for frame in range(3))
    assert replace(evidence(), views=views).to_fields() == evidence().to_fields()


def test_what_came_from_the_outbox_can_be_kept_again() -> None:
    """As in a dead letter."""
    fields = evidence().to_fields()
    assert Evidence.from_fields(*fields).to_fields() == fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, b"odd"),
        (1, b"no JSON"),
        (1, b"[]"),
        (1, b"{}"),
        (1, b'{"dtype": "float32", "shape": [3, 8], "model": {}}'),
        (1, b'{"dtype": "float16", "shape": "x", "model": {}}'),
        (1, b'{"dtype": "float16", "shape": [3, 8], "model": {}}'),
        (
            1,
            json.dumps(
                {"dtype": "float16", "shape": [3, 8], "model": MODEL.model_dump(), "views": [1]}
            ).encode(),
        ),
        (2, b"\xff"),
    ],
)
def test_what_is_none_is_refused(field: int, value: bytes) -> None:
    fields = list(evidence().to_fields())
    fields[field] = value
    with pytest.raises(ValueError, match=r"."):
        Evidence.from_fields(*fields)
