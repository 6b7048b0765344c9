"""Django: refuse a picture while its form is validated, and submit what is saved."""

from functools import cache
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from moderator import Client
from moderator.errors import EventInvalid, ModeratorError

MAX_BYTES = 25_000_000  # as MODERATOR_MAX_BYTES
client = cache(Client)  # one for the process, made at its first use


def validate_image(file: Any) -> None:
    """Refuse what is blocked: `models.ImageField(validators=[validate_image])`."""
    if file.size > MAX_BYTES:
        raise ValidationError("This picture is too large.", code="too-large")
    file.seek(0)
    try:
        verdict = client().check(inline=file.read(), source="django", policy="marketplace", timeout=15)
    except EventInvalid as error:
        raise ValidationError("This file is no picture.", code="invalid") from error
    except ModeratorError as error:
        raise ValidationError(
            "This picture cannot be checked now. Please try again.", code="unchecked"
        ) from error
    finally:
        file.seek(0)
    if verdict.decision in ("block", "error"):
        raise ValidationError("This picture is not allowed here.", code=verdict.top_category or "unreadable")


def submit_saved(instance: Any, created: bool, **_: Any) -> None:
    """Submit a new picture once it is saved: `post_save.connect(submit_saved, sender=Photo)`."""
    event = {
        "path": instance.image.path,
        "id": f"photo-{instance.pk}",
        "source": "django",
        "priority": "bulk",
    }
    if created:
        transaction.on_commit(lambda: client().submit(**event))
