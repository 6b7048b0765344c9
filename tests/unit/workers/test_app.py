from typing import Any

from moderator.queue.keys import TASK
from moderator.settings import Settings
from workers.app import make_app


def test_each_app_has_a_task_of_its_own() -> None:
    """A consumer that died is followed by one with an app of its own."""
    handled: list[tuple[int, Any]] = []
    settings = Settings(redis_url="redis://localhost:1/0")
    apps = [
        make_app(settings, lambda body, n=n: handled.append((n, body)), refuse=print, slots=1)
        for n in range(2)
    ]
    for app in apps:
        app.finalize()
        app.tasks[TASK]({"images": []})
    assert handled == [(0, {"images": []}), (1, {"images": []})]
