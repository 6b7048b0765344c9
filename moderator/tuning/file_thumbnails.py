"""Small pictures of files, decoded where a hostile one does no harm."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from moderator.engine.engine import Engine
from moderator.fetching.fetcher import TrustedFetcher
from moderator.reports.thumbnails import THUMBNAIL_PIXELS, thumbnail


def file_thumbnails(engine: Engine, paths: Sequence[Path]) -> Iterator[bytes | None]:
    """Yield a small picture of each file, or None of one that cannot be read.

    Args:
        engine: decodes, in its processes if it has any.
        paths: of image files.
    """
    with closing(TrustedFetcher(engine.settings)) as fetcher:
        for path in paths:
            try:
                yield thumbnail(engine.preparer.picture(fetcher.fetch(path), THUMBNAIL_PIXELS))
            except Exception:  # a report is worth more than one of its pictures
                yield None
