"""`moderator signals`, without a model."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from moderator.cli.main import app
from moderator.errors import SettingsError, SignalFailed
from moderator.plugins import Registry
from moderator.policies.loader import load_policy, parse_policy
from moderator.settings import load_settings
from moderator.signals.hash_file import find_hashes, look_like_pdq, parse_hashes
from moderator.signals.kinds.hash_list import HashList
from tests.support.tools import needs_extra

needs_extra("pdqhash", "hash")
KNOWN = HashList.examples()[0].frame.image
POLICY = "name: seen\nversion: 1\nsignals:\n{entry}\ncategories:\n  seen: {{signal: seen, review: 0.8, block: 1.0}}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODERATOR_POLICIES", "policies")
    monkeypatch.setenv("MODERATOR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "policies" / "seen").mkdir(parents=True)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["signals", *arguments])


def listed(path: str) -> list[str]:
    return [bytes(row).hex() for row in parse_hashes(Path(path).read_bytes())[0]]


def test_list_as_json_names_every_kind_and_file() -> None:
    rows = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert {"hash-list", "onnx-classifier", "probe", "text"} <= {row.get("kind") for row in rows}
    assert [row["fetched"] for row in rows if "fetch" in row] == [False]
    assert all(row["summary"] for row in rows if "kind" in row)
    extras = {row["kind"]: row["extra"] for row in rows if "kind" in row}
    assert (extras["detector"], extras["second-opinion"]) == ("vlm", "vlm")
    assert (extras["text"], extras["probe"]) == ("text", None)


def test_list_names_the_extras() -> None:
    output = run("list").output
    assert output.count("pip install 'moderator[vlm]'") == 2
    assert "second-opinion" in output


def test_hashing_makes_a_list_and_the_entry_of_a_policy(tmp_path: Path) -> None:
    assert KNOWN is not None
    (tmp_path / "uploads").mkdir()
    KNOWN.save("uploads/a.png")
    KNOWN.save("uploads/b.png")
    Image.new("RGB", (64, 64), "red").save("uploads/plain.png")
    result = run("hash", "uploads", "-o", "policies/lists/seen.pdq")
    assert result.exit_code == 0, result.output
    assert "left out, its quality" in result.stderr
    assert len(listed("policies/lists/seen.pdq")) == 1
    (tmp_path / "policies" / "seen" / "1.yaml").write_text(POLICY.format(entry=result.stdout.rstrip()))
    assert load_policy(tmp_path / "policies" / "seen" / "1.yaml").signals[0].file == "lists/seen.pdq"


def test_a_list_that_a_released_policy_reads_does_not_change(tmp_path: Path) -> None:
    assert KNOWN is not None
    KNOWN.save("a.png")
    entry = run("hash", "a.png", "-o", "policies/lists/seen.pdq").stdout.rstrip()
    (tmp_path / "policies" / "seen" / "1.yaml").write_text(POLICY.format(entry=entry))
    before = Path("policies/lists/seen.pdq").read_bytes()
    digest = parse_policy(POLICY.format(entry=entry)).digest
    (tmp_path / "policies" / "releases.lock").write_text(f"seen@1 {digest}\n")
    result = run("hash", "a.png", "-o", "policies/lists/seen.pdq")
    assert isinstance(result.exception, SettingsError)
    assert "seen@1" in str(result.exception)
    assert Path("policies/lists/seen.pdq").read_bytes() == before


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_hashed() -> None:
    assert KNOWN is not None
    KNOWN.save("a.png")
    Path("b.png").write_bytes(b"no image")
    result = run("hash", "b.png", "a.png", "-o", "seen.pdq")
    assert result.exit_code == 1
    assert "b.png" in result.stderr
    assert len(listed("seen.pdq")) == 1
    assert "policies find it there" in result.stderr


def test_import_joins_files_without_doubles() -> None:
    one, two = "0f" * 32, "f0" * 32
    Path("a.csv").write_text(f"sha256,pdq\n{'a' * 64},{one.upper()}\n{'b' * 64},\n")
    Path("old.pdq").write_text(f"# old\n{two}  # picture\n{one}\n")
    assert isinstance(run("import", "a.csv", "-o", "new.pdq").exception, SignalFailed)
    assert run("import", "a.csv", "--column", "pdq", "-o", "new.pdq").exit_code == 0
    assert run("import", "old.pdq", "-o", "new.pdq").exit_code == 0
    assert listed("new.pdq") == [one, two]


def test_digests_of_another_kind_are_noticed() -> None:
    half = [f"{(1 << 128) - 1 << n:064x}" for n in range(40)]
    assert look_like_pdq(half)
    random = np.random.default_rng(0)
    assert not look_like_pdq([random.bytes(32).hex() for _ in range(40)])


@pytest.mark.parametrize("content", ["", "no hash", "a" * 63, "a" * 65])
def test_a_file_without_hashes_is_refused(content: str) -> None:
    with pytest.raises(SignalFailed, match="64 hexadecimal digits"):
        find_hashes(content.encode())


def test_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(SignalFailed, match="there are: a, b"):
        find_hashes(b"a,b\n1,2\n", "c")


def test_check_ends_with_1_where_a_kind_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "names", ("hash-list", "probe"))
    assert run("check").exit_code == 0
    monkeypatch.setattr(HashList, "read", lambda _, __: 1 / 0)
    result = run("check", "--json")
    assert result.exit_code == 1
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert "ZeroDivisionError" in first["error"]
    assert second == {"signal": "probe", "error": None}


OPINION = """\
name: watched
version: 1
safe: [a cup, a chair, a lamp]
signals:
{entry}
categories:
  weapons: {{unsafe: [a gun, a rifle], review: 0.4, block: 0.8}}
  guard: {{signal: guard, review: 0.5, block: 0.9}}
