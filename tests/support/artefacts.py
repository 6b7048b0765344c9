"""What tests leave for people to look at, such as screenshots."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "artefacts"


def artefact(name: str) -> Path:
    """The place of a file that stays after the test."""
    FOLDER.mkdir(exist_ok=True)
    return FOLDER / name
