"""What a container engine does to a process of the service, done with the kernel's own tools.

A root of its own that cannot be written, a few places that can, a user without rights. Places, sizes, user and
environment are those of the compose file and the Dockerfile. What an engine adds is not here: its network, its bounds
of memory and processes, its own filter of system calls.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import needs

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "docker" / "Dockerfile").read_text())

USER, GROUP = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)[-1]
#: Every engine mounts one here; so small that nothing can rely on it.
SHARED_MEMORY = {"/dev/shm": "size=4k,mode=1777"}


def tmpfs(service: str) -> dict[str, str]:
    """Target and mount options of each place in memory that a service can write to, as compose has them."""
    volumes = (
        mount["target"] for mount in COMPOSE["services"][service]["volumes"] if mount["type"] == "volume"
    )
    given = (entry.partition(":") for entry in COMPOSE["services"][service]["tmpfs"])
    owned = dict.fromkeys(volumes, f"mode=755,uid={USER},gid={GROUP}")
    return {target: options for target, _, options in given} | SHARED_MEMORY | owned


#: Programs that put it together, and the packages that bring them.
TOOLS = {"unshare": "util-linux", "setpriv": "util-linux", "chroot": "coreutils", "mount": "mount"}

#: Where the project lies in the container, and our own environment; wherever they are here, it may be hidden there.
SOURCE = "/opt/source"
ENVIRONMENT = "/opt/environment"
#: The interpreter in there.
PYTHON = f"{ENVIRONMENT}/bin/{Path(sys.executable).name}"
_SYSTEM = ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64")
_DEVICES = ("null", "zero", "full", "random", "urandom")


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets."""
    (line,) = re.findall(r"^ENV (.*MODERATOR_CACHE.*)$", DOCKERFILE, re.M)
    pairs = (pair.partition("=") for pair in shlex.split(line))
    return {name: value for name, _, value in pairs if name != "PATH"}


def why_not() -> str | None:
    """Why this user can make no container here; None where it can."""
    if os.geteuid() != 0:
        return "making mounts needs root"
    for program, package in TOOLS.items():
        needs(program, package)
    trial = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "none", "/mnt"]
    tried = subprocess.run(trial, capture_output=True, text=True, timeout=30)
    return None if tried.returncode == 0 else f"namespaces are not allowed: {tried.stderr.strip()}"


def command(
    folder: Path,
    words: list[str],
    binds: dict[Path, str],
    environment: dict[str, str],
    service: str = "worker",
) -> list[str]:
    """The command line that runs `words` in such a container; it ends with them.

    Args:
        folder: an empty one, where the root is put together; the mounts in it are seen by the container alone.
        words: run as the image's user, without rights, in the image's working directory.
        binds: further folders or files, read-only, and where they appear.
        environment: beside the image's own, all there is.
        service: whose places there are.
    """
    script = "\n".join(["set -e", *_mounts(folder, binds, service)])
    variables = {**image_environment(), "PATH": "/usr/bin:/bin", "PYTHONPATH": SOURCE, **environment}
    rights = ["--reuid", USER, "--regid", GROUP, "--clear-groups", "--no-new-privs", "--inh-caps=-all"]
    rights += ["--ambient-caps=-all", "--bounding-set=-all"]
    inside = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
    inside += ["sh", "-c", 'cd /var/lib/moderator && exec "$@"', "sh", *words]
    enter = ["exec", "chroot", str(folder), "setpriv", *rights, *inside]
    script += "\n" + shlex.join(enter)
    return [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        script,
    ]


def _mounts(root: Path, binds: dict[Path, str], service: str) -> list[str]:
    """Lines of shell that put the root together and then lock it."""
    lines = [f"mount -t tmpfs -o mode=755 root {root}"]
    shown = {Path(sys.base_prefix): sys.base_prefix} | {Path(sys.prefix): ENVIRONMENT, ROOT: SOURCE} | binds
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            lines.append(f"ln -s {shlex.quote(os.readlink(path))} {root}{path}")
        elif path.is_dir():
            shown[path] = str(path)
    # What lies above comes first; what lies below is then there already.
    for source, target in sorted(shown.items(), key=lambda item: item[1]):
        if any(Path(target) != Path(o) and Path(target).is_relative_to(o) for o in shown.values()):
            continue
        place = shlex.quote(f"{root}{target}")
        lines += [f"mkdir -p {place}", f"mount --bind {shlex.quote(str(source))} {place}"]
        lines.append(f"mount -o remount,bind,ro {place}")
    lines += [f"mkdir -p {root}/dev {root}/proc {root}/var/lib/moderator"]
    for device in _DEVICES:
        lines += [f"touch {root}/dev/{device}", f"mount --bind /dev/{device} {root}/dev/{device}"]
    lines.append(f"mount -t proc -o nosuid,nodev,noexec proc {root}/proc")
    for target, options in tmpfs(service).items():
        lines += [f"mkdir -p {root}{target}", f"mount -t tmpfs -o {options} none {root}{target}"]
    lines.append(f"mount -o remount,ro {root}")
    return lines


#: Prints, as JSON, who runs it, every folder that it can write, and every mount that somebody could.
PROBE = """
import json, os
found = []
for place, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if (place, f) != ("/", "proc")]
    try:
        name = os.path.join(place, ".probe")
        open(name, "w").close()
        os.unlink(name)
        found.append(place)
    except OSError:
        pass
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
mounts = [line.split() for line in open("/proc/self/mountinfo")]
print(json.dumps({
    "mounted_for_writing": [fields[4] for fields in mounts if "rw" in fields[5].split(",")],
    "writable": found,
    "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups()],
    "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
}))
"""


def probe(folder: Path) -> dict[str, Any]:
    """What a process in the container is and may write."""
    words = [PYTHON, "-c", PROBE]
    done = subprocess.run(command(folder, words, {}, {}), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
