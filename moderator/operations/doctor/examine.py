"""The whole examination, in parts, so that the caller can show progress."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from moderator.errors import ModeratorError, SettingsError
from moderator.operations.doctor.archive_checks import examine_archive
from moderator.operations.doctor.environment import examine_environment
from moderator.operations.doctor.findings import Finding, ok, problem
from moderator.operations.doctor.policies import examine_policies
from moderator.operations.doctor.readers import examine_readers
from moderator.operations.doctor.secrets import examine_secrets, secrets_of
from moderator.operations.doctor.server_checks import examine_server
from moderator.queue.connection import SentinelLogin
from moderator.settings import Settings, load_settings


@dataclass(frozen=True)
class Part:
    """One part of the examination; `run` returns its findings."""

    name: str
    run: Callable[[], list[Finding]]


def plan(with_model: bool) -> list[Part]:
    """Return the parts of an examination of the configured installation; only one if the settings cannot be read.

    Args:
        with_model: also load the encoder.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        unread = problem("settings", str(error), "correct them; nothing else can be examined before")
        return [Part("settings", lambda: [unread])]
    return [
        Part("settings", lambda: [ok("settings", "the settings can be read")]),
        _part("redis", settings, lambda: examine_server(settings.redis_url, SentinelLogin.of(settings))),
        _part("readers", settings, lambda: examine_readers(settings)),
        _part("archive", settings, lambda: examine_archive(settings)),
        _part("secrets", settings, lambda: examine_secrets(settings)),
        _part("policies", settings, lambda: examine_policies(settings, with_model)),
        _part("environment", settings, lambda: examine_environment(settings)),
    ]


def _part(name: str, settings: Settings, examine: Callable[[], Iterable[Finding]]) -> Part:
    def run() -> list[Finding]:
        found: list[Finding] = []
        try:
            found.extend(examine())
        except ModeratorError as error:
            found.append(problem(name, str(error), "correct that"))
        except Exception as error:  # a failing part must not suppress the others
            message = f"this part could not be examined to its end: {type(error).__name__}: {error}"
            found.append(problem(name, message, "see what the message says"))
        secrets = secrets_of(settings)
        return [finding.masked(secrets) for finding in found]

    return Part(name, run)
