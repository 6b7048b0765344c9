"""Check that secrets are strong and that nobody else can read them. They are compared here and never shown."""

import re
import stat
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from moderator.errors import SettingsError
from moderator.operations.doctor.access_signatures import check_signatures
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.queue.connection import endpoint
from moderator.settings import DOTENV_FILE, TOML_FILE, Settings

#: Length of the key that Standard Webhooks requires.
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
#: The secret in the examples of Standard Webhooks.
EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 (published; here to be refused)
#: A key with fewer distinct bytes was typed, not randomly generated.
DISTINCT_BYTES_MIN = 8
#: Characters. Shorter secrets occur on command lines by chance.
_SOUGHT_LENGTH_MIN = 8

_NEW_SECRET_REMEDY = "make one: python -c 'import base64, secrets; print(\"whsec_\" + base64.b64encode(secrets.token_bytes(32)).decode())'"  # noqa: S105, E501 (a command to copy)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return the secrets in the settings, each in every possible notation."""
    found: list[str | None] = []
    if settings.webhook_secret is not None:
        for secret in settings.webhook_secret.get_secret_value().split():
            found += [secret, secret.removeprefix("whsec_")]
    try:
        password = endpoint(settings.redis_url).password
        found += [password, password and quote(password, safe="")]
        found.append(settings.redis_url.partition("://")[2].rpartition("@")[0].partition(":")[2])
    except SettingsError:
        found.append(settings.redis_url)  # unknown which part is the password
    if settings.redis_sentinel_password is not None:
        found.append(settings.redis_sentinel_password.get_secret_value())
    if settings.archive_url is not None:
        written = urlsplit(settings.archive_url).password
        found += [written, written and unquote(written)]
    if settings.fetch_sas is not None:
        for text in settings.fetch_sas.get_secret_value().split():
            for written in re.findall(r"[?&]sig=([^&]*)", text):
                found += [written, unquote(written)]
    return tuple({secret: None for secret in found if secret})


def examine_secrets(settings: Settings) -> Iterator[Finding]:
    """Yield findings on secrets, except the Redis password, which is checked with the server."""
    yield check_webhook_secret(settings)
    yield from check_signatures(settings.fetch_sas, datetime.now(UTC))
    secrets = secrets_of(settings)
    yield from check_files([Path(DOTENV_FILE), Path(TOML_FILE)], secrets)
    yield check_command_lines(read_command_lines(Path("/proc")), secrets)


def check_webhook_secret(settings: Settings) -> Finding:
    """Check that webhook receivers can trust the signature."""
    check = "secrets.webhook"
    if settings.webhook_secret is None:
        if settings.webhook_hosts:
            message = (
                "MODERATOR_WEBHOOK_HOSTS allows webhooks and there is no secret: each becomes a dead letter"
            )
            return problem(check, message, f"set MODERATOR_WEBHOOK_SECRET; {_NEW_SECRET_REMEDY}")
        return ok(check, "webhooks are off: there is no MODERATOR_WEBHOOK_SECRET")
    secrets = settings.webhook_secret.get_secret_value().split()
    sizes = []
    for secret in secrets:
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            message = "MODERATOR_WEBHOOK_SECRET is not `whsec_` and base64, so the worker does not start"
            return problem(check, message, _NEW_SECRET_REMEDY)
        if secret == EXAMPLE_SECRET or len(set(key)) < DISTINCT_BYTES_MIN:
            message = "MODERATOR_WEBHOOK_SECRET can be guessed, so anybody can sign verdicts in our name"
            return problem(check, message, _NEW_SECRET_REMEDY)
        if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
            message = f"MODERATOR_WEBHOOK_SECRET has {len(key)} bytes; Standard Webhooks asks for 24 to 64"
            return problem(check, message, _NEW_SECRET_REMEDY)
        sizes.append(str(len(key)))
    if not sizes:
        message = "MODERATOR_WEBHOOK_SECRET is empty, so the worker does not start"
        return problem(check, message, _NEW_SECRET_REMEDY)
    if len(sizes) > 1:
        return ok(check, f"each verdict is signed with {len(sizes)} secrets, of {', '.join(sizes)} bytes")
    return ok(check, f"the secret has {sizes[0]} bytes")


def check_files(files: Sequence[Path], secrets: Sequence[str]) -> Iterator[Finding]:
    """Check which users may read and write the files that settings come from."""
    for path in files:
        check = f"secrets.{path.name.removeprefix('.')}"
        try:
            mode, text = path.stat().st_mode, path.read_text(errors="replace")
        except OSError:  # the file is optional
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
            yield ok(check, f"{path} shows nobody a secret")


def check_command_lines(lines: Mapping[int, str], secrets: Sequence[str]) -> Finding:
    """Check that no command line shows a secret: every user of the machine sees them.

    Args:
        lines: command lines by process id.
        secrets: must not occur in them.
    """
    sought = [secret for secret in secrets if len(secret) >= _SOUGHT_LENGTH_MIN]
    showing = sorted(pid for pid, line in lines.items() if any(secret in line for secret in sought))
    if showing:
        pids = ", ".join(map(str, showing[:5]))
        message = f"a secret stands on the command line of a process ({pids}), where every user of the machine sees it"
        remedy = "give secrets by the environment or by a file with the mode 600 (for Redis: its configuration file)"
        return warning("secrets.command-line", message, remedy)
    return ok("secrets.command-line", "no command line shows a secret")


def read_command_lines(processes: Path) -> dict[int, str]:
    """Return the visible command lines of this machine's processes; none if /proc does not exist."""
    lines = {}
    for path in processes.glob("[0-9]*/cmdline"):
        try:
            lines[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # the process ended, or is hidden from us
            continue
    return lines
