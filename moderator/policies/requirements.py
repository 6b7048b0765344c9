"""Check that this machine has what a policy's signals need: files, packages, the right model."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from moderator.errors import ModelMismatch, ModeratorError
from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.signals.signal import EXAMPLE_ENCODER, Context
from moderator.signals.signal_calls import make

#: Identity and dimension of an encoder.
EncoderFacts = tuple[Identity, int]


def unmet(
    policy: Policy, folders: Iterable[Path], encoder: Callable[[], EncoderFacts | None] = lambda: None
) -> Iterator[tuple[int, ModeratorError]]:
    """Create each signal of a policy; yield the positions of those that cannot be created, and why.

    Args:
        policy: a valid one.
        folders: searched for signal files.
        encoder: called only if a signal was made for an encoder, because loading one takes long. If it returns None,
            encoders are not compared.
    """
    folders = tuple(folders)
    for n, spec in enumerate(policy.signals):
        try:
            try:
                make(spec, folders, Context(None, EXAMPLE_ENCODER, 4))
            except ModelMismatch:
                facts = encoder()
                if facts is not None:
                    make(spec, folders, Context(None, *facts))
        except ModeratorError as error:
            yield n, error
