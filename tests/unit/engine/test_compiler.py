import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from moderator.encoders.encoder import Embeddings
from moderator.engine.compiler import Compiler
from moderator.errors import EmbeddingInvalid
from moderator.policies.schema import Policy
from tests.support.colour_encoder import ColourEncoder


def policy(version: int = 1, unsafe: tuple[str, ...] = ("red", "blood red"), **changes: object) -> Policy:
    values = {
        "name": "p",
        "version": version,
        "safe": ["green", "blue"],
        "categories": {"a": {"unsafe": unsafe}, "b": {"unsafe": ["white"], "safe": ["green"]}},
    }
    return Policy.model_validate({**values, **changes})


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


def files(cache: Path) -> list[Path]:
    return sorted(p for p in cache.rglob("*") if p.is_file())


def test_each_prompt_is_embedded_once(encoder: ColourEncoder, tmp_path: Path) -> None:
    compiler = Compiler(encoder, tmp_path)
    compiled = compiler.compile(policy())
    assert compiler.compile(policy()) is compiled
    assert sorted(encoder.texts) == ["blood red", "blue", "green", "red", "white"]
    assert (compiled.scale, compiled.bias) == (encoder.scale, encoder.bias)


def test_rows_are_the_prompts_of_the_layout(encoder: ColourEncoder, tmp_path: Path) -> None:
    compiled = Compiler(encoder, tmp_path).compile(policy())
    expected = encoder.embed_texts(compiled.layout.prompts)
    np.testing.assert_allclose(compiled.matrix, expected, atol=1e-6)
    assert compiled.matrix.dtype == np.float32


def test_templates_are_ensembled(encoder: ColourEncoder, tmp_path: Path) -> None:
    templates = ["a photo of {}", "{} on white", "a blue {}"]
    compiled = Compiler(encoder, tmp_path).compile(policy(templates=templates))
    for row, prompt in zip(compiled.matrix, compiled.layout.prompts, strict=True):
        mean = encoder.embed_texts([t.replace("{}", prompt) for t in templates]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)
    assert len({*np.round(compiled.matrix[:, 3], 6)}) > 1


def test_braces_in_a_prompt_mean_nothing(encoder: ColourEncoder, tmp_path: Path) -> None:
    Compiler(encoder, tmp_path).compile(policy(unsafe=("red {}", "{0} red"), templates=["a {}!"]))
    assert {"a red {}!", "a {0} red!"} <= set(encoder.texts)


def test_versions_share_the_prompts_that_they_have_in_common(encoder: ColourEncoder, tmp_path: Path) -> None:
    compiler = Compiler(encoder, tmp_path)
    compiler.compile(policy(1))
    encoder.texts.clear()
    second = compiler.compile(policy(2, unsafe=("red", "a red thing")))
    assert encoder.texts == ["a red thing"]
    np.testing.assert_allclose(second.matrix, encoder.embed_texts(second.layout.prompts), atol=1e-6)


def test_other_templates_share_nothing(encoder: ColourEncoder, tmp_path: Path) -> None:
    compiler = Compiler(encoder, tmp_path)
    compiler.compile(policy(1))
    encoder.texts.clear()
    compiler.compile(policy(2, templates=["a {}"]))
    assert len(encoder.texts) == 5


def test_a_later_process_reads_what_is_kept(tmp_path: Path) -> None:
    first = Compiler(ColourEncoder(), tmp_path).compile(policy())
    later = ColourEncoder()
    compiler = Compiler(later, tmp_path)
    np.testing.assert_array_equal(compiler.compile(policy()).matrix, first.matrix)
    assert later.texts == []
    compiler.compile(policy(2, unsafe=("red", "a red thing")))
    assert later.texts == ["a red thing"], "prompts read from disk are shared, too"


def test_no_other_file_is_left(encoder: ColourEncoder, tmp_path: Path) -> None:
    Compiler(encoder, tmp_path).compile(policy())
    (path,) = files(tmp_path)
    assert path.name == f"{policy().digest}.safetensors"


