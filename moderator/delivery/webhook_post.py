"""Post one signed message to a webhook, according to Standard Webhooks."""

from base64 import b64decode
from datetime import UTC, datetime

from standardwebhooks import Webhook

from moderator.delivery.message_format import Message
from moderator.errors import FetchRefused, SettingsError
from moderator.fetching.breaker import Breakers
from moderator.fetching.http import GuardedClient, PostAnswer
from moderator.fetching.urls import AllowedHosts
from moderator.settings import Settings


class WebhookPoster:
    """Signs messages and posts them to addresses that the settings allow. Threads may share it.

    Args:
        settings: secrets and address rules.
        breakers: circuit breakers of hosts that keep failing.

    Raises:
        SettingsError: a secret is no Standard Webhooks secret, or an allowed host is no host name.
    """

    def __init__(self, settings: Settings, breakers: Breakers | None = None) -> None:
        self._client = GuardedClient(
            settings.fetch_networks,
            settings.fetch_timeout,
            hosts=AllowedHosts.from_setting(settings.webhook_hosts, "MODERATOR_WEBHOOK_HOSTS"),
            breakers=breakers,
        )
        secrets = settings.webhook_secret.get_secret_value() if settings.webhook_secret is not None else None
        self._signers = [] if secrets is None else [Webhook(key) for key in _keys(secrets)]

    def post(self, url: str, message: Message) -> PostAnswer:
        """Post a message; return the answer, whatever its status.

        Raises:
            FetchRefused: no secret is set, or the URL is not allowed.
            FetchFailed: timeout or connection error; a retry may help.
            HostUnavailable: the host failed too often recently and was not contacted.
        """
        if not self._signers:
            raise FetchRefused("MODERATOR_WEBHOOK_SECRET is not set: verdicts are not sent unsigned")
        now = datetime.now(UTC)
        signatures = [signer.sign(message.id, now, message.body.decode()) for signer in self._signers]
        headers = {
            "content-type": message.content_type,
            "user-agent": "moderator",
            "moderation-type": message.type,
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            # One for each secret: receivers accept any, so they may have the old or the new one.
            "webhook-signature": " ".join(signatures),
        }
        return self._client.post(url, message.body, headers)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _keys(secrets: str) -> list[bytes]:
    """Return the keys in Standard Webhooks secrets. The library would take the rest of a misspelt one as the key."""
    keys = []
    for number, secret in enumerate(secrets.split(), 1):
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError as error:
            raise SettingsError(
                f"MODERATOR_WEBHOOK_SECRET: secret {number} is not `whsec_` and base64"
            ) from error
        if not key:
            raise SettingsError(
                f"MODERATOR_WEBHOOK_SECRET: secret {number} is empty; give `whsec_` and 24 to 64 bytes in base64"
            )
        keys.append(key)
    if not keys:
        raise SettingsError("MODERATOR_WEBHOOK_SECRET is empty; give `whsec_` and 24 to 64 bytes in base64")
    return keys
