import io
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator import Decision, Moderator, Settings
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import PolicyNotFound
from tests.support.colour_encoder import ColourEncoder, picture, write_policies


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return write_policies(tmp_path / "policies")


@pytest.fixture
def settings(policies: Path, tmp_path: Path) -> Settings:
    return Settings(
        policies=policies, default_policy="colours", cache=tmp_path / "cache", max_batch=4, threads=2
    )


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def moderator(settings: Settings, encoder: ColourEncoder) -> Moderator:
    return Moderator(settings, encoder=encoder)


def animation(*colours: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()


def test_a_verdict(moderator: Moderator) -> None:
    (verdict,) = moderator.check([picture("red")])
    assert (verdict.decision, verdict.is_safe, verdict.top_category) == (Decision.BLOCK, False, "red")
    assert verdict.unsafe_score > 0.5 > verdict.safe_score
    assert verdict.categories["red"].top_prompts[0].prompt == "red"
    assert (verdict.policy.name, verdict.policy.version) == ("colours", 1)
    assert verdict.policy.digest == moderator.engine.catalogue.get("colours").digest
    assert (verdict.model.id, verdict.model.dtype) == ("colours", "float32")
    assert (verdict.image.width, verdict.image.height, verdict.image.format) == (20, 10, "png")
    assert verdict.error is None
    assert set(verdict.timings_ms) == {"fetch", "decode", "batch_wait", "embed", "score"}


def test_order_is_kept_and_broken_images_get_an_error(moderator: Moderator, tmp_path: Path) -> None:
    (tmp_path / "red.jpg").write_bytes(picture("red", "JPEG"))
    (tmp_path / "text.jpg").write_text("no image")
    images = [
        picture("green"),
        tmp_path / "red.jpg",
        str(tmp_path / "text.jpg"),
        tmp_path / "missing.jpg",
        picture("green")[:45],
        tmp_path,
        "http://127.0.0.1:8080/x.jpg",
        b"",
        picture("red"),
    ]
    verdicts = moderator.check(images)
    assert [v.error.type if v.error else str(v.decision) for v in verdicts] == [
        "allow",
        "block",
        "NotAnImage",
        "ImageNotFound",
        "ImageBroken",
        "FetchRefused",
        "FetchRefused",
        "NotAnImage",
        "block",
    ]
    for verdict in verdicts:
        assert (verdict.error is not None) == (verdict.decision is Decision.ERROR)
        assert not (verdict.error and verdict.is_safe)
    assert verdicts[1].event_id == str(tmp_path / "red.jpg")


def test_paths_may_be_relative(moderator: Moderator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(picture("red"))
    monkeypatch.chdir(tmp_path)
    assert [v.decision for v in moderator.check(["a.png", Path("./a.png")])] == [Decision.BLOCK] * 2


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", "/" * 9000, "\x1b[31m"])
def test_strange_names_get_an_error(moderator: Moderator, name: str) -> None:
    (verdict,) = moderator.check([name])
    assert verdict.decision is Decision.ERROR
    verdict.model_dump_json()


def test_a_file_name_that_is_not_utf8(moderator: Moderator, tmp_path: Path) -> None:
    path = tmp_path / "r\udce9d.png"
    path.write_bytes(picture("red"))
    (verdict,) = moderator.check([path])
    assert verdict.decision is Decision.BLOCK
    assert "r?d.png" in verdict.model_dump_json()


@pytest.mark.parametrize(
    "colours", [("green", "red", "blue"), ("red", "green", "blue"), ("blue", "green", "red")]
)
def test_of_an_animation_the_worst_frame_decides(moderator: Moderator, colours: tuple[str, ...]) -> None:
    whole, *single = moderator.check([animation(*colours), *(picture(c) for c in colours)])
    assert whole.image.frames == 3
    assert whole.decision is Decision.BLOCK
    assert whole.unsafe_score == pytest.approx(max(v.unsafe_score for v in single), abs=0.02)


def test_frames_of_neighbours_are_not_mixed_up(moderator: Moderator) -> None:
    images = [animation("green", "blue"), picture("red"), animation("blue", "red"), picture("green")] * 5
    expected = [Decision.ALLOW, Decision.BLOCK, Decision.BLOCK, Decision.ALLOW] * 5
    assert [v.decision for v in moderator.check(images)] == expected


def test_an_unknown_policy_fails_before_any_work(moderator: Moderator, encoder: ColourEncoder) -> None:
    def images() -> Iterator[bytes]:
        pytest.fail("an image was asked for")
        yield b""

    for name in ("colour", "colours@9", "no policy"):
        with pytest.raises(PolicyNotFound):
            moderator.check(images(), name)
    assert encoder.batches == []


def test_a_version_may_be_named(moderator: Moderator) -> None:
    (verdict,) = moderator.check([picture("red")], "colours@3")
    assert verdict.policy.version == 3
    assert verdict.shadow == ()


def test_shadows_are_recorded_and_do_not_decide(moderator: Moderator) -> None:
    (verdict,) = moderator.check([picture("red")])
    (shadow,) = verdict.shadow
    assert (verdict.policy.version, verdict.decision) == (1, Decision.BLOCK)
    assert (shadow.version, shadow.decision) == (2, Decision.ALLOW)
    assert shadow.digest == moderator.engine.catalogue.get("colours", 2).digest
    assert shadow.unsafe_score == verdict.unsafe_score
    assert shadow.categories["red"].score == verdict.categories["red"].score


def test_looking_ahead_is_bounded(moderator: Moderator) -> None:
    taken = itertools.count()
    last = 0

    def images() -> Iterator[bytes]:
        nonlocal last
        while True:
            last = next(taken)
            yield picture("green")

    verdicts = moderator.check_each(images())
    for number in range(1, 40):
        assert next(verdicts).decision is Decision.ALLOW
        assert last <= number + 5 * moderator.engine.max_batch
    verdicts.close()


def test_broken_images_are_told_as_they_come(moderator: Moderator) -> None:
    taken = 0

    def images() -> Iterator[bytes]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield b"broken"

    verdicts = moderator.check_each(images())
    assert next(verdicts).decision is Decision.ERROR
    assert taken <= 6 * moderator.engine.max_batch, "a run of failures may not pile up"
    verdicts.close()


def test_batches_are_at_most_max_batch(moderator: Moderator, encoder: ColourEncoder) -> None:
    moderator.check([animation("red", "green", "blue"), *[picture("green")] * 10])
    assert max(encoder.batches) <= 4
    assert sum(encoder.batches) == 13


class NaNForBlue(ColourEncoder):
    """Knows no blue."""

    def embed_images(self, pixels: Pixels) -> Embeddings:
        rows = super().embed_images(pixels)
        rows[rows[:, 2] > rows[:, 0]] = np.nan
        return rows


def test_an_image_that_the_model_fails_on_gets_an_error(settings: Settings) -> None:
    images = [picture("red"), picture("blue"), picture("white")]
    verdicts = Moderator(settings, encoder=NaNForBlue()).check(images)
    assert [str(v.decision) for v in verdicts] == ["block", "error", "allow"]
    assert verdicts[1].error.type == "EmbeddingInvalid"


def test_timings_add_up(
    moderator: Moderator, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, pause = encoder.embed_images, threading.Event()

    def slow(pixels: Pixels) -> Embeddings:
        pause.wait(0.4)
        return embed(pixels)

    monkeypatch.setattr(encoder, "embed_images", slow)
    start, paused = time.perf_counter(), 0.0
    for verdict in moderator.check_each([picture("red")] * 4):
        elapsed = time.perf_counter() - start
        assert verdict.timings_ms["embed"] >= 400
        # Were a time counted twice, or that of whoever reads the verdicts, the sum would be larger.
        assert sum(verdict.timings_ms.values()) <= (elapsed - paused) * 1000
        pause.wait(0.2)
        paused += 0.2


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_model_error_costs_its_own_image_alone(
    moderator: Moderator, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    embed = encoder.embed_images

    def fussy(pixels: Pixels) -> Embeddings:
        blue = (pixels[:, 0, 0] == (0, 0, 255)).all(axis=1)
        if how == "raises" and blue.any():
            raise RuntimeError("CUDA error")
        rows = embed(pixels)
        rows[blue] = np.nan
        return rows

    monkeypatch.setattr(encoder, "embed_images", fussy)
    verdicts = moderator.check(
        [picture(colour) for colour in ("red", "blue", "green", "white", "blue", "red")]
    )
    error = "Unexpected" if how == "raises" else "EmbeddingInvalid"
    assert [v.error and v.error.type for v in verdicts] == [None, error, None, None, error, None]
    assert [v.decision for v in verdicts if not v.error] == [
        Decision.BLOCK,
        Decision.ALLOW,
        Decision.ALLOW,
        Decision.BLOCK,
    ]
    assert all(v.policy and v.policy.name == "colours" for v in verdicts)


def test_a_model_that_is_broken_costs_no_call(
    moderator: Moderator, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pixels: Pixels) -> Embeddings:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(encoder, "embed_images", broken)
    verdicts = moderator.check([picture("red"), b"?", picture("green")])
    assert [v.error.type for v in verdicts] == ["Unexpected", "NotAnImage", "Unexpected"]
    assert "RuntimeError: CUDA error" in verdicts[0].error.message


def test_decoding_may_be_had_in_processes(settings: Settings, encoder: ColourEncoder) -> None:
    apart = Moderator(settings, encoder=encoder, processes=1)
    try:
        decisions = [v.decision for v in apart.check([picture("red"), b"?"])]
    finally:
        apart.close()
    assert decisions == [Decision.BLOCK, Decision.ERROR]
