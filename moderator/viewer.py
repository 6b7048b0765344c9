"""From a file to what looks at its pixels: the model's input, and the readings of signals."""

from collections.abc import Iterable, Mapping

from moderator.errors import ours
from moderator.images.pool import DecoderPool
from moderator.images.prepare import Picture, Recipe, prepare
from moderator.signals.base import Frame
from moderator.signals.reading import Outcome, Readings, Signals, Specification, by_side


class Viewer:
    """Decodes files, and has signals look at them. Thread-safe.

    Args:
        recipe: what is made of a file.
        pool: decodes in processes; without one, the calling thread does.
    """

    def __init__(self, recipe: Recipe, pool: DecoderPool | None) -> None:
        self._recipe = recipe
        self._pool = pool

    def close(self) -> None:
        """End the decoding processes."""
        if self._pool is not None:
            self._pool.close()

    def decode(self, data: bytes, enough: int = 0) -> Picture:
        """The model's input and, where they are wanted, views; see `moderator.images.prepare.prepare`.

        Raises:
            ImageError: it is no image, broken, beyond a limit, or brought its decoding process down.
        """
        if self._pool is None:
            return prepare(data, self._recipe, enough)
        return self._pool.prepare(data, enough)

    def read(
        self,
        signals: Signals,
        data: bytes,
        sides: Mapping[int, Iterable[Specification]],
        first: Picture | None = None,
    ) -> dict[str, Outcome]:
        """Read signals in views of the size that is enough for each, so that none depends on which others there are.

        Args:
            signals: all of the process.
            data: the file.
            sides: signals by the shorter side that is enough for them.
            first: the picture with the views for the first side, if it is there already.

        Raises:
            ImageError: as `decode`.
        """
        readings: dict[str, Outcome] = {}
        for side, specs in sides.items():
            picture, first = first or self.decode(data, side), None
            readings.update(signals.read(specs, [Frame(image=view) for view in picture.views]))
        return readings

    def look_on(self, signals: Signals, data: bytes, specs: Iterable[Specification]) -> Readings:
        """Read signals of shadows. Never raises: an error is what each of them says that it concerns."""
        readings: dict[str, Outcome] = {}
        for side, some in by_side(specs).items():
            try:
                readings.update(self.read(signals, data, {side: some}))
            except Exception as error:
                readings.update(dict.fromkeys((spec.key for spec in some), ours(error)))
        return readings
