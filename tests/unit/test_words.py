"""Words that the project's English avoids: in docstrings, comments, help, messages and documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
AVOIDED = re.compile(
    r"\b(tells?|told|telling|mends?|mended|mending|anew|in hand|brings?|brought|bringing)\b"
    r"|who gives no password|for who looks at more",
    re.IGNORECASE,
)
FOLDERS = ("moderator", "workers", "benchmarks", "docs", "docker", "examples", ".ci")
DOCUMENTS = {".md", ".svg", ".lua", ".yml", ".yaml", ".json", ".sh", ".html", ".js", ".mjs", ""}


def python_text(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each comment and string; names are no text."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def avoided(source: str, is_python: bool) -> list[tuple[int, str]]:
    """Line and word of each use. References to tests and other names in backquotes do not count."""
    texts = python_text(source) if is_python else [(1, source)]
    return [
        (line + text.count("\n", 0, match.start()), match[0])
        for line, text in texts
        for match in AVOIDED.finditer(re.sub(r"`[^`\n]*`", lambda code: "`" * len(code[0]), text))
    ]


def test_no_text_uses_them() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
    files += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")]
    found = {}
    for file in files:
        if file.suffix in {".py", *DOCUMENTS} and "__pycache__" not in file.parts:
            try:
                text = file.read_text()
            except UnicodeDecodeError:  # no text
                continue
            if uses := avoided(text, file.suffix == ".py"):
                found[str(file.relative_to(ROOT))] = uses
    assert found == {}


def test_uses_are_found_in_text_and_not_in_code() -> None:
    source = '"""Says.\n\nTells."""\ntold = [x for x in hand if x]  # Anew\nprint(f"it is brought {told}")\n'
    assert sorted(avoided(source, True)) == [(3, "Tells"), (4, "Anew"), (5, "brought")]
    assert avoided("a\nb in hand `told`\n", False) == [(2, "in hand")]
