"""All settings, in one class: environment (`MODERATOR_*`), `.env`, or `moderator.toml`.

This is the only place where configuration enters. The table in the docs is generated from it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from moderator import suggestions
from moderator.errors import SettingsError


def default_policies_folder() -> Path:
    """`./policies` where there is one, else the policies that come with the package."""
    local = Path("policies")
    if local.is_dir():
        return local
    package = Path(__file__).parent
    bundled = package / "data" / "policies"
    return bundled if bundled.is_dir() else package.parent / "policies"


PREFIX, DOTENV_FILE, TOML_FILE = "MODERATOR_", ".env", "moderator.toml"


class _TomlFile(TomlConfigSettingsSource):
    """`moderator.toml`, which is ours alone: a key in it that nothing reads is a mistake, maybe a dangerous one."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        known = list(settings_cls.model_fields)
        unknown = [
            f"'{key}' is no setting; {closest(key, known)}" for key in self.toml_data if key not in known
        ]
        if unknown:
            raise SettingsError(f"{TOML_FILE} has keys that nothing reads:\n  " + "\n  ".join(unknown))


class Settings(BaseSettings):
    """Everything that can be set, with the reason in a sentence."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOTENV_FILE, toml_file=TOML_FILE, extra="ignore", frozen=True
    )

    # --- queue
    redis_url: str = Field(
        "redis://localhost:6379/0",
        repr=False,  # it may hold a password
        description="Redis or Valkey: `redis://`, `rediss://` (TLS), `unix://`, or "
        "`sentinel://host:port,host:port/service/db`.",
    )
    redis_sentinel_username: str | None = Field(
        None, description="User of the Sentinels themselves, where they have users."
    )
    redis_sentinel_password: SecretStr | None = Field(
        None,
        description="Password of the Sentinels themselves. That of the servers which they watch is in the URL.",
    )
    queue_limit: int = Field(
        100_000,
        ge=0,
        description="Events without a verdict above which the queue takes no more, and says when to try again; "
        "bulk may fill four fifths of it. 0: no bound.",
    )
    queue_bytes: int = Field(
        1_000_000_000, ge=0, description="The same in bytes: images inside events count. 0: no bound."
    )
    spool: Path | None = Field(
        None,
        description="Folder on a local disk where clients keep events while Redis is away, to deliver them later. "
        "None: such events are refused.",
    )
    spool_events: int = Field(100_000, gt=0, description="Most events in the spool.")
    spool_bytes: int = Field(1_000_000_000, gt=0, description="Most bytes of events in the spool.")
    verdict_ttl: float = Field(
        7 * 86400, gt=0, description="Seconds that a verdict can be looked up by event id."
    )
    stream_length: int = Field(100_000, gt=0, description="About how many verdicts the stream keeps.")
    stream_limit: int = Field(
        0,
        ge=0,
        description="Most verdicts that the stream keeps for groups of readers that are behind; 0: three times "
        "`MODERATOR_STREAM_LENGTH`. A verdict takes 1 to 6 kB there, more with many categories.",
    )
    redeliver_after: float = Field(
        30.0, gt=0, description="Seconds without a verdict after which a started event is given out again."
    )
    max_attempts: int = Field(5, ge=1, description="Tries before an event becomes a dead letter.")
    retry_delay: float = Field(2.0, gt=0, description="Seconds before the first retry; doubled each time.")

    # --- policies
    policies: Path = Field(
        default_factory=default_policies_folder,
        description="Folder of policies. Default: `./policies`, else the ones that come with the package.",
    )
    default_policy: str = Field("marketplace", description="Policy of events and commands that name none.")

    # --- model
    encoder: str = Field(
        "embedded",
        description="`embedded`; `clip:`, `siglip:` or `auto:` with a hub id (`@revision` to pin) or a local folder; "
        "`openclip:ARCH/PRETRAINED`. See `moderator models list`.",
    )
    device: str = Field("auto", description="`auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, ...")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="`auto`: half precision on CUDA, bfloat16 on CPUs that compute in it, else float32. "
        "`int8` (of the image tower, on a CPU) is the fastest and needs an extra: `openvino` or `onnx`.",
    )
    runtime: Literal["auto", "torch", "onnx", "openvino"] = Field(
        "auto",
        description="What computes the image tower. `auto`: torch, and for `int8` OpenVINO, else ONNX Runtime.",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("moderator")),
        description="Folder for compiled policies and converted models.",
    )

    unload_texts: bool = Field(
        False,
        description="Give the memory of the text tower back once policies are compiled. A changed policy loads it "
        "again, which takes seconds.",
    )
    embedding_cache: int = Field(
        0,
        ge=0,
        description="The embeddings of that many images are kept in Redis, so that workers decode and embed the same "
        "file once; 0: of none. An entry takes about 2 kB per frame and 512 dimensions.",
    )

    # --- worker
    max_batch: int = Field(
        0,
        ge=0,
        description="Most images in one forward pass; 0 chooses 8 on a CPU, 32 there with OpenVINO, 64 on a GPU.",
    )
    threads: int = Field(
        0, ge=0, description="Images decoded at once, in threads or processes; 0 chooses from the cores."
    )
    model_threads: int = Field(
        0, ge=0, description="CPU threads of the model; 0 leaves it to torch (all cores)."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of `/metrics`, `/ready` and `/live`.")
    metrics_port: int = Field(9464, ge=0, le=65535, description="Port of the same; 0 takes a free one.")

    # --- images
    fetch_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders that events may name paths under, comma-separated. None: no paths."
    )
    fetch_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        description="Private networks that URLs may reach, comma-separated CIDR. None: public addresses only.",
    )
    fetch_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="The only hosts that image URLs may name, comma-separated; `*.example.org` for those below it. "
        "None: all.",
    )
    fetch_timeout: float = Field(10.0, gt=0, description="Seconds for a whole download, redirects included.")
    max_bytes: int = Field(25_000_000, gt=0, description="Largest encoded image.")
    max_pixels: int = Field(80_000_000, gt=0, description="Most pixels (width x height x frames looked at).")
    max_frames: int = Field(4, ge=1, description="Frames of an animation that are judged, evenly spread.")
    decode: Literal["processes", "threads"] = Field(
        "processes",
        description="Where the worker decodes: in confined `processes`, which a hostile image may crash, hang or take "
        "over without harm to the worker, or in its own `threads`.",
    )
    decode_timeout: float = Field(10.0, gt=0, description="Seconds for decoding one image.")
    decode_memory: int = Field(
        2_000_000_000, gt=0, description="Bytes of address space of one decoding process."
    )
    jpeg_draft: bool = Field(
        True, description="Decode large JPEGs at a reduced size of at least twice the model's input: faster."
    )

    # --- hosts of images and webhooks
    breaker_failures: int = Field(
        5, ge=0, description="Failures in a row after which a host is left alone for a while; 0: never."
    )
    breaker_cooldown: float = Field(30.0, gt=0, description="Seconds until such a host is probed again.")
    host_patience: float = Field(
        3600.0,
        ge=0,
        description="Seconds that events and webhooks wait for such a host without using up their tries.",
    )

    # --- webhooks
    webhook_secret: SecretStr | None = Field(
        None,
        description="Standard Webhooks secret (`whsec_...`); verdicts go to webhooks only if it is set. Several, "
        "separated by spaces, sign each verdict: for the time in which receivers change to a new one.",
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="The only hosts that webhooks may name, as in `MODERATOR_FETCH_HOSTS`. None: all."
    )
    webhook_attempts: int = Field(
        8, ge=1, description="Tries before a webhook delivery becomes a dead letter."
    )

    # --- outbox
    deliver: Literal["worker", "apart"] = Field(
        "worker",
        description="Who delivers to webhooks and other consumers: each `worker` beside its events, or "
        "`moderator deliver` as a process `apart`.",
    )
    outbox_consumers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Consumers besides webhooks for which each verdict is kept until they have it, comma-separated; "
        "`NAME:embedding` for one that also gets embedding and signal readings. None: none.",
    )
    outbox_limit: int = Field(
        100_000,
        gt=0,
        description="Most deliveries that wait for such a consumer. Above it, verdicts are not kept for it, which "
        "`moderation_outbox_missed_total` counts. One takes 1 to 6 kB, with an embedding about 1 kB more per frame and "
        "512 dimensions.",
    )

    @property
    def most_in_stream(self) -> int:
        """Most verdicts that the stream keeps, whoever is behind."""
        return max(self.stream_length, self.stream_limit or 3 * self.stream_length)

    @field_validator(
        "fetch_roots", "fetch_networks", "fetch_hosts", "webhook_hosts", "outbox_consumers", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("outbox_consumers")
    @classmethod
    def _check_consumers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [entry.partition(":")[0] for entry in value]
        for entry, name in zip(value, names, strict=True):
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}(:embedding)?", entry):
                raise ValueError(f"{entry!r} is neither NAME nor NAME:embedding (a name: a-z, 0-9 and -)")
            if name == "webhooks" or names.count(name) > 1:
                raise ValueError(f"{name!r} is one too many: name each once; webhooks need not be named")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, `.env`, `moderator.toml`."""
        return init_settings, env_settings, dotenv_settings, _TomlFile(settings_cls)


def closest(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is none of the known ones."""
    names = list(known)
    # Upper case is how the environment has them, so it is the likeliest slip.
    lowered = {known_name.lower(): known_name for known_name in names}
    meant = suggestions.closest(name.lower(), lowered)
    return f"did you mean '{lowered[meant]}'?" if meant else "remove it (docs/settings.md lists all settings)"


def unknown_variables() -> Iterator[tuple[str, str]]:
    """Variables of the environment and of `.env` that look like settings and are none, each with what to do.

    They are no errors: other programs may put names of their own beside ours, as Kubernetes does for services.
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    try:
        dotenv = DotEnvSettingsSource(Settings, env_file=DOTENV_FILE).env_vars
    except (OSError, ValueError):  # `load_settings` says so
        dotenv = {}
    for name in sorted({name.upper() for name in (*os.environ, *dotenv)}):
        if name.startswith(PREFIX) and name not in known:
            yield name, closest(name, known)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the settings once per process.

    Raises:
        SettingsError: a value is malformed, or `moderator.toml` has a key that is no setting; the message names each
            and what is wrong with it.
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
