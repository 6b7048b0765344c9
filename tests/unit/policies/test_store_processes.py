"""Several processes change one folder at once, and some are killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moderator import atomic
from moderator.policies import store as store_module
from moderator.policies.audit import Action, Mark, State, append
from moderator.policies.pointers import read_pointers
from moderator.policies.releases import read_releases
from tests.support.policies import activate, release, unchecked
from tests.support.policy_files import write, write_released

WRITERS = 8
VERSIONS = 6
ROOT = Path(__file__).parents[3]

#: Starts a process for each policy, which does one thing for each version and prints what it is done with; kills some.
EACH_ITS_OWN = """\
import os, random, signal, sys, time
from pathlib import Path
from tests.support.policies import activate, release
action, folder, (writers, versions, kill) = sys.argv[1], Path(sys.argv[2]), map(int, sys.argv[3:])
children = []
start = time.monotonic() + 0.2
for n in range(writers):
    if child := os.fork():
        children.append(child)
        continue
    time.sleep(start - time.monotonic())
    for version in range(1, versions + 1):
        (release if action == "release" else activate)(folder, f"shop-{n}", version)
        os.write(1, f"shop-{n} {version}\\n".encode())
    os._exit(0)
time.sleep(start - time.monotonic())
for child in children[:kill]:
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
codes = [os.waitpid(child, 0)[1] for child in children]
sys.exit(any(codes[kill:]))
"""

#: Starts processes that do everything that the store can do with the versions of one policy, in any order. Every third
#: version does not compile. Kills some, and prints each version that was ever seen with a role.
ALL_ON_ONE = """\
import os, random, signal, sys, time
from pathlib import Path
from moderator.errors import PolicyConflict, PolicyNotFound, PolicyUnreleased, PolicyUnusable
from moderator.policies.pointers import read_pointers
from moderator.policies.schema import Policy
from moderator.policies.store import PolicyStore
folder, writers, versions, kill = Path(sys.argv[1]), *map(int, sys.argv[2:])
def compile(policy):
    if policy.version % 3 == 0:
        raise PolicyUnusable(policy.reference)
store = PolicyStore(folder, compile)
children = []
for n in range(writers):
    if child := os.fork():
        children.append(child)
        continue
    random.seed(n)
    store.release("shop", 1)
    store.activate("shop", 1)
    os.write(1, b"release 1\\nactivate 1\\n")
    for step in range(30):
        version = random.randint(1, versions)
        act = random.choice(["release", "activate", "rollback", "shadow", "unshadow", "canary", "end", "promote"])
        if act == "promote" and (pointer := read_pointers(folder).get("shop")):
            version = random.choice([*pointer.shadow, version])
        try:
            match act:
                case "rollback": store.rollback("shop")
                case "unshadow": store.shadow("shop", version, on=False)
                case "canary": store.canary("shop", version, 10)
                case "end": store.canary("shop", version, None)
                case _: getattr(store, act)("shop", version)
            os.write(1, f"{act} {version}\\n".encode())
        except (PolicyConflict, PolicyNotFound, PolicyUnreleased, PolicyUnusable):
            pass
    os._exit(0)
