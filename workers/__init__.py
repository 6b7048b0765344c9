"""The Celery workers: queue in, verdicts out. Thin: the processing of images is in `moderator`."""
