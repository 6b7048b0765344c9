"""The list of benchmarks is whole."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
#: Run by other benchmarks.
HELPERS = {"archive_kills.py", "compare_inside.py", "gateway_bare.py", "producer.py"}


def test_each_benchmark_is_listed() -> None:
    programs = {
        path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")
    }
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    listed = {name for name in programs if f"| `python benchmarks/{name}" in page}
    assert programs - listed == HELPERS
