from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from moderator.embeddings import embeddings_file
from moderator.embeddings.bulk import embed_files
from moderator.embeddings.embedder import Embedder
from moderator.embeddings.embedding_search import index_path, search
from moderator.embeddings.embeddings_file import EmbeddingsFile, Facts, open_writer, to_batch
from moderator.encoders.families.clip import ClipEncoder
from moderator.errors import ModelMismatch
from moderator.settings import Settings
from tests.support.clip_models import PHOTOGRAPHS
from tests.support.colour_encoder import ColourEncoder, unit


def test_search_as_plain_transformers_do_it(small_clip: Path, tmp_path: Path) -> None:
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    encoder = ClipEncoder(str(small_clip), device="cpu", dtype="float32")
    embedder = Embedder(Settings(jpeg_draft=False), encoder=encoder)
    output = tmp_path / "f.parquet"
    embed_files(embedder, map(str, files), output)

    model = CLIPModel.from_pretrained(small_clip, dtype=torch.float32).eval()
    processor = CLIPImageProcessorPil.from_pretrained(small_clip)
    tokens = AutoTokenizer.from_pretrained(small_clip)(["a red panda"], return_tensors="pt")
    with torch.no_grad():
        pixels = processor(images=[Image.open(f).convert("RGB") for f in files], return_tensors="pt")
        found = model(**tokens, **pixels)
    by_text = found.image_embeds @ found.text_embeds[0]
    by_image = found.image_embeds @ found.image_embeds[3]
    for expected, query in (
        (by_text, embedder.embed_texts(["a red panda"])),
        (by_image, embedder.embed_all([files[3]])),
    ):
        (hits,) = search(EmbeddingsFile(output), query, 5)
        order = expected.argsort(descending=True)[:5]
        assert [hit.path for hit in hits] == [str(files[n]) for n in order]
        assert [hit.similarity for hit in hits] == pytest.approx(expected[order].tolist(), abs=1e-5)


def make_file(path: Path, rows: np.ndarray, group: int = 100) -> EmbeddingsFile:
    facts = Facts(ColourEncoder().identity, rows.shape[1], 20.0, 0.0, "float32", "float32", run="1")
    with open_writer(path, facts) as writer:
        for at in range(0, len(rows), group):
            some = rows[at : at + group]
            names = [str(number) for number in range(at, at + len(some))]
            writer.write_batch(to_batch(facts, names, names, some))
    return EmbeddingsFile(path)


def random_rows(count: int, dimension: int = 32) -> np.ndarray:
    return unit(np.random.default_rng(1).normal(size=(count, dimension)))


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_file, "ROWS_PER_BLOCK", 64)
    rows, queries = random_rows(1000), random_rows(7)[3:]
    file = make_file(tmp_path / "f.parquet", rows)
    cosines = queries @ rows.T
    for hits, line in zip(search(file, queries, 20), cosines, strict=True):
        assert [int(hit.path) for hit in hits] == np.argsort(-line, kind="stable")[:20].tolist()
    assert len(search(file, queries[:1], 5000)[0]) == 1000


def test_the_approximate_index_finds_nearly_all(tmp_path: Path) -> None:
    rows, queries = random_rows(3000), random_rows(3050)[3000:]
    file = make_file(tmp_path / "f.parquet", rows)
    exact = search(file, queries, 10, approximate=False)
    assert not index_path(file.path).exists()
    for _ in ("built", "from its file"):
        near = search(file, queries, 10, approximate=True)
        shared = [len({h.path for h in a} & {h.path for h in b}) for a, b in zip(exact, near, strict=True)]
        assert np.mean(shared) >= 9.5
        assert near[0][0].similarity == pytest.approx(exact[0][0].similarity, abs=2e-3)


def test_a_stale_index_is_built_anew(tmp_path: Path) -> None:
    rows = random_rows(300)
    file = make_file(tmp_path / "f.parquet", rows[:200])
    search(file, rows[:1], 1, approximate=True)
    file.close()
    file = make_file(tmp_path / "f.parquet", rows)
    assert search(file, rows[250:251], 1, approximate=True)[0][0].path == "250"
    index_path(file.path).write_bytes(b"nonsense")
    assert search(file, rows[250:251], 1, approximate=True)[0][0].path == "250"


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_file, "ROWS_PER_BLOCK", 500)
    file = make_file(tmp_path / "f.parquet", random_rows(20_000, 256), group=500)
    size = file.path.stat().st_size
    assert size > 20_000_000
    held = max(pa.total_allocated_bytes() for _ in file.batches())
    assert held < size / 10


def test_another_model_is_refused(tmp_path: Path) -> None:
    file = make_file(tmp_path / "f.parquet", random_rows(3))
    file.facts.check(ColourEncoder(), file.path)
    with pytest.raises(ModelMismatch):
        file.facts.check(ColourEncoder("2"), file.path)
