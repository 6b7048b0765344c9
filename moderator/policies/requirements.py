"""Check that this machine has what the signals of a policy need: files, packages, the right model."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from moderator.errors import ModelMismatch, ModeratorError
from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.signals.evaluator import make
from moderator.signals.signal import EXAMPLE_ENCODER, Context
from moderator.signals.signal_files import read_pinned

#: Identity and dimension of an encoder.
EncoderFacts = tuple[Identity, int]


def unmet(
    policy: Policy, folders: Iterable[Path], encoder: Callable[[], EncoderFacts | None] = lambda: None
) -> Iterator[tuple[int, ModeratorError]]:
    """Make each signal of a policy; yield the positions of those that cannot be made, and why.

    Args:
        policy: valid.
        folders: where files of signals are looked for.
        encoder: asked only where a signal is made for an encoder, since one takes long to load. None: that is not
            compared.
    """
    folders = tuple(folders)
    for n, spec in enumerate(policy.signals):
        try:
            content = None
            if spec.file is not None and spec.sha256 is not None:
                content = read_pinned(folders, spec.file, spec.sha256)
            try:
                make(spec.kind, spec.options, Context(content, EXAMPLE_ENCODER, 4))
            except ModelMismatch:
                facts = encoder()
                if facts is not None:
                    make(spec.kind, spec.options, Context(content, *facts))
        except ModeratorError as error:
            yield n, error
