"""All settings combined, and their sources: environment (`MODERATOR_*`), `.env`, or `moderator.toml`."""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from moderator import suggestions
from moderator.errors import SettingsError
from moderator.settings.archive_settings import ArchiveSettings
from moderator.settings.bucket_settings import BucketSettings
from moderator.settings.delivery_settings import DeliverySettings
from moderator.settings.flood_settings import FloodSettings
from moderator.settings.gateway_settings import GatewaySettings
from moderator.settings.hook_settings import HookSettings
from moderator.settings.host_settings import HostSettings
from moderator.settings.image_settings import ImageSettings
from moderator.settings.model_settings import ModelSettings
from moderator.settings.object_settings import ObjectSettings
from moderator.settings.policy_settings import PolicySettings
from moderator.settings.queue_settings import QueueSettings
from moderator.settings.section import Section
from moderator.settings.worker_settings import WorkerSettings

PREFIX, DOTENV_FILE, TOML_FILE = "MODERATOR_", ".env", "moderator.toml"


class _TomlFile(TomlConfigSettingsSource):
    """`moderator.toml`, which is ours alone: an unknown key in it is a mistake, possibly a dangerous one."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        known = list(settings_cls.model_fields)
        unknown = [
            f"'{key}' is no setting; {closest(key, known)}" for key in self.toml_data if key not in known
        ]
        if unknown:
            raise SettingsError(f"{TOML_FILE} has keys that nothing reads:\n  " + "\n  ".join(unknown))


# Pydantic takes the fields of the last base first; settings and their errors appear in this order.
class Settings(
    ArchiveSettings,
    HookSettings,
    GatewaySettings,
    DeliverySettings,
    HostSettings,
    ObjectSettings,
    BucketSettings,
    ImageSettings,
    WorkerSettings,
    ModelSettings,
    FloodSettings,
    PolicySettings,
    QueueSettings,
    BaseSettings,
):
    """Everything that can be set: the fields of all sections, under their plain names."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOTENV_FILE, toml_file=TOML_FILE, extra="ignore", frozen=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence: arguments, environment, `.env`, `moderator.toml`."""
        return init_settings, env_settings, dotenv_settings, _TomlFile(settings_cls)


SECTIONS = tuple(base for base in reversed(Settings.__bases__) if issubclass(base, Section))


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that is not among the known ones."""
    names = list(known)
    # The environment uses upper case, so wrong case is the likeliest mistake.
    lowered = {known_name.lower(): known_name for known_name in names}
    meant = suggestions.closest(name.lower(), lowered)
    return f"did you mean '{lowered[meant]}'?" if meant else "remove it (docs/settings.md lists all settings)"


def unknown_variables() -> Iterator[tuple[str, str]]:
    """Yield variables of the environment and of `.env` that look like settings but are not, each with a remedy.

    They are not errors: other programs may add similar names, as Kubernetes does for services.
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    try:
        dotenv = DotEnvSettingsSource(Settings, env_file=DOTENV_FILE).env_vars
    except (OSError, ValueError):  # `load_settings` reports it
        dotenv = {}
    for name in sorted({name.upper() for name in (*os.environ, *dotenv)}):
        if name.startswith(PREFIX) and name not in known:
            yield name, closest(name, known)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the settings once per process.

    Raises:
        SettingsError: a value is malformed, or `moderator.toml` has an unknown key; the message names each problem.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"MODERATOR_{'_'.join(str(p) for p in e['loc'][:1]).upper()}: {e['msg']}" for e in error.errors()
        ]
        raise SettingsError("settings are not valid:\n  " + "\n  ".join(lines)) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"moderator.toml or .env cannot be read: {error}") from error
