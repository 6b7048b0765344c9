"""Read the list of released versions and their digests: `policies/releases.lock`.

One line `name@version sha256` per release, sorted, so that git can merge parallel releases. Lines that start
with `#` are comments.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from moderator.errors import PolicyChanged, PolicyInvalid
from moderator.policies.loader import Problem, read_file
from moderator.policies.schema import Policy

LOCK_FILE = "releases.lock"
HEADER = "# Released policy versions never change. Written by `moderator policy release`.\n"

#: (policy name, version) -> digest
Releases = Mapping[tuple[str, int], str]

_LINE = re.compile(r"(?P<name>[a-z0-9-]{1,64})@(?P<version>[1-9][0-9]{0,5}) +(?P<digest>[0-9a-f]{64})")


def read_releases(folder: Path) -> Releases:
    """Read the lock file of a policy folder; without one, nothing is released.

    Raises:
        PolicyInvalid: lines are malformed, or give one release two digests; the message lists every such line.
    """
    path = folder / LOCK_FILE
    return parse_releases(read_file(path, missing=b""), str(path))


def parse_releases(content: bytes, file: str = LOCK_FILE) -> Releases:
    """Parse the content of a lock file; errors refer to it as `file`.

    Raises:
        PolicyInvalid: as `read_releases`.
    """
    releases: dict[tuple[str, int], str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if not match:
            message = f"'{text[:40]}' is not 'name@version sha256'; restore the line from git"
            if text.startswith(("<<<<<<<", "=======", ">>>>>>>")):
                message = "is left from a merge; keep the releases of both sides and remove this line"
            problems.append(Problem(file, number, "", message))
            continue
        release = match["name"], int(match["version"])
        if releases.setdefault(release, match["digest"]) != match["digest"]:
            message = (
                "has two digests, so two people released different texts as this version; "
                "keep the line of the text that went live and give the other text the next version"
            )
            problems.append(Problem(file, number, f"{release[0]}@{release[1]}", message))
    if problems:
        raise PolicyInvalid(*problems)
    return releases


def verify(policy: Policy, releases: Releases) -> bool:
    """Return whether a version is released.

    Raises:
        PolicyChanged: the version is released with another digest.
    """
    digest = releases.get((policy.name, policy.version))
    if digest is None:
        return False
    if digest != policy.digest:
        raise PolicyChanged(
            f"{policy.reference} was edited after its release: its digest is {policy.digest[:12]}, "
            f"{LOCK_FILE} has {digest[:12]}. A released version never changes: copy the file to the next "
            f"free version, set 'version:' in it, and restore {policy.version}.yaml (git restore)"
        )
    return True


def releases_text(releases: Releases) -> str:
    """Return the content of a lock file with these releases."""
    return HEADER + "".join(
        f"{name}@{version} {digest}\n" for (name, version), digest in sorted(releases.items())
    )
