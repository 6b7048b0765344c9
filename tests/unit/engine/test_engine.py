import io
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderator import Decision, Moderator, Settings
from moderator.engine.engine import Engine
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import ImageError, NotAnImage
from moderator.events import parse_message
from moderator.images.resize import Pixels, Resize
from tests.support.colour_encoder import ColourEncoder, picture, write_policies


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    policies = write_policies(tmp_path / "policies")
    return Settings(policies=policies, default_policy="colours", cache=tmp_path / "cache", max_batch=4)


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def engine(settings: Settings, encoder: ColourEncoder) -> Engine:
    return Engine(settings, encoder=encoder)


def animation(*colours: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()


def test_the_default_batch_follows_the_encoder(settings: Settings, encoder: ColourEncoder) -> None:
    engine = Engine(settings.model_copy(update={"max_batch": 0}), encoder=encoder)
    assert engine.max_batch == 8
    encoder.best_batch = 64
    assert engine.max_batch == 64


def test_prepare_gives_what_the_model_takes(engine: Engine) -> None:
    prepared = engine.preparer.prepare(animation("red", "blue"))
    assert (prepared.pixels.shape, prepared.pixels.dtype) == ((2, 8, 8, 3), np.uint8)
    with pytest.raises(NotAnImage):
        engine.preparer.prepare(b"?")


def test_processes_answer_as_threads_do(engine: Engine, settings: Settings, encoder: ColourEncoder) -> None:
    data = animation("red", "blue")
    apart = Engine(settings, encoder=encoder, processes=1)
    try:
        ours, theirs = engine.preparer.prepare(data), apart.preparer.prepare(data)
        assert ours.facts == theirs.facts
        assert ours.facts.sha256 == sha256(data).hexdigest()
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
        with pytest.raises(NotAnImage):
            apart.preparer.prepare(b"?")
    finally:
        apart.close()


def test_large_jpegs_are_decoded_at_a_reduced_size(settings: Settings, encoder: ColourEncoder) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(Resize):
        def __call__(self, image: Image.Image) -> Pixels:
            seen.append(image.size)
            return super().__call__(image)

    encoder.preprocess = Watched(8, 8)
    data = picture("red", "JPEG", (800, 600))
    for draft in (True, False):
        engine = Engine(settings.model_copy(update={"jpeg_draft": draft}), encoder=encoder)
        assert engine.preparer.prepare(data).facts.width == 800
    assert seen == [(100, 75), (800, 600)]


def test_warm_up_compiles_all_that_a_pointer_names(engine: Engine, encoder: ColourEncoder) -> None:
    engine.warm_up()
    assert encoder.batches == [1, 4]
    assert sorted(encoder.texts) == ["blue", "green", "red", "white"]
    encoder.texts.clear()
    Moderator(engine.settings, encoder=encoder).check([picture("red")])
    assert encoder.texts == [], "they are in the cache"


def test_judge_and_failed_answer_the_event(engine: Engine) -> None:
    body = {"id": "e", "source": "shop", "image": {"path": "/a"}, "metadata": {"user": 7}}
    (event,) = parse_message(body)
    prepared = engine.preparer.prepare(picture("red"))
    watch = Stopwatch({"fetch": 1.5})
    judged = engine.judge(event, prepared, engine.embed(prepared.pixels), watch)
    verdict = engine.verdict(event, prepared, judged, watch)
    assert (verdict.event_id, verdict.source, verdict.metadata) == ("e", "shop", {"user": 7})
    assert (verdict.policy.name, verdict.timings_ms["fetch"]) == ("colours", 1.5)
    failed = engine.failed(event, NotAnImage("no"), Stopwatch())
    assert (failed.event_id, failed.metadata, failed.decision) == ("e", {"user": 7}, Decision.ERROR)
    assert (failed.error.type, failed.error.message) == ("NotAnImage", "no")
    assert failed.policy == verdict.policy
    assert issubclass(NotAnImage, ImageError)


def test_embeddings_of_this_preprocessing_are_found_again(engine: Engine) -> None:
    """By later versions, too. Those before judged fewer views of a file, and theirs are not used."""
    assert engine.embedding_space == "b45af0f5139d75b3-float32-262fab49b3beb957"
