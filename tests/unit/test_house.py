"""The rules that hold for every module: their length, one name for one thing, and constants that say what they are."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX = 300

#: What a name of a constant may not be alone: it says neither of what nor in which unit.
BARE_CONSTANTS = {
    *(
        "AFTER",
        "BEATS",
        "BLOCK",
        "BURST",
        "CHUNK",
        "DELAY",
        "GRACE",
        "GROUP",
        "LATE",
        "LEAST",
        "LIMIT",
        "LONGEST",
        "LOOK",
    ),
    *(
        "MOST",
        "PAGE",
        "PATIENCE",
        "PAUSE",
        "SECONDS",
        "SHORTEST",
        "SIZE",
        "SLOWEST",
        "STEP",
        "TIMEOUT",
        "TRIES",
        "WAIT",
    ),
}


def modules(root: Path, *folders: str) -> Iterator[tuple[str, str]]:
    """Path, relative to `root`, and text of each module."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text()


def long_modules(root: Path) -> set[str]:
    found = modules(root, "moderator", "workers", "benchmarks")
    return {path for path, text in found if len(text.splitlines()) > LINES_MAX}


def modules_of_one_name(root: Path) -> set[str]:
    """Commands have modules of their names (`cli/`); packages may have an `__init__` each."""
    paths = [
        path for path, _ in modules(root, "moderator", "workers") if not path.startswith("moderator/cli/")
    ]
    return sharing((Path(path).name, path) for path in paths if not path.endswith("/__init__.py"))


def classes_of_one_name(root: Path) -> set[str]:
    return sharing(
        (node.name, f"{path} {node.name}")
        for path, text in modules(root, "moderator", "workers")
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )


def bare_constants(root: Path) -> set[str]:
    return {
        f"{path} {name.id}"
        for path, text in modules(root, "moderator", "workers")
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and name.id.lstrip("_") in BARE_CONSTANTS
    }


def sharing(named: Iterable[tuple[str, str]]) -> set[str]:
    """Whatever has the name of something else."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for name, what in named:
        groups[name].add(what)
    return {what for group in groups.values() if len(group) > 1 for what in group}


def test_no_module_is_too_long() -> None:
    assert long_modules(ROOT) == set()


def test_no_two_modules_have_one_name() -> None:
    assert modules_of_one_name(ROOT) == set()


def test_no_two_classes_have_one_name() -> None:
    assert classes_of_one_name(ROOT) == set()


def test_constants_say_of_what_and_in_which_unit() -> None:
    assert bare_constants(ROOT) == set()


@pytest.fixture
def house(tmp_path: Path) -> Path:
    texts = {
        "moderator/__init__.py": "",
        "moderator/queue/__init__.py": "",
        "moderator/queue/keys.py": "class Key: ...\nclass _Own: ...\n",
        "moderator/cli/keys.py": "class _Own: ...\n",
        "workers/keys.py": "_PAUSE: float = 1.0\nclass Lease: ...\n" + "\n" * (LINES_MAX - 1),
        "workers/leases.py": "class Lease: ...\n" + "\n" * (LINES_MAX - 1),
        "benchmarks/leases.py": "class Lease: ...\n",
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_what_breaks_the_rules_is_found(house: Path) -> None:
    assert long_modules(house) == {"workers/keys.py"}
    assert modules_of_one_name(house) == {"moderator/queue/keys.py", "workers/keys.py"}
    assert classes_of_one_name(house) == {"workers/keys.py Lease", "workers/leases.py Lease"}
    assert bare_constants(house) == {"workers/keys.py _PAUSE"}
