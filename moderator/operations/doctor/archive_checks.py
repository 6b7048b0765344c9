"""Check the archive: that it can be reached, is of this version, and has all of its segments."""

from collections.abc import Iterator
from importlib.util import find_spec

from moderator.errors import ModeratorError
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.settings import Settings

#: Rows of embeddings in a database without a folder for segments: above this, back-tests are slow.
WAITING_FRAMES_WARNING = 1_000_000


def examine_archive(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the archive, if the settings name one."""
    if settings.archive_url is None:
        yield ok("archive", "there is no archive (MODERATOR_ARCHIVE_URL)")
        return
    if find_spec("sqlalchemy") is None:
        yield problem(
            "archive",
            "MODERATOR_ARCHIVE_URL is set and what writes the archive is not installed here",
            "pip install 'moderator[archive]'",
        )
        return
    from moderator.archive.archive_state import read_state
    from moderator.archive.archive_store import open_archive

    try:
        state = read_state(open_archive(settings))
    except ModeratorError as error:
        yield problem("archive", str(error), "correct that; until then verdicts wait in the outbox")
        return
    if state.missing_segments:
        message = (
            f"{len(state.missing_segments)} segments of the archive have no file: {state.missing_segments[0]}"
        )
        remedy = "restore them from a backup, or set MODERATOR_ARCHIVE_SEGMENTS to their folder"
        yield problem("archive", message, remedy)
    elif state.waiting_frames > WAITING_FRAMES_WARNING:
        message = f"{state.waiting_frames} embeddings are in the database of the archive, not in segments"
        yield warning(
            "archive", message, "set MODERATOR_ARCHIVE_SEGMENTS to a folder, so that they move there"
        )
    else:
        yield ok("archive", f"the archive holds {state.verdicts} verdicts")
