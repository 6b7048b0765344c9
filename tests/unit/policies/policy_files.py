"""Builds policy folders for tests."""

from pathlib import Path

from tests.policies import release

TEXT = """\
# a comment
name: {name}
version: {version}
description: Things that may not be sold.
templates: ["a photo of {{}}", "{{}}"]
safe: [a landscape, a plate of food, a chair]
categories:
  weapons:
    unsafe: [a gun, a rifle]
    safe: [a water pistol]
    review: 0.45
    block: {block}
"""


def write(
    folder: Path, name: str = "market", version: int = 1, block: float = 0.8, text: str | None = None
) -> Path:
    path = folder / name / f"{version}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text is not None else TEXT.format(name=name, version=version, block=block))
    return path


def write_released(folder: Path, name: str = "market", versions: int = 3) -> None:
    for version in range(1, versions + 1):
        write(folder, name, version, block=0.5 + version / 10)
        release(folder, name, version)


def point(folder: Path, text: str) -> None:
    (folder / "active.yaml").write_text(text)
