"""What all kinds of signals have in common, checked on their own examples."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moderator.errors import SignalFailed
from moderator.policies.loader import load_policy
from moderator.signals.known_files import KNOWN_FILES, keep
from moderator.signals.signal import Context, Frame, Signal
from moderator.signals.signal_calls import make_kind, read
from moderator.signals.signal_registry import KINDS, option_problems
from tests.support.tools import missing


def made(kind: str, number: int) -> Signal:
    example = KINDS.get(kind).examples()[number]
    try:
        return make_kind(kind, example.options, Context(example.content, example.encoder, example.dimension))
    except SignalFailed as error:
        if isinstance(error.__cause__, ImportError):
            missing(str(error), "`make test` installs all extras")
        raise


#: Kinds that load a model of the operator's have no examples; `tests/unit/vlm` makes models for them.
WITH_EXAMPLES = [kind for kind in KINDS.built_in if not hasattr(KINDS.get(kind), "load")]
EXAMPLES = [(kind, n) for kind in WITH_EXAMPLES for n in range(len(KINDS.get(kind).examples()))]


def test_all_built_in_kinds_are_found() -> None:
    assert set(KINDS.built_in) <= set(KINDS.names)
    assert set(KINDS.built_in) - set(WITH_EXAMPLES) == {"detector", "second-opinion"}
    for kind in WITH_EXAMPLES:
        scores = [(e.lowest, e.highest) for e in KINDS.get(kind).examples()]
        assert any(low > 0.4 for low, _ in scores), f"{kind} has no example that it finds"
        assert any(high < 0.6 for _, high in scores), f"{kind} has no example that it passes"


@pytest.mark.parametrize(("kind", "number"), EXAMPLES)
def test_examples(kind: str, number: int) -> None:
    example = KINDS.get(kind).examples()[number]
    signal = made(kind, number)
    assert not list(option_problems(kind, example.options, example.content is not None))
    assert signal.needs_file is None or (example.content is not None) == signal.needs_file
    assert (example.frame.image is not None) == signal.uses_pixels
    reading = read(signal, example.frame)
    assert example.lowest <= reading.score <= example.highest
    assert len(json.dumps(dict(reading.facts))) < 2_000
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: read(signal, example.frame), range(4)))
    assert all(other.score == pytest.approx(reading.score, abs=1e-5) for other in again)


@pytest.mark.parametrize("kind", WITH_EXAMPLES)
def test_any_size_of_image(kind: str) -> None:
    signal = made(kind, 0)
    image = KINDS.get(kind).examples()[0].frame.image
    if image is None:
        pytest.skip("looks at no pixels")
    for size in ((1, 1), (1, 300), (3000, 5)):
        assert 0 <= read(signal, Frame(image.resize(size))).score <= 1


@pytest.mark.parametrize("kind", [kind for kind in WITH_EXAMPLES if KINDS.get(kind).needs_file])
def test_a_file_of_something_else_is_refused(kind: str) -> None:
    made(kind, 0)  # skips where the package is missing
    example = KINDS.get(kind).examples()[0]
    for content in (b"", b"\xff not what was expected", np.random.default_rng(0).bytes(1000)):
        with pytest.raises(SignalFailed):
            make_kind(kind, example.options, Context(content, example.encoder, example.dimension))


def test_unknown_kinds_and_options() -> None:
    assert list(option_problems("hash-lst", {}, True)) == [
        (
            "kind",
            f"'hash-lst' is not a kind of signal; did you mean 'hash-list'? (kinds: {', '.join(KINDS.names)})",
        )
    ]
    found = dict(option_problems("hash-list", {"distanc": 3, "quality": 200}, False))
    assert set(found) == {"file", "distanc", "quality"}
    assert "did you mean 'distance'?" in found["distanc"]


def test_a_fetched_file_with_another_content_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(SignalFailed, match="not the published file"):
        keep(b"something else", KNOWN_FILES["open-nsfw"], tmp_path / "open-nsfw.onnx")
    assert not list(tmp_path.iterdir())


def test_the_shipped_policy_names_the_known_file() -> None:
    signal = load_policy(Path("policies/explicit/1.yaml")).signals[0]
    known = KNOWN_FILES["open-nsfw"]
    assert (signal.file, signal.sha256) == (known.file, known.sha256)
