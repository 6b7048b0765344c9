from pathlib import Path

import pytest

from moderator.errors import LabelsInvalid
from moderator.tuning.label_file import LabelledFile, categories_shown, read_label_file


def write(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_text(text)
    return file


def test_rows_have_labels_and_other_columns(tmp_path: Path) -> None:
    file = write(tmp_path, "path,category,source\na.jpg,guns;beer,shop\nsub/b.jpg,,\nc.jpg,safe|beer\n")
    a, b, c = read_label_file(file)
    assert a == LabelledFile(tmp_path / "a.jpg", frozenset({"guns", "beer"}), {"source": "shop"})
    assert (b.path, b.labels) == (tmp_path / "sub/b.jpg", frozenset())
    assert (c.labels, c.columns) == (frozenset({"safe", "beer"}), {"source": ""})
    assert read_label_file(tmp_path) == [a, b, c]


def test_a_file_of_several_rows_has_the_labels_of_all(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label,n\na.jpg,guns,1\n./a.jpg,beer,2\n")
    assert read_label_file(file) == [
        LabelledFile(tmp_path / "a.jpg", frozenset({"guns", "beer"}), {"n": "1"})
    ]


def test_folders_are_labels(tmp_path: Path) -> None:
    for name in ("safe/a.jpg", "guns/b.png", "guns/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_label_file(tmp_path) == [
        LabelledFile(tmp_path / "guns/b.png", frozenset({"guns"})),
        LabelledFile(tmp_path / "safe/a.jpg", frozenset({"safe"})),
    ]


@pytest.mark.parametrize(
    "text", ["path,kind\na.jpg,x\n", "", "path,label\n", 'path,label\n"a\n' + "x" * 200_000]
)
def test_a_file_without_labels_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelsInvalid):
        read_label_file(write(tmp_path, text))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("path,label\nä.jpg,guns\n".encode("latin-1"))
    with pytest.raises(LabelsInvalid, match="UTF-8"):
        read_label_file(tmp_path)


def files(*labels: str) -> list[LabelledFile]:
    return [
        LabelledFile(Path(f"{n}.jpg"), frozenset(filter(None, one.split(";"))))
        for n, one in enumerate(labels)
    ]


def test_safe_labels_show_nothing() -> None:
    shown = categories_shown(files("guns", "safe", "none", "", "guns;safe"), {"guns"})
    assert [set(names) for _, names in shown] == [{"guns"}, set(), set(), set(), {"guns"}]


def test_unknown_labels_are_listed_with_what_was_meant() -> None:
    with pytest.raises(LabelsInvalid) as error:
        categories_shown(files("gunss", "gunss", "cars", "guns"), {"guns", "beer"})
    assert "'gunss' (2 images): did you mean 'guns'?" in str(error.value)
    assert "'cars' (1 images)" in str(error.value)
    assert "beer, guns" in str(error.value)


def test_labels_are_mapped_and_ignored() -> None:
    shown = categories_shown(
        files("rifle", "car", "dog", "rifle;dog"), {"guns"}, {"rifle": "guns", "car": "safe"}, {"dog"}
    )
    assert [(file.path.name, set(names)) for file, names in shown] == [
        ("0.jpg", {"guns"}),
        ("1.jpg", set()),
        ("3.jpg", {"guns"}),
    ]


def test_a_mapping_to_no_category_is_refused() -> None:
    with pytest.raises(LabelsInvalid, match="did you mean 'guns'"):
        categories_shown(files("rifle"), {"guns"}, {"rifle": "gun"})


def test_all_ignored_is_refused() -> None:
    with pytest.raises(LabelsInvalid, match="--ignore"):
        categories_shown(files("dog"), {"guns"}, ignored={"dog"})
