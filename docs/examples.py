"""Puts the programs in `examples/` into the pages that show them."""

import re
from pathlib import Path

#: A line that ends in a link to an example and a colon, and the block of code after it.
_SHOWN = re.compile(r"(\[`(?P<file>examples/[^`]+)`\]\([^)]+\):\n\n```\w+\n)(?P<code>.*?)(```\n)", re.DOTALL)


def with_examples(page: str, root: Path) -> str:
    """Return a page whose blocks of code are the programs that it links to."""
    return _SHOWN.sub(lambda shown: shown[1] + (root / shown["file"]).read_text() + shown[4], page)


def examples_in(page: str) -> set[str]:
    """Return the programs that a page shows."""
    return {shown["file"] for shown in _SHOWN.finditer(page)}
