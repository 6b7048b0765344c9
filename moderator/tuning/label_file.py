"""Read what images show from a CSV file, or from a folder of folders. Opens no image."""

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from moderator.embeddings.labelled import LABEL_COLUMNS
from moderator.errors import LabelsInvalid
from moderator.image_paths import list_images
from moderator.printable import printable
from moderator.suggestions import did_you_mean

#: Labels of images that show nothing that a policy looks for. An empty label is another.
SAFE_LABELS = frozenset({"safe", "none"})
#: Characters that separate the labels of one image.
SEPARATORS = ";|"
_NAMED_MAX = 8


@dataclass(frozen=True)
class LabelledFile:
    """An image file, its labels as written, and the other columns of its row."""

    path: Path
    labels: frozenset[str]
    columns: Mapping[str, str] = field(default_factory=dict)


def read_label_file(source: Path) -> list[LabelledFile]:
    """Return labelled files, each once.

    A file of several rows has the labels of all of them, and the other columns of the first.

    Args:
        source: a CSV file with the columns `path` (relative to the file) and `label` or `category`, in which `;` or
            `|` separates several; a folder with such a file named labels.csv; or a folder with a folder of images for
            each label.

    Raises:
        LabelsInvalid: the source is none of these, a column is missing, or no image is named.
    """
    if source.is_dir() and (source / "labels.csv").is_file():
        source = source / "labels.csv"
    found: dict[Path, LabelledFile] = {}
    for file in _read_folders(source) if source.is_dir() else _read_csv(source):
        known = found.get(file.path)
        found[file.path] = (
            file if known is None else LabelledFile(file.path, known.labels | file.labels, known.columns)
        )
    if not found:
        raise LabelsInvalid(
            f"{source}: no labelled images; give a folder of folders, or a CSV with path and label"
        )
    return list(found.values())


def categories_shown(
    files: Sequence[LabelledFile],
    categories: Collection[str],
    mapping: Mapping[str, str] | None = None,
    ignored: Set[str] = frozenset(),
) -> list[tuple[LabelledFile, frozenset[str]]]:
    """Return files with the categories that each shows; none of them: a safe image.

    Args:
        files: with labels as written.
        categories: those of the policies.
        mapping: from a label to a category, or to `safe`.
        ignored: labels that say nothing. A file with no other label is left out.

    Raises:
        LabelsInvalid: a label is no category, and neither mapped nor ignored; or a label is mapped to no category; or
            no file is left.
    """
    mapping = dict(mapping or {})
    for label, target in mapping.items():
        if target not in categories and target not in SAFE_LABELS:
            hint = did_you_mean(target, categories) or f"categories: {', '.join(sorted(categories))}"
            raise LabelsInvalid(f"--map {label}={target}: '{target}' is no category of the policy; {hint}")
    meanings = {name: frozenset({name}) for name in categories}
    meanings |= dict.fromkeys(SAFE_LABELS - set(categories), frozenset())
    meanings |= {
        label: frozenset() if target in SAFE_LABELS - set(categories) else frozenset({target})
        for label, target in mapping.items()
    }
    unknown = Counter(
        label for file in files for label in file.labels if label not in meanings and label not in ignored
    )
    if unknown:
        raise LabelsInvalid(_unknown(unknown, categories))
    shown = []
    for file in files:
        labels = file.labels - ignored
        if labels or not file.labels:
            shown.append((file, frozenset().union(*(meanings[label] for label in labels))))
    if not shown:
        raise LabelsInvalid("every image has only labels that --ignore names; ignore fewer")
    return shown


def _unknown(unknown: Counter[str], categories: Collection[str]) -> str:
    lines = []
    for label, count in unknown.most_common(_NAMED_MAX):
        hint = did_you_mean(label, categories)
        lines.append(f"'{printable(label)[:64]}' ({count} images){': ' + hint if hint else ''}")
    if len(unknown) > _NAMED_MAX:
        lines.append(f"and {len(unknown) - _NAMED_MAX} more")
    return (
        f"labels that are no category of the policy: {', '.join(lines)}; its categories are "
        f"{', '.join(sorted(categories))}; say --map LABEL=CATEGORY, --map LABEL=safe or --ignore LABEL"
    )


def _read_folders(source: Path) -> Iterable[LabelledFile]:
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for image in list_images(folder):
            yield LabelledFile(Path(image), frozenset({folder.name}))


def _read_csv(source: Path) -> Iterable[LabelledFile]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = list(reader.fieldnames or ())
            column = next((name for name in LABEL_COLUMNS if name in names), None)
            if column is None or "path" not in names:
                raise LabelsInvalid(
                    f"{source}: needs the columns path and label (or category), has {names[:20]}"
                )
            others = [name for name in names if name not in ("path", column)]
            for row in reader:
                if row["path"]:
                    path = Path(os.path.normpath(source.parent / row["path"]))
                    yield LabelledFile(path, _split(row[column]), {name: row[name] for name in others})
    except (OSError, ValueError, csv.Error) as error:
        raise LabelsInvalid(f"cannot read {source}: {error}; it should be a CSV file in UTF-8") from error


def _split(text: str) -> frozenset[str]:
    for separator in SEPARATORS:
        text = text.replace(separator, SEPARATORS[0])
    return frozenset(label for part in text.split(SEPARATORS[0]) if (label := part.strip()))
