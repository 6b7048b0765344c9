"""What signals with a large model share: their extra, their file, and how they are checked without the model."""

from collections.abc import Sequence
from typing import ClassVar

from moderator.errors import SignalFailed
from moderator.signals.signal import Example


class ModelSignal:
    """Base of the signals whose file is the list of digests of a model's folder."""

    extra: ClassVar[str] = "vlm"
    needs_file: ClassVar[bool | None] = True
    uses_pixels: ClassVar[bool] = True
    slow: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return nothing: an example would need the model. Checks the packages.

        Raises:
            SignalFailed: a package is missing.
        """
        require_packages()
        return ()


def require_packages() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        SignalFailed: one is missing; the message names the remedy.
    """
    try:
        import jinja2  # noqa: F401
        import scipy.ndimage  # noqa: F401
    except ImportError as error:
        raise SignalFailed(
            f"second opinions and detectors need {error.name}; run: pip install 'moderator[vlm]'"
        ) from error
