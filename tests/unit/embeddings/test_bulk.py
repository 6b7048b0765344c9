import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from moderator.embeddings import bulk
from moderator.embeddings.bulk import embed_files, report_path, write_numpy
from moderator.embeddings.embedder import Embedder
from moderator.embeddings.embeddings_file import EmbeddingsFile, matrix
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import EmbeddingBusy, EmbeddingsUnreadable, ImageNotFound, ModelMismatch
from moderator.image_paths import list_images
from moderator.settings import Settings
from tests.support.colour_encoder import ColourEncoder, picture

SETTINGS = Settings(max_batch=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(30):
        path = folder / str(number % 3) / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(f"#{number:02}{number * 7 % 100:02}{number * 3 % 100:02}"))
    (folder / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("no image by its name")
    return folder


ROOT = Path(__file__).parents[3]


def embedder(encoder: ColourEncoder | None = None) -> Embedder:
    return Embedder(SETTINGS, encoder=encoder or ColourEncoder())


def paths(file: Path) -> list[str]:
    return [name for batch in EmbeddingsFile(file).batches(["path"]) for name in batch["path"].to_pylist()]


def rows(file: Path) -> Embeddings:
    return np.concatenate([matrix(batch) for batch in EmbeddingsFile(file).batches(["embedding"])])


def test_rows_are_the_images_in_the_order_of_the_listing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    summary = embed_files(embedder(), list_images(folder), output, part_rows=8)
    assert (summary.rows, summary.new, summary.failed) == (30, 30, 1)
    images = [name for name in list_images(folder) if "broken" not in name]
    assert paths(output) == images
    assert len(images) == 30
    assert rows(output) == pytest.approx(embedder().embed_all(images), abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "f.parquet",
        "f.parquet.failed.jsonl",
        "photos",
    ]
    facts = EmbeddingsFile(output).facts
    assert facts.identity == ColourEncoder().identity
    assert (facts.dimension, facts.scale, facts.stored) == (4, 20, "float32")
    (failed,) = map(json.loads, report_path(output).read_text().splitlines())
    assert Path(failed["path"]).name == "broken.png"
    assert failed["type"] == "ImageBroken"


def test_again_only_what_is_new_is_embedded(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    embed_files(embedder(), list_images(folder), output)
    before = rows(output)
    (folder / "1" / "new.png").write_bytes(picture("red"))
    encoder = ColourEncoder()
    summary = embed_files(embedder(encoder), list_images(folder), output)
    assert (summary.rows, summary.new, summary.failed) == (31, 1, 1)
    assert sum(encoder.batches) == 1
    assert np.array_equal(rows(output)[:30], before)
    assert len(set(paths(output))) == 31
    content = output.read_bytes()
    assert embed_files(embedder(), list_images(folder), output).new == 0
    assert output.read_bytes() == content


def test_two_kills_lose_and_double_nothing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    parts = tmp_path / "f.parquet.parts"
    command = [sys.executable, "-m", "tests.support.embed_slowly", str(folder), str(output)]
    for wanted in (1, 2):
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
        deadline = time.monotonic() + 60
        while len(list(parts.glob("[0-9]*.parquet"))) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert not output.exists()
    # What a kill in the middle of writing leaves.
    (parts / ".000009.parquet.new").write_bytes(b"half")
    encoder = ColourEncoder()
    summary = embed_files(embedder(encoder), list_images(folder), output, part_rows=8)
    assert (summary.rows, summary.new, summary.failed) == (30, 30, 1)
    assert sum(encoder.batches) <= 14
    assert sorted(paths(output)) == sorted(n for n in list_images(folder) if "broken" not in n)
    assert not parts.exists()


class Stopped(ColourEncoder):
    """Stops, as by Ctrl-C, in its fourth batch."""

    def embed_images(self, pixels: Pixels) -> Embeddings:
        if len(self.batches) == 3:
            raise KeyboardInterrupt
        return super().embed_images(pixels)


def stop(folder: Path, output: Path, encoder: ColourEncoder | None = None) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed_files(embedder(encoder or Stopped()), list_images(folder), output)


def test_an_interrupt_keeps_all_finished_batches(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    stop(folder, output)
    encoder = ColourEncoder()
    assert embed_files(embedder(encoder), list_images(folder), output).new == 30
    assert sum(encoder.batches) == 30 - 3 * 4 + 1, "the broken file filled one place of a batch"


@pytest.mark.parametrize("at", ["joined", "parts removed", "folder left"])
def test_a_kill_between_the_last_steps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    output = tmp_path / "f.parquet"
    clear = bulk.clear

    def killed(parts: Path) -> None:
        if at == "parts removed":
            for path in parts.glob("*.parquet"):
                path.unlink()
        if at == "folder left":
            clear(parts)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "clear", killed)
        with pytest.raises(KeyboardInterrupt):
            embed_files(embedder(), list_images(folder), output)
    (folder / "1" / "new.png").write_bytes(picture("red"))
    summary = embed_files(embedder(), list_images(folder), output)
    assert (summary.rows, summary.new) == (31, 1)
    assert len(set(paths(output))) == 31


def test_models_are_never_mixed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    stop(folder, output)
    with pytest.raises(ModelMismatch, match="colours"):
        embed_files(embedder(ColourEncoder("2")), list_images(folder), output)
    embed_files(embedder(), list_images(folder), output)
    content = output.read_bytes()
    with pytest.raises(ModelMismatch, match="MODERATOR_ENCODER"):
        embed_files(embedder(ColourEncoder("2")), list_images(folder), output)
    with pytest.raises(ModelMismatch, match="holds float32, not float16"):
        embed_files(embedder(), list_images(folder), output, "float16")
    assert output.read_bytes() == content
    assert not (tmp_path / "f.parquet.parts").exists()


def test_two_at_once_are_refused(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"

    class Nested(ColourEncoder):
        def embed_images(self, pixels: Pixels) -> Embeddings:
            with pytest.raises(EmbeddingBusy):
                embed_files(embedder(), list_images(folder), output)
            return super().embed_images(pixels)

    assert embed_files(embedder(Nested()), list_images(folder), output).rows == 30


def test_half_precision_and_numpy(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    embed_files(embedder(), list_images(folder), output, "float16")
    write_numpy(output, tmp_path / "f.npy")
    found = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert found.dtype == np.float16
    assert np.array_equal(found.astype(np.float32), rows(output))
    exact = embedder().embed_all(paths(output))
    assert np.abs(rows(output) - exact).max() < 1e-3


def test_what_is_listed_twice_is_embedded_once(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("photos/0/00.png\n\nphotos/1/01.png\nphotos/../photos/0/00.png\nmissing.png\n")
    output = tmp_path / "f.parquet"
    ticks: list[int] = []
    summary = embed_files(embedder(), list_images(listed), output, progress=ticks.append)
    assert (summary.rows, summary.failed) == (2, 1)
    assert paths(output) == [str(folder / "0/00.png"), str(folder / "1/01.png")]
    assert sum(ticks) == 4


def test_names_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(picture("red"))
    (folder / "ä.png").write_bytes(picture("red"))
    output = tmp_path / "f.parquet"
    assert embed_files(embedder(), list_images(folder), output).failed == 1
    assert "not UTF-8" in report_path(output).read_text()
    assert [Path(path).name for path in paths(output)] == ["ä.png"]


def test_what_is_no_file_of_embeddings_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    with pytest.raises(EmbeddingsUnreadable, match="there is no file"):
        EmbeddingsFile(other)
    other.write_text("nonsense")
    with pytest.raises(EmbeddingsUnreadable, match="is no file of embeddings"):
        EmbeddingsFile(other)
    with pytest.raises(EmbeddingsUnreadable):
        embed_files(embedder(), [], other)
    assert other.read_text() == "nonsense"


def test_a_source_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match="no folder, and no list"):
        list(list_images(tmp_path / "nothing"))
