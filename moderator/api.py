"""The facade: images in, verdicts out. No queue, no server.

    from moderator import Moderator

    for verdict in Moderator().check(["cat.jpg", "coffee.jpg"], policy="marketplace"):
        print(verdict.decision, verdict.unsafe_score)

`DirectPipeline` has the steps.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from moderator.encoders.encoder import Encoder
from moderator.engine.direct_pipeline import DirectPipeline
from moderator.engine.engine import Engine
from moderator.engine.resolver import PolicyResolver
from moderator.events import Event, ImageReference
from moderator.fetching.fetcher import TrustedFetcher
from moderator.settings import Settings, load_settings
from moderator.verdicts import Verdict

#: Source named in the verdicts of `check`.
CHECK_SOURCE = "check"


class Moderator:
    """Judges images, without a queue. Draft policies may be tried here, because nothing is decided.

    Args:
        settings: default: those of the environment.
        encoder: default: the one that the settings name.
        processes: number of confined processes that decode; `close` ends them. 0: decode in threads.

    Raises:
        EncoderUnknown, RuntimeMissing, WeightsInvalid, SettingsError: the encoder cannot be loaded.
        PolicyError: no policy can be used.
        DecoderUnavailable: the decoding processes do not start.
    """

    def __init__(
        self, settings: Settings | None = None, *, encoder: Encoder | None = None, processes: int = 0
    ) -> None:
        self.settings = settings or load_settings()
        resolver = PolicyResolver.from_settings(self.settings, drafts=True)
        self.engine = Engine(self.settings, encoder=encoder, resolver=resolver, processes=processes)
        # Images given to `check` are named by the caller: any file may be read.
        self._images = TrustedFetcher(self.settings)

    def close(self) -> None:
        """End the decoding processes and the connections."""
        self.engine.close()
        self._images.close()

    def check(self, images: Iterable[str | Path | bytes], policy: str | None = None) -> list[Verdict]:
        """Judge images by a policy.

        Args:
            images: paths, http(s) URLs, or the bytes of image files.
            policy: `NAME` (its active version) or `NAME@VERSION`; default: `MODERATOR_DEFAULT_POLICY`.

        Returns one verdict per image, in order. An image that cannot be judged gets the decision `error`.

        Raises:
            PolicyNotFound: there is no such policy.
        """
        return list(self.check_each(images, policy))

    def check_each(
        self, images: Iterable[str | Path | bytes], policy: str | None = None
    ) -> Iterator[Verdict]:
        """Judge images as `check` does, one by one: decoding runs ahead of the model, and memory stays bounded."""
        reference = policy or self.settings.default_policy
        self.engine.resolver.select(reference, "")  # a wrong name fails before any work
        yield from DirectPipeline(self.engine).judge_each(
            (_check_event(image, reference), partial(self._read, image)) for image in images
        )

    def _read(self, image: str | Path | bytes) -> bytes:
        return image if isinstance(image, bytes) else self._images.fetch(image)


def _check_event(image: str | Path | bytes, policy: str) -> Event:
    """Make an event for an image that bypasses the queue, named after its path to distinguish verdicts."""
    # A file name need not be UTF-8; a verdict must be.
    name = "inline" if isinstance(image, bytes) else str(image).encode("utf-8", "replace").decode()
    # Constructed unchecked: a path may be longer than an event id, and this event never reaches Redis.
    reference = ImageReference.model_construct(path=name)
    return Event.model_construct(id=name, source=CHECK_SOURCE, policy=policy, image=reference, metadata={})
