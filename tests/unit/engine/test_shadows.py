"""A shadow changes nothing: neither what the model sees nor what is decided, however it fails."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from moderator import Decision, Moderator, Settings, Verdict
from moderator.engine.preparer import needs_pixels
from moderator.errors import EmbeddingInvalid, ImageTooLarge, SignalFailed
from moderator.events import Event
from moderator.images.decode import DecodeLimits
from moderator.images.prepare import PreprocessSpec, prepare
from moderator.images.resize import Pixels, Resize
from moderator.signals.signal import Frame, SignalResult
from moderator.signals.signal_registry import KINDS
from moderator.view import ViewPlan
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.fake_signals import Slow, Whole, installed, raising
from tests.support.policies import release
from workers.worker_metrics import Metrics

POLICY = """\
name: colours
version: {version}
safe: [green, blue, white]
signals: [{signals}]
categories:
  red: {{unsafe: [red], block: {block}}}
{more}"""


def write(folder: Path, kind: str | None, shadow: bool = True) -> Path:
    """Version 1 decides by prompts alone; its shadow, version 2, also by a signal of a kind."""
    (folder / "colours").mkdir(parents=True)
    signal, more = ("", "") if kind is None else (f"{{name: s, kind: {kind}}}", "  s: {signal: s}\n")
    for version, signals, lines in ((1, "", ""), (2, signal, more)):
        text = POLICY.format(version=version, signals=signals, block=0.5, more=lines)
        (folder / "colours" / f"{version}.yaml").write_text(text)
        release(folder, "colours", version)
    (folder / "active.yaml").write_text(f"colours: {{active: 1{', shadow: [2]' if shadow else ''}}}\n")
    return folder


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(monkeypatch):
        yield


def made(
    tmp_path: Path, kind: str | None, name: str = "policies", encoder: ColourEncoder | None = None
) -> Moderator:
    settings = Settings(
        policies=write(tmp_path / name, kind), default_policy="colours", cache=tmp_path / "cache", threads=1
    )
    return Moderator(settings, encoder=encoder or ColourEncoder())


def noise(format: str, size: tuple[int, int], **options: Any) -> bytes:
    file = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def prepared(moderator: Moderator, data: bytes, event: Event) -> Pixels:
    engine = moderator.engine
    return engine.preparer.prepare(data, engine.resolver.select_for(event)).pixels


EXIF = Image.Exif()
EXIF[0x0112] = 6  # lies on its side


@pytest.mark.parametrize(
    "data",
    [
        noise("JPEG", (900, 700)),
        noise("JPEG", (900, 131)),
        noise("JPEG", (640, 400), exif=EXIF),
        noise("JPEG", (700, 500), progressive=True),
        noise("PNG", (300, 200)),
        noise("WEBP", (300, 200)),
    ],
    ids=["jpeg", "wide", "turned", "progressive", "png", "webp"],
)
@pytest.mark.parametrize("kind", ["whole", "slow"])
def test_the_model_sees_the_same_whatever_else_looks(tmp_path: Path, data: bytes, kind: str) -> None:
    encoder = ColourEncoder()
    encoder.preprocess = Resize(8, 8)
    event = Event.model_validate({"id": "e", "source": "s", "image": {"inline": "eA=="}})
    without, beside = made(tmp_path, None, "a", encoder), made(tmp_path, kind, "b", encoder)
    deciding = event.model_copy(update={"policy": "colours@2"})
    expected = prepared(without, data, event)
    for moderator, one in ((beside, event), (beside, deciding)):
        np.testing.assert_array_equal(prepared(moderator, data, one), expected)
    assert without.engine.embedding_space == beside.engine.embedding_space


@pytest.mark.parametrize("picture_side", [1, 16, 100, 300, 2**31 - 1])
@pytest.mark.parametrize("size", [(1600, 1200), (1200, 90), (260, 500), (63, 64)])
def test_pictures_are_apart_from_the_models_input(size: tuple[int, int], picture_side: int) -> None:
    limits = DecodeLimits(max_bytes=10**7, max_pixels=10**7, max_frames=4, timeout=10.0)
    spec, data = PreprocessSpec(limits, Resize(16, 16), draft=True), noise("JPEG", size)
    found, alone = prepare(data, spec, picture_side=picture_side), prepare(data, spec)
    np.testing.assert_array_equal(found.pixels, alone.pixels)
    (shown,) = found.pictures
    assert min(shown.size) >= min(*size, picture_side)
    assert alone.pictures == ()


def test_a_picture_is_the_same_whoever_else_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a list must not depend on what a shadow wants."""
    sizes: list[tuple[int, int]] = []

    def look(_: Whole, frame: Frame) -> SignalResult:
        assert frame.image is not None
        sizes.append(frame.image.size)
        return SignalResult(0.0)

    monkeypatch.setattr(Whole, "read", look)
    monkeypatch.setattr(Whole, "enough_pixels", 100)
    moderator = made(tmp_path, "whole")
    (tmp_path / "policies" / "active.yaml").write_text("colours: {active: 2, shadow: [3]}\n")
    text = (tmp_path / "policies" / "colours" / "2.yaml").read_text()
    third = text.replace("version: 2", "version: 3").replace("kind: whole", "kind: slow")
    (tmp_path / "policies" / "colours" / "3.yaml").write_text(third)
    release(tmp_path / "policies", "colours", 3)
    moderator.engine.catalogue.refresh()
    (verdict,) = moderator.check([noise("JPEG", (1600, 1200))])
    assert (verdict.policy.version, [shadow.error for shadow in verdict.shadow]) == (2, [None])
    assert sizes == [(200, 150)]


