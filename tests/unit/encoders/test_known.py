from collections import Counter

from moderator.encoders.encoder_registry import FAMILIES
from moderator.encoders.known import KNOWN


def test_each_row_can_be_set_and_is_told_once() -> None:
    for model in KNOWN:
        family, _, rest = model.name.partition(":")
        assert family in FAMILIES.built_in
        assert (family == "embedded") == (rest == "")
        assert len(model.name) <= 49, "wider than the table's column"
        assert model.licence is None or len(model.licence) <= 8
    assert max(Counter(model.name for model in KNOWN).values()) == 1
    assert {model.name.partition(":")[0] for model in KNOWN} == set(FAMILIES.built_in)


def test_figures_are_possible() -> None:
    for model in KNOWN:
        assert 64 <= model.image_size <= 512, model.name
        assert 128 <= model.dimension <= 2048, model.name
        assert model.parameters is None or 40 < model.parameters < 6000, model.name
        assert model.top1 is None or 45 < model.top1 < 90, model.name


def test_each_figure_has_its_source() -> None:
    for model in KNOWN:
        assert (model.top1 is None) == (model.top1_source is None), model.name
    sources = {model.name: (model.top1, model.top1_source or "") for model in KNOWN}
    figure, source = sources["clip:openai/clip-vit-base-patch32"]
    assert figure == 63.4
    assert "arXiv:2103.00020" in source
    figure, source = sources["embedded"]
    assert figure == 48.1
    assert source.startswith("measured here")
    assert "moderator bench zero-shot" in source


def test_a_family_stands_together() -> None:
    families = [model.family for model in KNOWN]
    changes = [family for family, before in zip(families, ["", *families], strict=False) if family != before]
    assert len(changes) == len(set(changes))
