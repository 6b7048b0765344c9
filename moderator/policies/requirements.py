"""Check that this machine has what a policy needs: files and packages of its signals, and the right encoder."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from moderator.errors import EncoderForeign, ModelMismatch, ModeratorError
from moderator.identity import Identity
from moderator.policies.category_schema import Category
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


def require_encoder(policy: Policy, encoder: Identity) -> Mapping[str, Category]:
    """Return a policy's categories with the thresholds that apply on an encoder.

    Raises:
        EncoderForeign: the thresholds were measured on others.
    """
    categories = policy.categories_on(encoder)
    if categories is None:
        names = dict.fromkeys(str(scales.identity) for scales in policy.encoders)
        ours = str(encoder)
        if ours in names:
            ours += f", with the preprocessing '{encoder.preprocessing}'"
        raise EncoderForeign(
            f"the thresholds of {policy.reference} were measured on {', '.join(names)}, and the encoder is {ours}; set "
            f"MODERATOR_ENCODER to what they were measured on, or run 'moderator policy tune {policy.reference}' with "
            "this one"
        )
    return categories
