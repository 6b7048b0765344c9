"""The Celery workers: queue in, verdicts out. Thin: what they do to an image is in `moderator`."""
