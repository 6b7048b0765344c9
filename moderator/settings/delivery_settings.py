"""Settings section for delivery: which process delivers verdicts, to which webhooks and other consumers."""

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from moderator.settings.section import CommaSeparated, Section


class DeliverySettings(Section):
    """Which process delivers verdicts, to which webhooks and other consumers."""

    webhook_secret: SecretStr | None = Field(
        None,
        description="Standard Webhooks secret (`whsec_...`); verdicts go to webhooks only if it is set. Several, "
        "separated by spaces, sign each verdict: for the time in which receivers change to a new one.",
    )
    webhook_hosts: CommaSeparated[str] = Field(
        (), description="The only hosts that webhooks may name, as in `MODERATOR_FETCH_HOSTS`. None: all."
    )
    webhook_attempts: int = Field(
        16,
        ge=1,
        description="Tries before a webhook delivery becomes a dead letter; 16 take about 14 hours with the default "
        "`MODERATOR_RETRY_DELAY`, 8 about 4 minutes.",
    )
    webhook_log: int = Field(
        100,
        ge=0,
        le=10_000,
        description="Latest deliveries to each webhook that `moderator webhooks show` can show, for a week; 0: none. "
        "One takes about 0.4 kB.",
    )
    verdict_format: Literal["plain", "cloudevents"] = Field(
        "plain",
        description="What webhooks get: the verdict `plain`, or as `data` of a CloudEvent in structured mode "
        "(`cloudevents`). The stream always has plain verdicts.",
    )
    deliver: Literal["worker", "apart"] = Field(
        "worker",
        description="Who delivers to webhooks and other consumers: each `worker` beside its events, or "
        "`moderator deliver` as a process `apart`.",
    )
    outbox_consumers: CommaSeparated[str] = Field(
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