for child in children[:kill]:
    time.sleep(random.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
waiting = set(children)
seen = set()
while waiting:
    if pointer := read_pointers(folder).get("shop"):
        seen |= {pointer.active, *pointer.shadow}
        seen |= {pointer.canary.version} if pointer.canary else set()
    ended, code = os.waitpid(-1, os.WNOHANG)
    if ended:
        waiting.discard(ended)
        assert code == 0 or ended in children[:kill], code
    time.sleep(0.002)
print("seen", *seen, flush=True)
"""


def run(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def run_writers(folder: Path, action: str, *, kill: int = 0) -> dict[str, int]:
    """Let every policy have a process of its own; return the last version that each said it was done with."""
    done = {f"shop-{n}": 0 for n in range(WRITERS)}
    for line in run(EACH_ITS_OWN, action, folder, WRITERS, VERSIONS, kill):
        name, version = line.split()
        done[name] = int(version)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    for n in range(WRITERS):
        for version in range(1, VERSIONS + 1):
            write(folder, f"shop-{n}", version)
    return folder


def test_releases_at_once_are_all_kept(folder: Path) -> None:
    assert set(run_writers(folder, "release").values()) == {VERSIONS}
    everything = {(f"shop-{n}", v) for n in range(WRITERS) for v in range(1, VERSIONS + 1)}
    assert set(read_releases(folder)) == everything


def test_releases_of_which_some_are_killed_are_kept_and_hold_up_nobody(folder: Path) -> None:
    done = run_writers(folder, "release", kill=WRITERS // 2)
    released = set(read_releases(folder))
    assert {(name, v) for name, last in done.items() for v in range(1, last + 1)} <= released
    for n in range(WRITERS):
        release(folder, f"shop-{n}", VERSIONS)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["audit.jsonl", "releases.lock"]


@pytest.mark.parametrize("kill", [0, WRITERS // 2])
def test_activations_at_once_are_all_kept(folder: Path, kill: int) -> None:
    for n in range(WRITERS):
        for version in range(1, VERSIONS + 1):
            release(folder, f"shop-{n}", version)
    done = run_writers(folder, "activate", kill=kill)
    active = {name: pointer.active for name, pointer in read_pointers(folder).items()}
    for n, (name, last) in enumerate(done.items()):
        # Whoever was killed may have done one more than it came to say.
        assert active.get(name, 0) in ((last, last + 1) if n < kill else (VERSIONS,)), name


def test_one_policy_that_all_change_at_once_stays_at_a_version_that_compiles(tmp_path: Path) -> None:
    versions = 9
    for version in range(1, versions + 1):
        write(tmp_path, "shop", version)
    *done, seen = run(ALL_ON_ONE, tmp_path, WRITERS, versions, WRITERS // 2)
    releases = {version for _, version in read_releases(tmp_path)}
    assert {int(line.split()[1]) for line in done if line.startswith("release")} <= releases
    usable = {version for version in releases if version % 3}
    assert releases == usable
    assert {int(version) for version in seen.split()[1:]} <= usable
    assert {line.split()[0] for line in done} >= {"release", "activate"}
    # Nobody is held up by those who were killed.
    store = unchecked(tmp_path)
    for version in (1, 2, 4):
        release(tmp_path, "shop", version)
    activate(tmp_path, "shop", 1)
    store.shadow("shop", 2)
    store.canary("shop", 4, 5)
    store.promote("shop", 2)
    store.rollback("shop")
    log = [c for c in unchecked(tmp_path).log() if c.record.action is not Action.RELEASE]
    made = [c.record for c in log if c.state is not State.NOT_APPLIED]
    assert {record.action for record in made} >= {
        Action.SHADOW,
        Action.CANARY,
        Action.PROMOTE,
        Action.ROLLBACK,
    }
    # Each change starts where the one before it ended, and the last one ended where the folder is.
    assert [record.before for record in made] == [None, *(record.after for record in made[:-1])]
    assert made[-1].after == read_pointers(tmp_path)["shop"]
    assert Action.UNRECORDED not in {record.action for record in made}


def kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mark_alone(folder: Path, line: object) -> None:
    if isinstance(line, Mark):
        kill_self()
    append(folder, line)  # type: ignore[arg-type]


def half_a_line(folder: Path, record: object) -> None:
    with (folder / "audit.jsonl").open("a") as file:
        file.write('{"when": "20')
    kill_self()


def after(function: Callable[..., object]) -> Callable[..., object]:
    def act(*arguments: object) -> None:
        function(*arguments)
        kill_self()

    return act


#: Where a writer is killed, and whether the change has been made then.
KILLS: dict[str, tuple[object, str, Callable[..., object], bool]] = {
    "before its record": (store_module, "append", kill_self, False),
    "within its record": (store_module, "append", half_a_line, False),
    "after its record": (store_module, "append", after(append), False),
    "with the new file written": (atomic, "sync", kill_self, False),
    "after the change": (store_module, "append", mark_alone, True),
    "after its mark": (store_module.PolicyStore, "_write", after(store_module.PolicyStore._write), True),
}


def killed(act: Callable[[], object], module: object, name: str, instead: Callable[..., object]) -> None:
    """Do something in a process that is killed at some point."""
    child = os.fork()
    if not child:
        try:
            setattr(module, name, instead)
            act()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.parametrize("where", KILLS)
def test_a_writer_that_is_killed_leaves_records_and_files_that_agree(tmp_path: Path, where: str) -> None:
    module, name, instead, made = KILLS[where]
    write_released(tmp_path, versions=3)
    activate(tmp_path, "market", 1)
    write(tmp_path, version=4)

    killed(lambda: activate(tmp_path, "market", 2), module, name, instead)
    killed(lambda: release(tmp_path, "market", 4), module, name, instead)

    active = read_pointers(tmp_path)["market"].active
    assert active == (2 if made else 1)
    assert (("market", 4) in read_releases(tmp_path)) == made

    def log() -> list[tuple[Action, int | None, State]]:
        return [(c.record.action, c.record.version, c.state) for c in unchecked(tmp_path).log("market")]

    entries = log()
    assert [e for e in entries if e[0] is Action.ACTIVATE and e[2] is State.IN_FORCE] == [
        (Action.ACTIVATE, active, State.IN_FORCE)
    ]
    assert ((Action.RELEASE, 4, State.IN_FORCE) in entries) == made
    # Nobody is held up, and it can be done again.
    release(tmp_path, "market", 4)
    assert activate(tmp_path, "market", 2).active == 2
    entries = log()
    assert entries.count((Action.RELEASE, 4, State.IN_FORCE)) == 1
    assert entries.count((Action.ACTIVATE, 2, State.IN_FORCE)) == 1
    assert unchecked(tmp_path).rollback("market").now.active == 1
    left = {p.name for p in tmp_path.iterdir()} - {"market"}
    assert left == {"active.yaml", "audit.jsonl", "releases.lock"}
