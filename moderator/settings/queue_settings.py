"""Settings section for the queue: Redis, limits of queue and spool, and retries of events."""

from pathlib import Path

from pydantic import Field, SecretStr

from moderator.settings.section import Section


class QueueSettings(Section):
    """Redis, limits of queue and spool, and retries of events."""

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

    @property
    def most_in_stream(self) -> int:
        """Maximum number of verdicts that the stream keeps, even if readers are behind."""
        return max(self.stream_length, self.stream_limit or 3 * self.stream_length)
