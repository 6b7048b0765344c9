"""How events and commands name a policy. Pure."""

import re

from moderator.errors import PolicyNotFound


def parse_reference(text: str) -> tuple[str, int | None]:
    """Parse `NAME` or `NAME@VERSION`; the version is None if the text has none.

    Raises:
        PolicyNotFound: the text is neither.
    """
    match = re.fullmatch(r"([a-z0-9]+(?:-[a-z0-9]+)*)(?:@([1-9][0-9]{0,5}))?", text)
    if not match:
        raise PolicyNotFound(
            f"'{text[:80]}' does not name a policy; write NAME or NAME@VERSION, such as marketplace@2"
        )
    return match[1], int(match[2]) if match[2] else None
