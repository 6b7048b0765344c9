"""Write drafts of policies: the next version of a policy, as text that keeps the comments of the version before it."""

import re
from pathlib import Path

from moderator.atomic import remove_leftovers
from moderator.errors import PolicyNotWritten
from moderator.policies.loader import parse_policy
from moderator.policies.policy_files import locked, replace_text
from moderator.policies.policy_text import edit_policy, policy_text
from moderator.policies.releases import read_releases
from moderator.policies.schema import Policy
from moderator.printable import printable

__all__ = ["edit_policy", "policy_text", "read_version", "write_draft"]

NOTE_CHARACTERS_MAX = 2_000
_NOTE_COLUMNS = 110
# A note is one paragraph: lines after its first are indented, so that the next draft can leave it out.
_NOTE = re.compile(r"\A# Note: .*\n(?:#   .*\n)*")


def write_draft(folder: Path, text: str | Policy, note: str) -> Path:
    """Write the next version of a policy as a draft, and return its path.

    The version in the text is replaced by the next one that is neither a file nor released. Comments stay; a note that
    an earlier draft left at the top does not.

    Args:
        folder: of policies; created if missing.
        text: content of a policy file, such as `edit_policy` returns, or a policy.
        note: what the draft is and where it comes from, for a comment at the top.

    Raises:
        PolicyInvalid: the text is not a valid policy.
        PolicyNotWritten: the folder is not writable, or another command holds it.
    """
    content = policy_text(text) if isinstance(text, Policy) else text
    name = parse_policy(content).name
    content = _note_lines(note) + _NOTE.sub("", content.removeprefix("\ufeff"))
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PolicyNotWritten(
            f"{folder / name} cannot be created ({error.strerror}); check the permissions and the disk"
        ) from error
    with locked(folder):
        remove_leftovers(folder / name)
        version = next_version(folder, name)
        path = folder / name / f"{version}.yaml"
        content = edit_policy(content, {("version",): version})
        parse_policy(content, str(path))
        replace_text(path, content)
    return path


def read_version(folder: Path, policy: Policy) -> str:
    """Return the text of a version's file, from which a draft can be made."""
    return (folder / policy.name / f"{policy.version}.yaml").read_text("utf-8-sig")


def next_version(folder: Path, name: str) -> int:
    """Return the number after the greatest that a file or a release of a policy has; 1 for a new policy.

    Raises:
        PolicyInvalid: `releases.lock` is not valid.
    """
    taken = {
        int(path.stem) for path in (folder / name).glob("*.yaml") if re.fullmatch("[0-9]{1,6}", path.stem)
    }
    return max(taken | {version for n, version in read_releases(folder) if n == name}, default=0) + 1


def _note_lines(note: str) -> str:
    """Return a note as a comment of one paragraph."""
    words = printable(" ".join(note.split()))[:NOTE_CHARACTERS_MAX].split()
    lines: list[str] = []
    line = "# Note:"
    for word in words:
        if len(line) + 1 + len(word) > _NOTE_COLUMNS and line not in ("# Note:", "#  "):
            lines.append(line)
            line = "#  "
        line += f" {word}"
    return "".join(f"{line}\n" for line in [*lines, line]) if words else ""