@pytest.mark.parametrize(
    "other", [ColourEncoder(revision="2"), ColourEncoder(dtype="bfloat16")], ids=["revision", "precision"]
)
def test_another_encoder_does_not_read_it(
    encoder: ColourEncoder, tmp_path: Path, other: ColourEncoder
) -> None:
    Compiler(encoder, tmp_path).compile(policy())
    other.texts.clear()
    Compiler(other, tmp_path).compile(policy())
    assert len(other.texts) == 5
    assert len(files(tmp_path)) == 2


def test_another_policy_does_not_read_it(encoder: ColourEncoder, tmp_path: Path) -> None:
    Compiler(encoder, tmp_path).compile(policy())
    Compiler(encoder, tmp_path).compile(policy(unsafe=("blood red", "red")))
    assert len(files(tmp_path)) == 2


def kept(path: Path, matrix: np.ndarray, prompts: object) -> None:
    save_file(
        {"matrix": matrix}, path, {"prompts": prompts if isinstance(prompts, str) else json.dumps(prompts)}
    )


def spoil(path: Path, how: str) -> None:
    with safe_open(path, framework="numpy") as file:
        matrix, prompts = file.get_tensor("matrix"), json.loads(file.metadata()["prompts"])
    match how:
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(b"\xff" * 200)
        case "truncated":
            path.write_bytes(path.read_bytes()[:-10])
        case "other tensor":
            save_file({"other": matrix}, path, {"prompts": json.dumps(prompts)})
        case "no metadata":
            save_file({"matrix": matrix}, path)
        case "metadata is no list":
            kept(path, matrix, 5)
        case "metadata is no json":
            kept(path, matrix, "[")
        case "other prompts":
            kept(path, matrix, prompts[::-1])
        case "other shape":
            kept(path, np.ascontiguousarray(matrix[:, :-1]), prompts)
        case "other type":
            kept(path, matrix.astype(np.float64), prompts)
        case "NaN":
            kept(path, matrix * np.float32(np.nan), prompts)
        case "a folder":
            path.unlink()
            path.mkdir()


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "garbage",
        "truncated",
        "other tensor",
        "no metadata",
        "metadata is no list",
        "metadata is no json",
        "other prompts",
        "other shape",
        "other type",
        "NaN",
        "a folder",
    ],
)
def test_a_broken_file_is_compiled_anew(tmp_path: Path, how: str) -> None:
    expected = Compiler(ColourEncoder(), tmp_path).compile(policy())
    (path,) = files(tmp_path)
    spoil(path, how)
    encoder = ColourEncoder()
    np.testing.assert_array_equal(Compiler(encoder, tmp_path).compile(policy()).matrix, expected.matrix)
    assert len(encoder.texts) == 5
    if how != "a folder":
        later = ColourEncoder()
        Compiler(later, tmp_path).compile(policy())
        assert later.texts == [], "it was written anew"
    assert not [p for p in files(tmp_path) if p.name.startswith(".")]


def test_a_cache_that_cannot_be_written(
    encoder: ColourEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file stands in the way")
    with caplog.at_level(logging.WARNING):
        compiled = Compiler(encoder, tmp_path / "cache").compile(policy())
    assert compiled.matrix.shape == (5, 4)
    assert "cannot keep the compiled policy" in caplog.text


class BrokenEncoder(ColourEncoder):
    def embed_texts(self, texts: object) -> Embeddings:
        return super().embed_texts(texts) * np.float32(np.nan)


def test_nan_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingInvalid, match="MODERATOR_DTYPE=float32"):
        Compiler(BrokenEncoder(), tmp_path).compile(policy())
    assert files(tmp_path) == []


def test_threads_compile_a_policy_once(encoder: ColourEncoder, tmp_path: Path) -> None:
    compiler, start = Compiler(encoder, tmp_path), Barrier(8)

    def work(n: int) -> object:
        start.wait()
        return compiler.compile(policy(n % 2 + 1))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert len({id(compiled) for compiled in found}) == 2
    assert len(encoder.texts) == 5
