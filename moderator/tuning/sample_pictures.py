"""Small pictures of images that verdicts name, where the image is still there."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from hashlib import file_digest, sha256
from pathlib import Path

from moderator.engine.engine import Engine
from moderator.errors import ModeratorError
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.reports.thumbnails import THUMBNAIL_PIXELS, thumbnail
from moderator.tuning.rollout import Disagreement

#: Files of the folder that are looked at for the images of samples.
FILES_SEARCHED_MAX = 100_000


def sample_pictures(
    engine: Engine, samples: Sequence[Disagreement], folder: Path | None
) -> Iterator[tuple[Disagreement, bytes]]:
    """Yield samples with a small picture, those whose image is found: an object by its key, else a file of the folder.

    An image counts only if its SHA-256 is that of the verdict: what has been overwritten since is another.

    Args:
        engine: decodes, in its processes if it has any.
        samples: to look for.
        folder: with images under any names; None: only objects are looked for.
    """
    wanted = {one.image_sha256 for one in samples if one.image_sha256 is not None}
    files = {} if folder is None else find_by_digest(folder, wanted)
    with closing(Fetcher.from_settings(engine.settings)) as fetcher:
        for one in samples:
            try:
                data = _read(one, files, fetcher)
                if data is not None:
                    yield one, thumbnail(engine.preparer.picture(data, THUMBNAIL_PIXELS))
            except (ModeratorError, OSError):  # a report is worth more than one of its pictures
                continue


def find_by_digest(folder: Path, wanted: Iterable[str]) -> dict[str, Path]:
    """Return the files in a folder and below it that have these SHA-256 digests (hexadecimal).

    Looks at `FILES_SEARCHED_MAX` files at most, and ends once all are found.
    """
    left, found = set(wanted), dict[str, Path]()
    for number, path in enumerate(folder.rglob("*")):
        if not left or number >= FILES_SEARCHED_MAX:
            break
        if not path.is_file():
            continue
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if digest in left:
            left.discard(digest)
            found[digest] = path
    return found


def fetch_judged(fetcher: Fetcher, reference: ImageReference, digest: str | None) -> bytes | None:
    """Return the bytes of an image; None: they are not those with that SHA-256, which were judged.

    Raises:
        ImageError: it cannot be fetched.
    """
    data = fetcher.fetch(reference)
    return data if sha256(data).hexdigest() == digest else None


def _read(one: Disagreement, files: dict[str, Path], fetcher: Fetcher) -> bytes | None:
    if one.image_sha256 in files:
        return files[one.image_sha256].read_bytes()
    if one.image_key is None:
        return None
    return fetch_judged(
        fetcher, ImageReference(key=one.image_key, version=one.image_version), one.image_sha256
    )
