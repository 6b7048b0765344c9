"""The metric of actions on objects: their number by result."""

from moderator.metrics import MetricRow

#: What became of an action: done (or done before), only logged, or the object does not exist any more.
RESULTS_OF_ACTIONS = ("done", "dry-run", "gone")

OBJECT_ACTIONS = MetricRow(
    "moderation_object_actions_total",
    "counter",
    ("action", "result"),
    "Actions on objects in buckets, by result: done, dry-run (logged only) or gone (there is no such object).",
)
