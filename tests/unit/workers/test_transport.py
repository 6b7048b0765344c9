"""How many messages the worker takes; that it takes them at all is tested with a real server."""

import json
from typing import Any

import pytest
from kombu import Message
from kombu.transport.virtual import QoS

from moderator.queue.message import encode_message
from workers.transport import _CountsImages

IMAGE = {"path": "/a"}


class ImagesQoS(_CountsImages, QoS):
    """kombu's part that needs no server."""

    restore_at_shutdown = False


@pytest.fixture
def qos() -> ImagesQoS:
    return ImagesQoS(channel=None, prefetch_count=4)


def take(qos: ImagesQoS, tag: str, body: Any) -> None:
    qos.append(Message(headers=json.loads(encode_message(body, "moderation.bulk"))["headers"]), tag)


def test_messages_are_taken_for_so_many_images(qos: ImagesQoS) -> None:
    for n in range(4):
        assert qos.can_consume()
        take(qos, f"{n}", {"image": IMAGE})
    assert not qos.can_consume()
    qos.ack("2")
    assert qos.can_consume()


def test_one_message_may_have_more_images_than_there_is_room_for(qos: ImagesQoS) -> None:
    take(qos, "a", {"images": [IMAGE] * 3})
    assert qos.can_consume()
    take(qos, "b", {"images": [IMAGE] * 1000})
    assert not qos.can_consume()
    qos.ack("b")
    assert qos.can_consume()


def test_without_a_limit_all_are_taken() -> None:
    qos = ImagesQoS(channel=None)
    take(qos, "a", {"images": [IMAGE] * 1000})
    assert qos.can_consume()
