"""Promises of `docs/guarantees.md`, each broken on purpose: does the proof that the page names see it?

A mutant is one exact change of one file, made in a copy of the project. Where the text to replace is not there exactly
once, the code has moved on, and the mutant has to follow it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What the proofs need of the project.
COPIED = (
    "moderator",
    "workers",
    "policies",
    "tests",
    "docs",
    "benchmarks",
    "docker",
    "pyproject.toml",
    "README.md",
)
#: Seconds that a proof may take, on a busy machine.
TIMEOUT = 60

LEDGER = "integration/test_ledger.py"
LEASES = "integration/test_leases.py"
REPLAY = "integration/test_replay.py"
READERS = "integration/test_readers.py"
OUTBOX = "integration/test_outbox.py"
SHUTDOWN = "unit/workers/test_shutdown.py"
LUA = "moderator/queue/lua"


class MutantStale(Exception):
    """The text to replace does not stand in its file exactly once."""


@dataclass(frozen=True)
class Mutant:
    """What is broken, as the page says it; where; and the proof that must fail."""

    broken: str
    file: str
    text: str
    replacement: str
    proof: str

    def apply(self, root: Path) -> None:
        """Write it into a copy of the project.

        Raises:
            MutantStale: the code has moved on.
        """
        file = root / self.file
        source = file.read_text()
        if source.count(self.text) != 1:
            raise MutantStale(
                f"{self.file} has {source.count(self.text)} times {self.text!r}; let the mutant "
                f"({self.broken}) break what stands there now"
            )
        file.write_text(source.replace(self.text, self.replacement))

    def revert(self, root: Path) -> None:
        """Put the file back as it was, with its time of change, by which Python knows what it compiled."""
        shutil.copy2(ROOT / self.file, root / self.file)


MUTANTS = (
    Mutant(
        "an event that waits for its verdict is accepted again",
        f"{LUA}/accept.lua",
        "elseif is(ARGV[1] .. ARGV[i], 'hash') then",
        "elseif false then",
        f"{LEDGER}::test_an_event_is_accepted_once",
    ),
    Mutant(
        "a part of a bulk message may fit where the whole does not",
        f"{LUA}/accept.lua",
        "if most > 0 then over = pending + #new - most end",
        "if most > 0 then over = pending + 1 - most end",
        "integration/test_bounds.py::test_a_bulk_message_gets_in_whole_or_not_at_all",
    ),
    Mutant(
        "a raw event that is claimed does not stand in the ledger",
        f"{LUA}/claim.lua",
        "redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), key)",
        "",
        f"{LEDGER}::test_a_raw_event_enters_the_ledger_when_it_is_claimed",
    ),
    Mutant(
        "a path that no worker can resolve is accepted",
        "moderator/submission.py",
        "if not os.path.isabs(image.path) or",
        "if",
        "unit/test_submission.py::test_what_none_can",
    ),
    Mutant(
        "the spool takes more than its bound",
        "moderator/queue/spool_file.py",
        "if held + events > self._max_events or",
        "if",
        "unit/queue/test_spool_file.py::test_events_are_bounded",
    ),
    Mutant(
        "what is lost between queue and worker is not found",
        f"{LUA}/overdue.lua",
        "local queue, what = fields[2] or '', 'lost'",
        "local queue, what = fields[2] or '', nil",
        f"{LEDGER}::test_a_lost_message_comes_back_after_the_lease",
    ),
    Mutant(
        "what still waits on the queue is put there again",
        f"{LUA}/overdue.lua",
        "elseif fields[1] == 'queued' and oldest[queue]",
        "elseif false and oldest[queue]",
        f"{LEDGER}::test_a_message_that_still_waits_is_not_doubled",
    ),
    Mutant(
        "deliveries are not bounded",
        f"{LUA}/overdue.lua",
        "elseif whole(fields[4]) >= tonumber(ARGV[5]) then",
        "elseif false then",
        f"{LEASES}::test_what_is_never_claimed_ends_in_one_dead_letter",
    ),
    Mutant(
        "a record that cannot be read stops the sweeper",
        "moderator/queue/sweeper.py",
        "except ValidationError:",
        "except KeyError:",
        f"{LEASES}::test_a_record_that_cannot_be_read_holds_up_no_other",
    ),
    Mutant(
        "a worker whose lease ran out answers what another holds",
        f"{LUA}/publish.lua",
        "elseif known and ARGV[10] ~= ''",
        "elseif false",
        f"{LEASES}::test_what_ran_out_is_not_taken_from_its_new_owner",
    ),
    Mutant(
        "a claim that is sent again finds the event taken",
        f"{LUA}/claim.lua",
        "local again = state == 'started' and",
        "local again = false and",
        f"{LEASES}::test_a_claim_whose_answer_got_lost_is_answered_again",
    ),
    Mutant(
        "patience with a host begins again at each try",
        f"{LUA}/retry.lua",
        "redis.call('HSETNX', KEYS[2], 'held_off_since'",
        "redis.call('HSET', KEYS[2], 'held_off_since'",
        f"{LEDGER}::test_patience_counts_from_the_first_try_that_had_to_wait",
    ),
    Mutant(
        "a second verdict is published",
        f"{LUA}/publish.lua",
        "if is(KEYS[3], 'string') then",
        "if false then",
        f"{LEDGER}::test_the_second_verdict_changes_nothing",
    ),
    Mutant(
        "a verdict is kept for ever",
        f"{LUA}/publish.lua",
        "redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])",
        "redis.call('SET', KEYS[3], ARGV[2], 'KEEPTTL')",
        f"{LEDGER}::test_the_stream_is_trimmed_and_the_verdict_expires",
    ),
    Mutant(
        "an `error` verdict leaves no dead letter",
        f"{LUA}/publish.lua",
        "if ARGV[5] ~= '' then",
        "if false then",
        f"{LEDGER}::test_dead_letters_come_oldest_first",
    ),
    Mutant(
        "an image of a bulk event has the name of another event",
        "moderator/events.py",
        "{event_key(source, bulk)}%2F{",
        "{event_key(source, bulk)}/{",
        "integration/test_identities.py::test_both_get_a_verdict_of_their_own",
    ),
    Mutant(
        "what a reader finished comes again",
        "moderator/queue/consumer.py",
        "self._redis.xack(keys.VERDICTS, self._group, entry)",
        "pass",
        f"{LEDGER}::test_a_consumer_gets_again_what_it_did_not_finish",
    ),
    Mutant(
        "a reader takes over what another is at",
        "moderator/queue/consumer.py",
        "min_idle_time=round(self._idle * 1000)",
        "min_idle_time=0",
        f"{READERS}::test_a_slow_reader_keeps_what_it_has_while_it_goes_on",
    ),
    Mutant(
        "a replay leaves the `error` verdict where it is",
        f"{LUA}/replay.lua",
        "redis.call('DEL', KEYS[7], KEYS[6])",
        "redis.call('DEL', KEYS[6])",
        f"{LEDGER}::test_a_replay_withdraws_the_verdict_and_its_dead_letter",
    ),
    Mutant(
        "a replay withdraws a verdict that is not the dead letter's own",
        f"{LUA}/replay.lua",
        "if own ~= redis.sha1hex(verdict) then",
        "if false then",
        f"{REPLAY}::test_a_verdict_that_is_not_the_letters_own_is_never_withdrawn",
    ),
    Mutant(
        "a consumer that never comes fills the server",
        f"{LUA}/common.lua",
        "if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[arg]) then",
        "if false then",
        f"{OUTBOX}::test_at_its_limit_a_consumer_misses_verdicts_and_nobody_else_does",
    ),
    Mutant(
        "what a consumer took and did not confirm is forgotten",
        f"{LUA}/take_deliveries.lua",
        "redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), key)",
        "redis.call('ZREM', KEYS[1], key)",
        f"{OUTBOX}::test_what_is_taken_and_not_confirmed_comes_again",
    ),
    Mutant(
        "the first signal ends a worker at once",
        "workers/shutdown.py",
        "self._stop()",
        "os._exit(0)",
        f"{SHUTDOWN}::test_the_first_signal_is_an_orderly_stop",
    ),
    Mutant(
        "a worker that leaves something unfinished ends as if it had not",
        "workers/shutdown.py",
        "os._exit(128 + number)",
        "os._exit(0)",
        f"{SHUTDOWN}::test_the_second_signal_ends_at_once",
    ),
)


def copy_project(folder: Path) -> Path:
    """The project without what was compiled or built; production code has no switch for any of this."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "seeds", "*.pyc")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def run_proofs(root: Path, proofs: Collection[str]) -> "subprocess.CompletedProcess[str]":
    """Run tests of a copy, on the copy's own code. Loading all installed plugins would take longer than the tests."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
        + ["--tb=short", "-q", "--maxfail=1"]
        + [f"--timeout={TIMEOUT}"]
        + [f"tests/{proof}" for proof in proofs],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )


def failed(run: "subprocess.CompletedProcess[str]", proof: str) -> bool:
    """Whether that test found something wrong; not where it could not be collected or set up, or hung."""
    named = re.search(rf"^FAILED tests/{re.escape(proof)}\b", run.stdout, re.M)
    return (
        run.returncode == 1 and named is not None and not re.search(r"^ERROR |Timeout \(>", run.stdout, re.M)
    )
