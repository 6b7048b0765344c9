"""Refuse events that no worker could ever judge before they are queued. Pure.

A worker checks each event again, and more thoroughly: what its settings allow is not known here.
"""

import os.path
from collections.abc import Collection, Sequence

from moderator.errors import EventInvalid, FetchRefused, ImageError, PolicyNotFound
from moderator.events import Event, ImageReference
from moderator.fetching.object_keys import parse_object_name
from moderator.fetching.sources.inline import decode_inline
from moderator.fetching.urls import parse_url
from moderator.policies.fields import MAX_NAME
from moderator.policies.references import parse_reference

#: Characters of inline images in one message, which is encoded once more; Redis takes no value above 512 MB.
MAX_INLINE_CHARACTERS = 256_000_000


def check_submission(events: Sequence[Event], max_bytes: int, buckets: Collection[str] = ()) -> None:
    """Check the events of a message: one, or those of a bulk message.

    Args:
        events: as `parse_message` returns them.
        max_bytes: most bytes of an image.
        buckets: what `key` may name objects of.

    Raises:
        EventInvalid: the message names the key, the cause and the remedy.
    """
    for number, event in enumerate(events):
        where = "image" if len(events) == 1 else f"images.{number}"
        _check_image(event.image, where, max_bytes, buckets)
    common = events[0]
    if common.policy:
        _check_policy(common.policy)
    if common.reply.webhook:
        _check_url(common.reply.webhook, "reply.webhook")
    size = sum(len(event.image.inline or "") for event in events)
    if size > MAX_INLINE_CHARACTERS:
        raise EventInvalid(
            f"images: {size} characters of inline images are more than {MAX_INLINE_CHARACTERS}; send several messages"
        )


def _check_image(image: ImageReference, where: str, max_bytes: int, buckets: Collection[str]) -> None:
    if image.path is not None:
        if not os.path.isabs(image.path) or "\0" in image.path:
            raise EventInvalid(
                f"{where}.path: is not absolute, and workers run in other folders; give the whole path, as they see it"
            )
    elif image.url is not None:
        _check_url(image.url, f"{where}.url")
    elif image.inline is not None:
        try:
            empty = not decode_inline(image.inline, max_bytes)
        except ImageError as error:
            raise EventInvalid(f"{where}.inline: {error}") from error
        if empty:
            raise EventInvalid(f"{where}.inline: is empty; send the bytes of the image file")
    elif image.key is not None:
        try:
            parse_object_name(image.key, buckets)
        except FetchRefused as error:
            raise EventInvalid(f"{where}.key: {error}") from error


def _check_url(url: str, where: str) -> None:
    try:
        parse_url(url)
    except FetchRefused as error:
        raise EventInvalid(f"{where}: {error}") from error


def _check_policy(text: str) -> None:
    try:
        name, _ = parse_reference(text)
    except PolicyNotFound as error:
        raise EventInvalid(f"policy: {error}") from error
    if len(name) > MAX_NAME:
        raise EventInvalid(f"policy: the name has {len(name)} characters; no policy has more than {MAX_NAME}")
