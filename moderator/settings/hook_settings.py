"""Settings section for hooks: what upload servers and object stores may report, and what happens without a verdict."""

import re
from enum import StrEnum

from pydantic import Field, SecretStr, field_validator

from moderator.settings.section import CommaSeparated, Section

HOOKS = ("tusd", "s3", "sns", "gcs", "azure", "imgproxy")


class FailurePolicy(StrEnum):
    """What a hook answers when moderation cannot be reached. `hold`: wait for a verdict."""

    HOLD = "hold"
    ALLOW = "allow"
    REJECT = "reject"


class HookSettings(Section):
    """What upload servers and object stores may report, and what happens without a verdict."""

    hook_failure: CommaSeparated[str] = Field(
        (),
        description="What a hook answers when moderation cannot be reached in time, comma-separated: `HOOK=hold`, "
        "`HOOK=allow` or `HOOK=reject`; hooks are tusd, s3, sns, gcs, azure, imgproxy. None: `hold` for each.",
    )
    hook_wait: float = Field(
        10.0,
        gt=0,
        description="Seconds that hooks with a verdict in the answer wait for it; tusd gives up after 15.",
    )
    hook_types: CommaSeparated[str] = Field(
        (
            *("image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/tiff", "image/webp"),
            *("image/vnd.microsoft.icon", "image/x-icon", "image/x-ms-bmp"),
        ),
        description="Media types that uploads may state when tusd creates them, comma-separated.",
    )
    sns_topics: CommaSeparated[str] = Field(
        (), description="ARNs of the SNS topics whose messages are read, comma-separated. None: none."
    )
    sns_hosts: CommaSeparated[str] = Field(
        (),
        description="Hosts besides Amazon's at which subscriptions to these topics may be confirmed, comma-separated.",
    )
    imgproxy_key: SecretStr | None = Field(
        None, description="imgproxy's key, in hex. None: signatures of its paths are not checked."
    )
    imgproxy_policy: str | None = Field(
        None, description="Policy for images that imgproxy is asked for. None: `MODERATOR_DEFAULT_POLICY`."
    )
    imgproxy_salt: SecretStr | None = Field(None, description="imgproxy's salt, in hex.")

    @field_validator("hook_failure")
    @classmethod
    def _check_failure(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            hook, _, policy = entry.partition("=")
            if hook not in HOOKS or policy not in list(FailurePolicy):
                raise ValueError(
                    f"{entry!r} is not HOOK=hold, HOOK=allow or HOOK=reject with a hook of {HOOKS}"
                )
        return value

    @field_validator("imgproxy_key", "imgproxy_salt")
    @classmethod
    def _check_hex(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", value.get_secret_value()):
            raise ValueError("give pairs of hexadecimal digits, as imgproxy has them")
        return value

    def failure_policy(self, hook: str) -> FailurePolicy:
        """Return what a hook answers when moderation cannot be reached."""
        chosen = dict(entry.split("=") for entry in self.hook_failure)
        return FailurePolicy(chosen.get(hook, FailurePolicy.HOLD))
