"""Check the machine and what the settings expose on it: decoding, fetching, folders, the user."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from moderator.errors import ModeratorError
from moderator.images.decode import DecodeLimits
from moderator.images.prepare import PreprocessSpec
from moderator.images.process import DecoderProcess
from moderator.images.resize import Resize
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.settings import Settings, unknown_variables

#: Networks that untrusted URLs must not reach: this machine, and the addresses where clouds serve credentials.
DANGEROUS_NETWORKS = tuple(
    map(ip_network, ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10", "fd00:ec2::/32"))
)


def examine_environment(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the machine."""
    yield check_user(os.geteuid())
    yield from check_variables(unknown_variables())
    yield check_decoding(settings)
    yield check_networks(settings.fetch_networks)
    yield from check_roots(settings.fetch_roots)
    yield check_spool(settings)
    yield check_cache(settings.cache)
    yield check_policies_folder(settings.policies)


def check_user(user: int) -> Finding:
    """Check the user of this process; the worker presumably runs as the same user."""
    if user == 0:
        message = "this runs as root: whoever takes the worker over has the machine"
        return warning("environment.user", message, "run the worker as a user of its own, without rights")
    return ok("environment.user", f"this does not run as root (user {user})")


def check_variables(unknown: Iterator[tuple[str, str]]) -> Iterator[Finding]:
    """Report variables that look like settings but are not. Values may be secrets and are not shown.

    Args:
        unknown: names, each with a remedy.
    """
    found = list(unknown)
    for name, hint in found:
        yield warning("environment.variables", f"{name} is no setting, so it does nothing", hint)
    if not found:
        yield ok("environment.variables", "every MODERATOR_ variable is a setting")


def check_decoding(settings: Settings) -> Finding:
    """Check that a hostile image cannot leave the process that decodes it. Starts and ends one such process."""
    check = "environment.decoding"
    if settings.decode == "threads":
        message = "images are decoded in the worker's own threads: a hostile one may crash it, hang it or take it over"
        return warning(check, message, "set MODERATOR_DECODE=processes")
    spec = PreprocessSpec(DecodeLimits.from_settings(settings), Resize(224, 224), settings.jpeg_draft)
    try:
        process = DecoderProcess(spec, settings.decode_memory)
    except ModeratorError as error:
        return problem(
            check, f"the worker cannot decode: {error}", "see what the worker's log says at its start"
        )
    try:
        sealed = process.wait_until_ready()
    except ModeratorError as error:
        return problem(check, f"the worker cannot decode: {error}", "raise MODERATOR_DECODE_MEMORY")
    finally:
        process.end()
    if sealed:
        return ok(check, "images are decoded in confined processes, their system calls filtered")
    message = "decoding processes are bounded, and their system calls are not filtered: this system has no such filter"
    return warning(check, message, "use Linux for x86-64, with seccomp")


def check_networks(networks: Sequence[IPv4Network | IPv6Network]) -> Finding:
    """Check which private networks the URLs in events can reach."""
    check = "environment.networks"
    if not networks:
        return ok(check, "URLs reach public addresses only")
    for network in networks:
        for dangerous in DANGEROUS_NETWORKS:
            if network.version == dangerous.version and network.overlaps(dangerous):
                message = (
                    f"MODERATOR_FETCH_NETWORKS lets URLs reach {network}, and so this machine's own services or the "
                    "addresses where a cloud hands out credentials"
                )
                return problem(check, message, "name the hosts' own networks alone, as narrowly as they are")
    listed = ", ".join(map(str, networks))
    message = f"MODERATOR_FETCH_NETWORKS lets URLs, and redirects from any host, reach {listed}"
    return warning(check, message, "keep it as narrow as can be, and name the hosts in MODERATOR_FETCH_HOSTS")


def check_roots(roots: Sequence[Path]) -> Iterator[Finding]:
    """Check which files the paths in events can reach."""
    check = "environment.roots"
    for root in roots:
        real = root.resolve()
        if real == Path("/"):
            message = "MODERATOR_FETCH_ROOTS has '/': an event may name any file that the worker can read"
            yield problem(check, message, "name the folder of the uploads alone")
        elif not os.access(real, os.R_OK | os.X_OK) or not real.is_dir():
            message = f"MODERATOR_FETCH_ROOTS has {root}, which is no folder that this user may read"
            yield problem(check, message, "mount it, or correct its mode")
        elif others_may_write(real):
            message = f"every user of this machine may put files into {root} of MODERATOR_FETCH_ROOTS"
            yield warning(check, message, f"run: chmod o-w {root}")
        else:
            yield ok(check, f"events may name files in {root}")
    if not roots:
        yield ok(check, "events may name no paths")


def check_spool(settings: Settings) -> Finding:
    """Check that the spool is writable, private and has space."""
    check, folder = "environment.spool", settings.spool
    if folder is None:
        return ok(check, "there is no spool: without Redis, events are refused")
    if not may_write(folder):
        message = f"MODERATOR_SPOOL={folder} cannot be written, so nothing is kept while Redis is away"
        return problem(check, message, "correct its owner and mode, or name another folder")
    if others_may_write(nearest(folder)):
        message = f"every user of this machine may change what is in {folder}, or put something there first"
        return warning(check, message, f"name a folder of our own, with the mode 700, in place of {folder}")
    free = shutil.disk_usage(nearest(folder)).free
    if free < settings.spool_bytes:
        wanted = settings.spool_bytes / 1e9
        message = f"{folder} has {free / 1e9:.1f} GB left, and MODERATOR_SPOOL_BYTES is {wanted:.1f} GB"
        return warning(check, message, "make room, or lower MODERATOR_SPOOL_BYTES")
    return ok(check, f"{folder} can be written and has room")


def check_cache(folder: Path) -> Finding:
    """Check that compiled policies are cached where nobody else can replace them."""
    check = "environment.cache"
    if not may_write(folder):
        message = f"MODERATOR_CACHE={folder} cannot be written: each start compiles all policies again, and int8 fails"
        return warning(check, message, "correct its owner and mode, or name another folder")
    if others_may_write(nearest(folder)):
        message = f"every user of this machine may put compiled policies into {folder}, and so change what is allowed"
        return problem(check, message, "name a folder of our own, with the mode 700, in MODERATOR_CACHE")
    return ok(check, f"{folder} can be written by us alone")


def check_policies_folder(folder: Path) -> Finding:
    """Check that the policy folder is not writable by every user of the machine."""
    check = "environment.policies"
    if folder.is_dir() and others_may_write(folder):
        message = f"every user of this machine may change the policies in {folder}"
        return problem(check, message, f"run: chmod -R o-w {folder}")
    return ok(check, f"{folder} is not open to every user")


def nearest(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    found = path.absolute()
    while not found.exists():
        found = found.parent
    return found


def may_write(folder: Path) -> bool:
    """Return whether this process may write to a folder, or create it. Does so without writing."""
    there = nearest(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def others_may_write(folder: Path) -> bool:
    """Return whether every user of the machine may write to a folder."""
    return bool(folder.stat().st_mode & stat.S_IWOTH)
