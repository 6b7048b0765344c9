"""Secrets: strong enough, and kept where nobody else reads them. They are compared here and never told."""

import stat
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from moderator.doctor.findings import Finding, ok, problem, warning
from moderator.errors import SettingsError
from moderator.queue.connection import endpoint
from moderator.settings import DOTENV_FILE, TOML_FILE, Settings

#: Bytes of the key that Standard Webhooks asks for.
SHORTEST_KEY, LONGEST_KEY = 24, 64
#: The secret in the examples of Standard Webhooks.
EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 (published; here to be refused)
#: A key with fewer different bytes was typed, not drawn.
FEWEST_BYTES = 8
#: Shorter secrets stand on command lines by chance.
_SHORTEST_SOUGHT = 8

_NEW_SECRET = "make one: python -c 'import base64, secrets; print(\"whsec_\" + base64.b64encode(secrets.token_bytes(32)).decode())'"  # noqa: S105, E501 (a command to copy)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Everything in the settings that nobody else may see, in each way in which it may be written."""
    found: list[str | None] = []
    if settings.webhook_secret is not None:
        for secret in settings.webhook_secret.get_secret_value().split():
            found += [secret, secret.removeprefix("whsec_")]
    try:
        password = endpoint(settings.redis_url).password
        found += [password, password and quote(password, safe="")]
        found.append(settings.redis_url.partition("://")[2].rpartition("@")[0].partition(":")[2])
    except SettingsError:
        found.append(settings.redis_url)  # which part of it is the password cannot be told
    if settings.redis_sentinel_password is not None:
        found.append(settings.redis_sentinel_password.get_secret_value())
    return tuple({secret: None for secret in found if secret})


def examine_secrets(settings: Settings) -> Iterator[Finding]:
    """Everything about secrets but the password of Redis, which goes with the server."""
    yield check_webhook_secret(settings)
    secrets = secrets_of(settings)
    yield from check_files([Path(DOTENV_FILE), Path(TOML_FILE)], secrets)
    yield check_command_lines(read_command_lines(Path("/proc")), secrets)


def check_webhook_secret(settings: Settings) -> Finding:
    """Whether receivers of webhooks can trust the signature."""
    check = "secrets.webhook"
    if settings.webhook_secret is None:
        if settings.webhook_hosts:
            message = (
                "MODERATOR_WEBHOOK_HOSTS allows webhooks and there is no secret: each becomes a dead letter"
            )
            return problem(check, message, f"set MODERATOR_WEBHOOK_SECRET; {_NEW_SECRET}")
        return ok(check, "webhooks are off: there is no MODERATOR_WEBHOOK_SECRET")
    secrets = settings.webhook_secret.get_secret_value().split()
    sizes = []
    for secret in secrets:
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            message = "MODERATOR_WEBHOOK_SECRET is not `whsec_` and base64, so the worker does not start"
            return problem(check, message, _NEW_SECRET)
        if secret == EXAMPLE_SECRET or len(set(key)) < FEWEST_BYTES:
            message = "MODERATOR_WEBHOOK_SECRET can be guessed, so anybody can sign verdicts in our name"
            return problem(check, message, _NEW_SECRET)
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            message = f"MODERATOR_WEBHOOK_SECRET has {len(key)} bytes; Standard Webhooks asks for 24 to 64"
            return problem(check, message, _NEW_SECRET)
        sizes.append(str(len(key)))
    if not sizes:
        message = "MODERATOR_WEBHOOK_SECRET is empty, so the worker does not start"
        return problem(check, message, _NEW_SECRET)
    if len(sizes) > 1:
        return ok(check, f"each verdict is signed with {len(sizes)} secrets, of {', '.join(sizes)} bytes")
    return ok(check, f"the secret has {sizes[0]} bytes")


def check_files(files: Sequence[Path], secrets: Sequence[str]) -> Iterator[Finding]:
    """Who reads and who writes the files that settings come from."""
    for path in files:
        check = f"secrets.{path.name.removeprefix('.')}"
        try:
            mode, text = path.stat().st_mode, path.read_text(errors="replace")
        except OSError:  # there need not be one
            continue
        if mode & stat.S_IWOTH:
            yield problem(
                check, f"every user may change {path}, and so all settings", f"run: chmod 600 {path}"
            )
        elif mode & stat.S_IROTH and any(secret in text for secret in secrets):
            yield problem(
                check, f"every user may read {path}, which holds a secret", f"run: chmod 600 {path}"
            )
        else:
            yield ok(check, f"{path} tells nobody a secret")


def check_command_lines(lines: Mapping[int, str], secrets: Sequence[str]) -> Finding:
    """Command lines, by process id: every user of a machine sees them."""
    sought = [secret for secret in secrets if len(secret) >= _SHORTEST_SOUGHT]
    telling = sorted(pid for pid, line in lines.items() if any(secret in line for secret in sought))
    if telling:
        pids = ", ".join(map(str, telling[:5]))
        message = f"a secret stands on the command line of a process ({pids}), where every user of the machine sees it"
        remedy = "give secrets by the environment or by a file with the mode 600 (for Redis: its configuration file)"
        return warning("secrets.command-line", message, remedy)
    return ok("secrets.command-line", "no command line tells one")


def read_command_lines(processes: Path) -> dict[int, str]:
    """Command lines of this machine's processes, as far as they can be seen; none where there is no /proc."""
    lines = {}
    for path in processes.glob("[0-9]*/cmdline"):
        try:
            lines[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # it ended, or is hidden from us
            continue
    return lines
