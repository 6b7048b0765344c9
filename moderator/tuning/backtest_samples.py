"""Show images whose decision changes: the archive's facts, and a picture where it can still be fetched."""

from moderator.archive.archive_store import Archive
from moderator.engine.engine import Engine
from moderator.errors import ExtraMissing
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.reports.blocks import SheetItem
from moderator.reports.thumbnails import THUMBNAIL_PIXELS, thumbnail
from moderator.tuning.backtest import BacktestResult
from moderator.tuning.backtest_counts import Flip
from moderator.tuning.sample_pictures import fetch_judged
from moderator.verdicts import Verdict


def image_reference(verdict: Verdict) -> ImageReference | None:
    """Return where the image of a verdict is; None: the archive does not know. It keeps keys of buckets alone."""
    return (
        None
        if verdict.image_key is None
        else ImageReference(key=verdict.image_key, version=verdict.image_version)
    )


def sample_items(
    archive: Archive, engine: Engine, result: BacktestResult
) -> dict[tuple[str, str], list[SheetItem]]:
    """Return the samples of a back-test, by kind of flip. Images that are gone are shown by their facts alone."""
    ids = [flip.verdict_id for flips in result.counts.samples.values() for flip in flips]
    found = archive.get(ids)
    fetcher = Fetcher.from_settings(engine.settings)
    try:
        return {
            kind: [
                _item(engine, fetcher, flip, Verdict.model_validate_json(found[flip.verdict_id].body))
                for flip in flips
                if flip.verdict_id in found
            ]
            for kind, flips in result.counts.samples.items()
        }
    finally:
        fetcher.close()


def _item(engine: Engine, fetcher: Fetcher, flip: Flip, verdict: Verdict) -> SheetItem:
    before = verdict.categories.get(flip.category)
    scores = [
        *([] if before is None else [f"score then {before.score:.3f}"]),
        *([] if flip.score is None else [f"score now {flip.score:.3f}"]),
    ]
    size = (
        []
        if verdict.image is None
        else [f"{verdict.image.width} x {verdict.image.height} {verdict.image.format}"]
    )
    facts = [
        f"{flip.category}: {', '.join(scores)}" if scores else flip.category,
        f"{verdict.source}, {verdict.created_at:%Y-%m-%d %H:%M}",
        *size,
    ]
    return SheetItem(_picture(engine, fetcher, verdict), verdict.event_id, facts)


def _picture(engine: Engine, fetcher: Fetcher, verdict: Verdict) -> bytes | None:
    reference = image_reference(verdict)
    if reference is None or verdict.image is None:
        return None
    try:
        data = fetch_judged(fetcher, reference, verdict.image.sha256)
        return None if data is None else thumbnail(engine.preparer.picture(data, THUMBNAIL_PIXELS))
    except ExtraMissing:
        raise
    except Exception:  # a report is worth more than one of its pictures
        return None
