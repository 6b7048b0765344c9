"""Wait until the workers have a change of a policy, and say which of them do."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderator.cli.output import console, errors, plain
from moderator.errors import ModeratorError
from moderator.policies.pointer_schema import Pointer
from moderator.settings import load_settings

if TYPE_CHECKING:
    from moderator.queue.announcements import Announcements, HeldByWorker

#: Seconds that a command waits for the workers by itself. They look for changes every 2 seconds.
WAIT_SECONDS = 10.0
#: Seconds in which a Redis has to answer before the command goes on without it.
ANSWER_SECONDS = 1.0
POLL_SECONDS = 0.2

WaitOption = Annotated[
    float | None,
    typer.Option(
        "--wait",
        min=0,
        metavar="SECONDS",
        help="Wait for as long until all workers have the change; end with 1 if not all do. "
        "Default: 10 where a Redis answers, and no worker changes how this ends.",
    ),
]


@dataclass(frozen=True)
class WorkersState:
    """Which live workers have a change."""

    have: tuple[str, ...] = ()
    lack: dict[str, str] = field(default_factory=dict)
    """The other workers, each with the reason."""
    unknown: str = ""
    """Why it is not known, if it is not."""

    @property
    def complete(self) -> bool:
        """Whether all live workers have it, at least one."""
        return bool(self.have) and not self.lack

    def facts(self) -> dict[str, Any] | None:
        """Return the JSON form."""
        if self.unknown:
            return None
        return {"have": len(self.have), "of": len(self.have) + len(self.lack), "lack": self.lack}


def wait_for_workers(name: str, pointer: Pointer, seconds: float | None) -> WorkersState:
    """Wait until all live workers judge by a policy's pointer, or say why they cannot, or the time is up.

    Args:
        name: of the policy.
        pointer: its new one.
        seconds: None: `WAIT_SECONDS`.
    """
    if seconds == 0:
        return WorkersState(unknown="nobody was asked")
    from redis.exceptions import RedisError  # `policy list` needs no Redis

    deadline = time.monotonic() + (WAIT_SECONDS if seconds is None else seconds)
    try:
        with _announcements() as announcements, errors.status("waiting for the workers"):
            while True:
                workers = announcements.held()
                if not workers and announcements.knows(name):
                    return WorkersState(unknown="the workers are of a version that does not announce it")
                state, settled = _state_of(workers, name, pointer)
                if settled or time.monotonic() >= deadline:
                    return state
                time.sleep(POLL_SECONDS)
    except (ModeratorError, RedisError, OSError) as error:
        return WorkersState(unknown=f"{error}; see MODERATOR_REDIS_URL")


def print_workers(state: WorkersState) -> None:
    """Print how many workers have a change, and what the others say."""
    total = len(state.have) + len(state.lack)
    if state.unknown:
        line = f"which workers have it is not known: {state.unknown}"
        errors.print(plain(line), soft_wrap=True, highlight=False)
    elif not total:
        console.print("no worker is running; those that start have it", highlight=False)
    else:
        noun = "worker has" if total == 1 else "workers have"
        console.print(f"{len(state.have)} of {total} {noun} it", highlight=False)
        for worker, reason in state.lack.items():
            errors.print(plain(f"{worker}: {reason}"), style="yellow", soft_wrap=True, highlight=False)


@contextmanager
def _announcements() -> "Iterator[Announcements]":
    from moderator.queue.announcements import Announcements
    from moderator.queue.connection import SentinelLogin, connect
    from moderator.queue.executors import RedisExecutor

    settings = load_settings()
    redis = connect(settings.redis_url, call=ANSWER_SECONDS, sentinels=SentinelLogin.of(settings))
    with closing(redis):
        yield Announcements(RedisExecutor(redis))


def _state_of(workers: "Sequence[HeldByWorker]", name: str, pointer: Pointer) -> tuple[WorkersState, bool]:
    """Return which workers have a pointer, and whether waiting changes nothing any more."""
    have: list[str] = []
    lack: dict[str, str] = {}
    settled = True
    for one in workers:
        held = one.policies.get(name)
        if held is not None and held.has(pointer):
            have.append(one.worker)
        elif held is not None and held.failed(pointer):
            lack[one.worker] = held.problem
        else:
            settled = False
            version = f"version {held.pointer.active}" if held and held.pointer else "no version"
            lack[one.worker] = f"still has {version}; does it read the same folder of policies?"
    return WorkersState(tuple(have), lack), settled
