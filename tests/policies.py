"""Releases and activates policies for tests, without checks beyond the format."""

from pathlib import Path

from moderator.policies.pointer_schema import Pointer
from moderator.policies.schema import Policy
from moderator.policies.store import PolicyStore


def unchecked(folder: Path) -> PolicyStore:
    return PolicyStore(folder, check=lambda policy: None)


def release(folder: Path, name: str, version: int) -> Policy:
    return unchecked(folder).release(name, version)


def activate(folder: Path, name: str, version: int) -> Pointer:
    return unchecked(folder).activate(name, version).now