"""


def test_pinning_a_model_makes_the_entry_of_a_policy(tmp_path: Path) -> None:
    from tests.support.vlm_models import save_qwen

    folder = save_qwen(tmp_path / "policies" / "models" / "qwen")
    (folder / "SHA256SUMS").unlink()
    result = run("pin", "policies/models/qwen")
    assert result.exit_code == 0, result.output
    assert "file: models/qwen/SHA256SUMS, sha256: " in result.stdout
    (tmp_path / "policies" / "watched").mkdir()
    file = tmp_path / "policies" / "watched" / "1.yaml"
    file.write_text(OPINION.format(entry=result.stdout))
    assert load_policy(file).signals[0].options == {"share": 0.1}


def test_a_model_that_a_released_policy_pins_is_not_pinned_again(tmp_path: Path) -> None:
    from tests.support.policies import release
    from tests.support.vlm_models import save_qwen

    folder = save_qwen(tmp_path / "policies" / "models" / "qwen")
    (tmp_path / "policies" / "watched").mkdir()
    entry = run("pin", "policies/models/qwen").stdout
    (tmp_path / "policies" / "watched" / "1.yaml").write_text(OPINION.format(entry=entry))
    release(tmp_path / "policies", "watched", 1)
    assert run("pin", "policies/models/qwen").stdout == entry
    before = (folder / "SHA256SUMS").read_bytes()
    (folder / "README.md").write_text("more")
    result = run("pin", "policies/models/qwen")
    assert isinstance(result.exception, SettingsError)
    assert "watched@1" in str(result.exception)
    assert (folder / "SHA256SUMS").read_bytes() == before


def test_without_the_extra_lint_and_release_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.vlm_models import save_qwen

    save_qwen(tmp_path / "policies" / "models" / "qwen")
    entries = [
        run("pin", "policies/models/qwen").stdout,
        run("pin", "policies/models/qwen", "--kind", "detector").stdout,
    ]
    (tmp_path / "policies" / "watched").mkdir()
    file = tmp_path / "policies" / "watched" / "1.yaml"
    file.write_text(OPINION.format(entry="".join(entries)) + "  things: {signal: things, review: 0.2}\n")
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    for words in (["lint"], ["release", "watched@1"]):
        result = CliRunner().invoke(app, ["policy", *words])
        assert result.exit_code == 1, result.output
        assert result.output.count("pip install 'moderator[vlm]'") == 2
    assert not (tmp_path / "policies" / "releases.lock").exists()
    assert run("check").exit_code == 1


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("pin", "empty")
    assert isinstance(result.exception, SignalFailed)
    assert not list((tmp_path / "empty").iterdir())
