"""The format of a signal's entry in a policy file, as pure immutable data. No I/O, no YAML."""

import json
import re
from functools import cached_property
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, JsonValue, StringConstraints, model_validator

from moderator.policies.fields import MAX_FILE_NAME, Frozen, Slug, policy_error, refuse


def _inside(name: str) -> str:
    parts = re.split(r"[/\\]", name)
    if "" in parts or ".." in parts or "." in parts or ":" in name:
        raise policy_error(
            f"'{name[:40]}' is not a path below the folder of policies; write for example 'lists/bad.pdq'"
        )
    return name


class SignalEntry(Frozen):
    """A signal: its name in this policy, its kind, the file it reads, and the options of its kind.

    `sha256` pins the content of the file, so that the policy's digest covers it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    name: Slug
    """Its name in this policy."""
    kind: Slug
    """What it does; `moderator signals list` shows the kinds and the options of each."""
    file: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_FILE_NAME), AfterValidator(_inside)]
        | None
    ) = None
    """The file that it reads, below the folder of policies or the folder `signals` of the cache."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of the file's content, so that the policy's digest covers it. Needed with `file`."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.file is not None and self.sha256 is None:
            message = "is missing: it pins the content of the file; write what `sha256sum` says of it"
            refuse([(("sha256",), message, None)])
        if self.file is None and self.sha256 is not None:
            refuse([(("sha256",), "pins no file; add 'file: NAME' or remove it", self.sha256)])
        return self

    @property
    def options(self) -> dict[str, JsonValue]:
        """Return the options of the kind: all other keys."""
        return dict(self.__pydantic_extra__)

    @cached_property
    def key(self) -> str:
        """Identity of the signal: equal for signals that give the same result for every image, whatever their names."""
        content = [self.kind, self.sha256, self.options]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
