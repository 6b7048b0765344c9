"""The latest write of each object that stores reported: reports come late, twice and in any order. Pure."""

from moderator.queue import keys
from moderator.queue.commands import Command

#: Seconds for which the latest write of an object is remembered: longer than stores repeat a report.
WRITE_REMEMBERED_SECONDS = 14 * 86400


def note_write(name: str, order: str) -> Command[bool]:
    """Note a write of an object; answers whether it is the latest that was noted.

    Args:
        name: of the object.
        order: compares with that of other writes of the object, character by character; greater is later.
    """
    # In hex, as Redis compares texts by the rules of its machine's language.
    args = [order.encode(errors="surrogatepass").hex(), WRITE_REMEMBERED_SECONDS]
    return Command("note_write", [keys.OBJECT_PREFIX + name], args, bool)
