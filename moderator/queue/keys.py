"""Names of everything in Redis. Other programs depend on the queue, the stream and the verdict keys."""

from moderator.events import Priority

#: Celery task and its queues. A message for the task on either queue is a valid event from any language.
TASK = "moderation.check"
QUEUES = {Priority.INTERACTIVE: "moderation", Priority.BULK: "moderation.bulk"}

#: Stream of verdicts: field `verdict` holds the JSON.
VERDICTS = "moderation:verdicts"

#: Sorted set of the events without a verdict, by the time at which the ledger checks them again.
PENDING = "moderation:pending"

#: Bytes that these events take, and how often each queue had no room for a message.
PENDING_BYTES = "moderation:pending-bytes"
REFUSALS = "moderation:refusals"

#: Sorted set of dead letters, by the time of death.
DEAD_LETTERS = "moderation:dead-letters"

#: Messages that Celery's consumer has taken and not acknowledged. Not under Celery's own names (`unacked`, ...): there,
#: each Celery worker on a database redelivers what any other has held for longer than its own time limit.
UNACKED = "moderation:unacked"
UNACKED_INDEX = "moderation:unacked-index"
UNACKED_MUTEX = "moderation:unacked-mutex"

#: Celery's own names for these, under which earlier versions kept them.
SHARED_UNACKED, SHARED_UNACKED_INDEX = "unacked", "unacked_index"

#: Sorted set of webhook deliveries, by the time at which they are due.
WEBHOOKS = "moderation:webhooks"

#: Sorted set of the webhook URLs that asked for no more deliveries, by the time at which they did.
DISABLED_WEBHOOKS = "moderation:webhooks-disabled"

#: Sorted set of the webhooks in the delivery log, by the time of the last attempt.
DELIVERY_TARGETS = "moderation:delivery-targets"

#: Number of verdicts not kept for each further consumer of the outbox, by the name of its list.
OUTBOX_MISSED = "moderation:outbox-missed"

#: Sorted set of images with cached embeddings, by the time of their last use.
EMBEDDINGS = "moderation:embeddings"

#: Sorted set of the policies that workers know, by the time until which an announcement holds.
KNOWN_POLICIES = "moderation:known-policies"
#: Sorted set of live workers, likewise, and what each holds of the policies, by the name of the worker.
LIVE_WORKERS = "moderation:live-workers"
HELD_POLICIES = "moderation:held-policies"

# Prefixes; an event's key (`Event.key`) follows. Verdict keys are also pub/sub channels that announce an answer.
VERDICT_PREFIX = "moderation:verdict:"
RECORD_PREFIX = "moderation:event:"
DEAD_LETTER_PREFIX = "moderation:dead-letter:"
WEBHOOK_PREFIX = "moderation:webhook:"
#: The webhook of an event that has a verdict, kept for as long.
REPLY_PREFIX = "moderation:reply:"
#: `event:` and the key of an event follow, or `target:` and the digest of a webhook's address.
DELIVERY_LOG_PREFIX = "moderation:delivery-log:"
#: The name of a consumer follows, alone for the sorted set of its deliveries, with `:` and a key for one of them.
OUTBOX_PREFIX = "moderation:outbox:"
EMBEDDING_PREFIX = "moderation:embedding:"
#: The name of an object in a store follows.
OBJECT_PREFIX = "moderation:object:"

#: Set of the ids of API keys; the record of each by its id, and how much of its rate it has used.
API_KEYS = "moderation:api-keys"
API_KEY_PREFIX = "moderation:api-key:"
API_RATE_PREFIX = "moderation:api-rate:"
