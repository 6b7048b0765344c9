import pytest

from workers.backlog import Backlog


class Server:
    """Two queues and a clock; stands in for Redis and for the ledger."""

    def __init__(self) -> None:
        self.now = (1000, 500_000)
        self.queues: dict[str, list[bytes]] = {"moderation": [], "moderation.bulk": []}
        self.accepted: dict[bytes, float] = {}
        self.refused = {"moderation": 0, "moderation.bulk": 3}

    def time(self) -> tuple[int, int]:
        return self.now

    def llen(self, queue: str) -> int:
        return len(self.queues[queue])

    def lindex(self, queue: str, index: int) -> bytes | None:
        return self.queues[queue][index] if self.queues[queue] else None

    def oldest_accepted(self, queue: str) -> float | None:
        oldest = self.lindex(queue, -1)
        return None if oldest is None else self.accepted.get(oldest, 0.0)

    def refusals(self, queue: str) -> int:
        return self.refused[queue]

    def pending(self) -> int:
        return 5

    def pending_bytes(self) -> int:
        return 5000


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def backlog(server: Server) -> Backlog:
    return Backlog(server, server, ["dead", "dead"])


def test_nothing_waits(backlog: Backlog) -> None:
    state = backlog.read()
    assert state.depth == {"moderation": 0, "moderation.bulk": 0}
    assert state.oldest_age == {"moderation": 0, "moderation.bulk": 0}
    assert state.dead_letters == 2


def test_what_the_bound_is_held_against(backlog: Backlog) -> None:
    state = backlog.read()
    assert (state.pending, state.pending_bytes) == (5, 5000)
    assert state.refusals == {"moderation": 0, "moderation.bulk": 3}


def test_the_age_of_the_oldest_counts_from_its_acceptance(backlog: Backlog, server: Server) -> None:
    server.queues["moderation"] = [b"new", b"old"]
    server.accepted = {b"new": 1000.0, b"old": 990.0}
    state = backlog.read()
    assert state.depth["moderation"] == 2
    assert state.oldest_age == {"moderation": 10.5, "moderation.bulk": 0}


def test_a_message_past_the_ledger_ages_from_when_it_was_first_seen(backlog: Backlog, server: Server) -> None:
    server.queues["moderation.bulk"] = [b"raw"]
    assert backlog.read().oldest_age["moderation.bulk"] == 0
    server.now = (1007, 0)
    assert backlog.read().oldest_age["moderation.bulk"] == 6.5
    server.queues["moderation.bulk"] = [b"another"]
    assert backlog.read().oldest_age["moderation.bulk"] == 0


def test_a_clock_that_went_back_makes_no_negative_age(backlog: Backlog, server: Server) -> None:
    server.queues["moderation"] = [b"a"]
    server.accepted = {b"a": 2000.0}
    assert backlog.read().oldest_age["moderation"] == 0
