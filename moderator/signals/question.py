"""What a second opinion is asked about an image. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Question:
    """Whether an image shows what a category does not allow, in the policy's words."""

    category: str
    unsafe: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    """What the category allows: its own list, without the shared one of the policy."""


def opinion_key(signal_key: str, questions: Sequence[Question]) -> str:
    """Return the identity of a reading: equal for signals and questions that give the same result for every image."""
    return f"{signal_key} asked {sha256(repr(tuple(questions)).encode()).hexdigest()[:16]}"
