"""The uses of the encoder against the same recipes written out in plain transformers calls."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from moderator.embeddings.classes import Ensemble, build_classes, read_templates
from moderator.embeddings.embedder import Embedder
from moderator.embeddings.similarity_matrix import compare
from moderator.encoders.families.clip import ClipEncoder
from moderator.errors import LabelsInvalid
from moderator.settings import Settings
from tests.support.clip_models import PHOTOGRAPHS

FILES = sorted(PHOTOGRAPHS.glob("*.jpg"))[:6]
LABELS = ["cat", "cup of coffee", "hammer", "red panda", "rocket"]
TEMPLATES = ["a photo of a {}.", "a drawing of the {}.", "itap of my {}."]


class Plain:
    """What a user of transformers would write."""

    def __init__(self, folder: Path) -> None:
        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = CLIPImageProcessorPil.from_pretrained(folder)
        self.pictures = [Image.open(path).convert("RGB") for path in FILES]

    @torch.no_grad()
    def logits(self, texts: list[str]) -> torch.Tensor:
        """[images, texts]"""
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pixels = self.processor(images=self.pictures, return_tensors="pt")
        return self.model(**tokens, **pixels).logits_per_image

    @torch.no_grad()
    def images(self) -> torch.Tensor:
        pixels = self.processor(images=self.pictures, return_tensors="pt")
        features = self.model.get_image_features(**pixels).pooler_output
        return features / features.norm(dim=-1, keepdim=True)

    @torch.no_grad()
    def texts(self, texts: list[str]) -> torch.Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        features = self.model.get_text_features(**tokens).pooler_output
        return features / features.norm(dim=-1, keepdim=True)


@pytest.fixture(scope="module")
def plain(small_clip: Path) -> Plain:
    return Plain(small_clip)


@pytest.fixture
def embedder(small_clip: Path, tmp_path: Path) -> Embedder:
    # The reference decodes in full.
    settings = Settings(cache=tmp_path / "cache", jpeg_draft=False)
    return Embedder(settings, encoder=ClipEncoder(str(small_clip), device="cpu", dtype="float32"))


def test_zero_shot_classification(embedder: Embedder, plain: Plain) -> None:
    found = build_classes(embedder, LABELS).probabilities(embedder.embed_all(FILES))
    expected = plain.logits([f"a photo of a {label}." for label in LABELS]).softmax(dim=1).numpy()
    assert np.abs(found - expected).max() < 1e-4
    assert expected.max(axis=1).mean() > 0.5, "probabilities that are all alike would prove nothing"


def test_mean_of_embeddings(embedder: Embedder, plain: Plain) -> None:
    classes = build_classes(embedder, LABELS, TEMPLATES)
    columns = []
    for label in LABELS:
        mean = plain.texts([template.format(label) for template in TEMPLATES]).mean(dim=0)
        columns.append(mean / mean.norm())
    logits = plain.model.logit_scale.exp() * plain.images() @ torch.stack(columns, dim=1)
    expected = logits.softmax(dim=1).detach().numpy()
    assert np.abs(classes.probabilities(embedder.embed_all(FILES)) - expected).max() < 1e-4


def test_mean_of_probabilities(embedder: Embedder, plain: Plain) -> None:
    classes = build_classes(embedder, LABELS, TEMPLATES, Ensemble.PROBABILITIES)
    each = [plain.logits([t.format(label) for label in LABELS]).softmax(dim=1) for t in TEMPLATES]
    expected = torch.stack(each).mean(dim=0).numpy()
    found = classes.probabilities(embedder.embed_all(FILES))
    assert np.abs(found - expected).max() < 1e-4
    other = build_classes(embedder, LABELS, TEMPLATES).probabilities(embedder.embed_all(FILES))
    assert np.abs(found - other).max() > 1e-3, "the two ensembles differ"


def test_custom_prompts(embedder: Embedder, plain: Plain) -> None:
    prompts = ["an animal that sits", "something to drink", "{curly} braces stay"]
    found = build_classes(embedder, prompts, ["{}"]).probabilities(embedder.embed_all(FILES))
    assert np.abs(found - plain.logits(prompts).softmax(dim=1).numpy()).max() < 1e-4


def test_similarity_matrix(embedder: Embedder, plain: Plain) -> None:
    texts = [f"a {label}" for label in LABELS]
    encoder = embedder.encoder
    found = compare(embedder.embed_all(FILES), embedder.embed_texts(texts), encoder.scale, encoder.bias)
    expected = plain.logits(texts)
    assert np.abs(found.logits - expected.numpy()).max() < 1e-3
    assert np.abs(found.cosine - (plain.images() @ plain.texts(texts).T).numpy()).max() < 1e-5
    assert np.abs(found.probabilities - expected.softmax(dim=1).numpy()).max() < 1e-4


def test_labels_are_embedded_once(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_classes(embedder, LABELS, TEMPLATES)
    monkeypatch.setattr(embedder, "embed_texts", None)
    assert np.array_equal(build_classes(embedder, LABELS, TEMPLATES).matrices, first.matrices)
    with pytest.raises(TypeError):
        build_classes(embedder, LABELS, TEMPLATES, Ensemble.PROBABILITIES)


def test_a_broken_cache_is_written_anew(embedder: Embedder) -> None:
    first = build_classes(embedder, LABELS)
    (path,) = embedder.settings.cache.rglob("classes-*")
    path.write_bytes(b"nonsense")
    assert np.array_equal(build_classes(embedder, LABELS).matrices, first.matrices)
    assert path.stat().st_size > 100


@pytest.mark.parametrize(
    ("labels", "templates", "message"),
    [
        ([], ["{}"], "no labels"),
        (["a"], [], "no templates"),
        (["a"], ["a photo"], "once"),
        (["a"], ["{} {}"], "once"),
    ],
)
def test_wrong_labels(embedder: Embedder, labels: list[str], templates: list[str], message: str) -> None:
    with pytest.raises(LabelsInvalid, match=message):
        build_classes(embedder, labels, templates)


def test_the_templates_of_the_paper() -> None:
    templates = read_templates("imagenet")
    assert len(set(templates)) == 80
    assert {"a bad photo of a {}.", "itap of the {}.", "a tattoo of the {}."} <= set(templates)
    assert all(template.count("{}") == 1 for template in templates)