def breaks(_: object, *__: object) -> SignalResult:
    raise ZeroDivisionError("out of order")


FAILURES: dict[str, tuple[type, str, Callable[..., Any], str]] = {
    "raises": (Whole, "read", breaks, "SignalFailed"),
    "raises-ours": (Whole, "read", raising(SignalFailed("gone")), "SignalFailed"),
    "nan": (Whole, "read", lambda *_: SignalResult(float("nan")), "SignalFailed"),
    "no-score": (Whole, "read", lambda *_: SignalResult("much"), "SignalFailed"),  # type: ignore[arg-type]
    "nothing": (Whole, "read", lambda *_: None, "SignalFailed"),
    "not-made": (Whole, "__init__", breaks, "SignalFailed"),
}


def judged(moderator: Moderator) -> Verdict:
    (verdict,) = moderator.check([picture("green")])
    return verdict


def assert_failed_alone(verdict: Verdict, error: str) -> None:
    (shadow,) = verdict.shadow
    assert (verdict.decision, verdict.error) == (Decision.ALLOW, None)
    assert (shadow.version, shadow.decision, shadow.error.type) == (2, Decision.ERROR, error)
    assert (shadow.unsafe_score, shadow.categories) == (None, {})
    assert shadow.error.message
    metrics = Metrics(CollectorRegistry())
    metrics.count_verdict(verdict, 0.1)
    labels = {"policy": "colours", "version": "2"}
    sample = metrics.registry.get_sample_value
    assert sample("moderation_shadow_failures_total", {**labels, "error": error}) == 1
    assert not sample("moderation_shadow_disagreements_total", labels)
    assert sample("moderation_events_total", {"policy": "colours", "decision": "allow"}) == 1


@pytest.mark.parametrize("kind", ["whole", "slow"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_signal_that_fails_is_its_shadows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, kind: str
) -> None:
    _, name, act, error = FAILURES[failure]
    monkeypatch.setattr(Whole if kind == "whole" else Slow, name, act)
    assert_failed_alone(judged(made(tmp_path, kind)), error)


def test_a_kind_that_is_gone_is_its_shadows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moderator = made(tmp_path, "whole")
    with monkeypatch.context() as patch:
        patch.setattr(KINDS, "get", raising(SignalFailed("no such kind")))
        assert_failed_alone(judged(moderator), "SignalFailed")


def test_pictures_that_cannot_be_had_are_the_shadows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(data: bytes, spec: PreprocessSpec, plan: ViewPlan, picture_side: int = 0) -> Any:
        if picture_side:
            raise ImageTooLarge("more memory than allowed")
        return prepare(data, spec, plan)

    monkeypatch.setattr("moderator.engine.preparer.prepare", narrow)
    assert_failed_alone(judged(made(tmp_path, "whole")), "ImageTooLarge")


@pytest.mark.parametrize("error", [EmbeddingInvalid("NaN"), MemoryError("all of it")])
def test_a_shadow_that_does_not_compile_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    moderator = made(tmp_path, "whole")
    compile_ = moderator.engine.compiler.compile

    def fussy(policy: Any) -> Any:
        if policy.version == 2:
            raise error
        return compile_(policy)

    monkeypatch.setattr(moderator.engine.compiler, "compile", fussy)
    moderator.engine.warm_up()
    assert_failed_alone(
        judged(moderator), "EmbeddingInvalid" if isinstance(error, EmbeddingInvalid) else "Unexpected"
    )


def test_scores_that_are_no_numbers_decide_nothing(tmp_path: Path) -> None:
    moderator = made(tmp_path, None)
    moderator.engine.encoder.scale = float("nan")  # type: ignore[misc]
    verdict = judged(moderator)
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "EmbeddingInvalid")


def test_a_shadow_keeps_no_image_from_being_recalled(tmp_path: Path) -> None:
    resolver = made(tmp_path, "whole").engine.resolver
    event = Event.model_validate({"id": "e", "source": "s", "image": {"inline": "eA=="}})
    assert not needs_pixels(resolver.select_for(event))
    assert needs_pixels(resolver.select_for(event.model_copy(update={"policy": "colours@2"})))
