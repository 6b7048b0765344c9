"""Labelled images: a folder per class, or a CSV file."""

import csv
from dataclasses import dataclass
from pathlib import Path

from moderator.errors import LabelsInvalid
from moderator.image_paths import list_images

#: Columns that may hold the label; the first one found counts.
LABEL_COLUMNS = ("label", "category")


@dataclass(frozen=True)
class Labelled:
    """An image and what it shows."""

    path: str
    label: str


def read_labelled(source: Path) -> list[Labelled]:
    """Read labelled images.

    Args:
        source: a CSV file with the columns `path` (relative to the file) and `label` or `category`; a folder with
            such a file named labels.csv; or a folder with a folder of images for each class.

    Raises:
        LabelsInvalid: the source is none of these, or a column is missing.
    """
    if source.is_dir() and (source / "labels.csv").is_file():
        source = source / "labels.csv"
    found = _read_folders(source) if source.is_dir() else _read_csv(source)
    if not found:
        raise LabelsInvalid(
            f"{source}: no labelled images; give a folder of folders, or a CSV with path and label"
        )
    return found


def read_class_texts(path: Path) -> dict[str, str]:
    """Read the text of each class: a line `LABEL<tab>TEXT`, or `TEXT` where label and text are the same.

    Raises:
        LabelsInvalid: the file cannot be read, or a label appears twice.
    """
    texts: dict[str, str] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsInvalid(f"cannot read {path}: {error}; it should be UTF-8, one class a line") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        label, _, text = (part.strip() for part in line.partition("\t"))
        if label in texts:
            raise LabelsInvalid(f"{path}, line {number}: class {label!r} is there twice; remove one")
        texts[label] = text or label
    return texts


def _read_folders(source: Path) -> list[Labelled]:
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    return [Labelled(image, folder.name) for folder in folders for image in list_images(folder)]


def _read_csv(source: Path) -> list[Labelled]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            column = next((name for name in LABEL_COLUMNS if name in columns), None)
            if column is None or "path" not in columns:
                raise LabelsInvalid(
                    f"{source}: needs the columns path and label (or category), has {list(columns)}"
                )
            return [
                Labelled(str(source.parent / row["path"]), row[column])
                for row in reader
                if row["path"] and row[column]
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsInvalid(f"cannot read {source}: {error}") from error
