"""Check the recipients of verdicts: groups that read the stream, consumers of the outbox, webhooks that are gone."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from moderator.delivery.consumers import consumer_names
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.queue import keys
from moderator.queue.connection import SentinelLogin, connect
from moderator.queue.deadline import within
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.outbox import ConsumerLag, read_lags
from moderator.queue.stream_state import GroupState, read_stream
from moderator.queue.subscriptions import outbox_names
from moderator.settings import Settings

#: Share of the stream's capacity; a group that lags by more soon misses verdicts.
LAG_WARNING_SHARE = 0.25
#: Age beyond which a slow reader no longer explains an unfinished verdict.
UNFINISHED_WARNING_SECONDS = 3600.0
#: Deadline for all of the server's answers together.
REDIS_TIMEOUT_SECONDS = 2.0
#: Maximum number of hosts that a finding names.
HOSTS_SHOWN_MAX = 5


def examine_readers(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the recipients of verdicts; none if Redis does not answer, which its own part reports."""
    client = connect(settings.redis_url, sentinels=SentinelLogin.of(settings))
    try:
        with within(REDIS_TIMEOUT_SECONDS):
            groups = read_stream(client).groups
            disabled = list(DisabledWebhooks(client))
            lags = read_lags(client, consumer_names(settings))
    except RedisError:
        return
    finally:
        client.close()
    if not groups:
        yield ok("stream.readers", "no group reads the stream of verdicts")
    for group in groups:
        yield check_group(group, settings.most_in_stream)
    for lag in lags:
        yield check_consumer(lag, settings)
    yield check_webhooks([url for url, _ in disabled])


def check_group(group: GroupState, limit: int) -> Finding:
    """Check that a group keeps up with the stream."""
    check, name = "stream.readers", f"the group '{group.name}' of readers"
    remedy = (
        "start its readers or more of them; delete a group that nobody uses: "
        f"redis-cli XGROUP DESTROY moderation:verdicts {group.name}"
    )
    if group.missed:
        return problem(check, f"{name} missed {group.missed} verdicts: they left the stream unread", remedy)
    if group.lag is not None and group.lag > LAG_WARNING_SHARE * limit:
        message = (
            f"{name} is {group.lag} verdicts behind, of {limit} that the stream keeps; then they are missed"
        )
        return warning(check, message, remedy)
    if group.oldest_age > UNFINISHED_WARNING_SECONDS:
        message = (
            f"{name} has not finished a verdict that was published {group.oldest_age / 3600:.1f} h ago "
            f"({group.pending} given and not acknowledged)"
        )
        return warning(check, message, remedy)
    return ok(check, f"{name} keeps up")


def check_consumer(lag: ConsumerLag, settings: Settings) -> Finding:
    """Check that a consumer of the outbox keeps up with the verdicts."""
    check, name = "outbox.consumers", f"the consumer '{lag.consumer}' of the outbox"
    where = "a worker" if settings.deliver == "worker" else "`moderator deliver`"
    remedy = f"see that {where} runs with this consumer, and what its log says"
    if lag.missed:
        message = (
            f"{name} missed {lag.missed} verdicts: {settings.outbox_limit} waited for it "
            "(MODERATOR_OUTBOX_LIMIT)"
        )
        known = f"redis-cli HDEL {keys.OUTBOX_MISSED} {outbox_names(lag.consumer)[0]}"
        return problem(check, message, f"{remedy}; once this is known: {known}")
    if lag.oldest_age > UNFINISHED_WARNING_SECONDS:
        message = f"{lag.waiting} verdicts wait for {name}, one of them for {lag.oldest_age / 3600:.1f} h"
        return warning(check, message, remedy)
    return ok(check, f"{name} keeps up")


def check_webhooks(urls: list[str]) -> Finding:
    """Report webhooks that no longer get anything. Only their hosts are shown: the rest of a URL may hold a secret."""
    if not urls:
        return ok("webhooks.disabled", "no webhook is disabled")
    hosts = sorted({urlsplit(url).hostname or "" for url in urls})
    more = f" and {len(hosts) - HOSTS_SHOWN_MAX} more" if len(hosts) > HOSTS_SHOWN_MAX else ""
    shown = ", ".join(hosts[:HOSTS_SHOWN_MAX]) + more
    message = f"{len(urls)} webhooks answered 410 Gone and get no more deliveries: {shown}"
    remedy = "send no more events that name them; if it was a mistake: moderator webhooks enable"
    return warning("webhooks.disabled", message, remedy)
