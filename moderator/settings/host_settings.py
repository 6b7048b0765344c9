"""Settings section for hosts: when calls to a failing host of images or webhooks pause, and for how long."""

from pydantic import Field

from moderator.settings.section import Section


class HostSettings(Section):
    """When calls to a failing host of images or webhooks pause, and for how long."""

    breaker_failures: int = Field(
        5, ge=0, description="Failures in a row after which a host is left alone for a while; 0: never."
    )
    breaker_cooldown: float = Field(30.0, gt=0, description="Seconds until such a host is probed again.")
    host_patience: float = Field(
        3600.0,
        ge=0,
        description="Seconds that events and webhooks wait for such a host without using up their tries.",
    )
