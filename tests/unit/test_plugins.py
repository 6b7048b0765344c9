"""Installed packages add signals and encoders in one way."""

from pathlib import Path

import pytest

from moderator.encoders.encoder_registry import FAMILIES, load_encoder, parse_name
from moderator.errors import EncoderUnknown, ModeratorError, SignalFailed
from moderator.plugins import Registry
from moderator.signals.signal_registry import KINDS

MODULE = """\
class Tiny:
    def __init__(self, *model, **options):
        self.model, self.options = model, options
"""
ENTRY_POINTS = """\
[moderator.{group}]
tiny = {module}:Tiny
broken = {module}:Missing
{taken} = {module}:Tiny
"""
TAKEN = {"signals": "text", "encoders": "clip"}
REGISTRIES: dict[str, Registry] = {"signals": KINDS, "encoders": FAMILIES}


@pytest.fixture(params=REGISTRIES)
def group(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A group to which a package on the path adds entries, as pip would install it."""
    name = str(request.param)
    module = f"{name}_package"
    info = tmp_path / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {module}\nVersion: 1\n")
    text = ENTRY_POINTS.format(group=name, module=module, taken=TAKEN[name])
    (info / "entry_points.txt").write_text(text)
    (tmp_path / f"{module}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(REGISTRIES[name], "_loaded", {})
    return name


def test_a_package_adds_entries(group: str) -> None:
    registry = REGISTRIES[group]
    assert registry.names == (*registry.built_in, "broken", "tiny")
    assert registry.get("tiny").__name__ == "Tiny"
    assert registry.get("tiny") is registry.get("tiny")


def test_a_package_replaces_nothing(group: str) -> None:
    found = REGISTRIES[group].get(TAKEN[group])
    assert found.__module__.startswith("moderator.")


def test_a_broken_package_is_named(group: str) -> None:
    with pytest.raises(
        ModeratorError, match=r"the package of the .* 'broken' cannot be loaded .*; install it again"
    ):
        REGISTRIES[group].get("broken")


def test_unknown_names() -> None:
    with pytest.raises(
        SignalFailed, match=r"^'txt' is not a kind of signal; did you mean 'text'\? \(kinds: detector"
    ):
        KINDS.get("txt")
    with pytest.raises(
        EncoderUnknown, match=r"^'zzz' is not a family of encoders; choose one \(families: embed"
    ):
        FAMILIES.get("zzz")


@pytest.mark.parametrize("group", ["encoders"], indirect=True)
def test_an_encoder_of_a_package_is_loaded(group: str) -> None:
    assert parse_name("tiny") == ("tiny", "")
    encoder = load_encoder("tiny:some/model", "cpu", "float32")
    assert encoder.model == ("some/model",)  # type: ignore[attr-defined]
    assert encoder.options["device"] == "cpu"  # type: ignore[attr-defined]
