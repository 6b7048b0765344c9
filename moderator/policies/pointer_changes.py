"""The changes that commands make to a policy's pointer, and which of them are refused. Pure."""

from moderator.errors import PolicyConflict
from moderator.policies.fields import MAX_SHADOWS
from moderator.policies.pointer_schema import Canary, Pointer


def pointed_at(pointer: Pointer | None, version: int) -> Pointer:
    """Return a policy's pointer with another active version.

    If that version was a shadow or the canary, it no longer is. Other shadows and another canary stay.
    """
    if pointer is None:
        return Pointer(active=version)
    canary = pointer.canary if pointer.canary and pointer.canary.version != version else None
    shadow = tuple(v for v in pointer.shadow if v != version)
    return Pointer(active=version, shadow=shadow, canary=canary)


def with_shadow(pointer: Pointer, name: str, version: int) -> Pointer:
    """Return the pointer of policy `name` with a further shadow.

    Raises:
        PolicyConflict: the version is active, or there are too many shadows.
    """
    if version in pointer.shadow:
        return pointer
    if version == pointer.active:
        raise PolicyConflict(
            f"{name}@{version} is active, and would look on beside itself; name another version"
        )
    if len(pointer.shadow) == MAX_SHADOWS:
        ended = f"moderator policy shadow {name}@{pointer.shadow[0]} --off"
        raise PolicyConflict(f"'{name}' has {MAX_SHADOWS} shadows, and no more are allowed; end one: {ended}")
    return Pointer(active=pointer.active, shadow=(*pointer.shadow, version), canary=pointer.canary)


def without_shadow(pointer: Pointer, version: int) -> Pointer:
    """Return a pointer in which a version is no shadow."""
    shadow = tuple(v for v in pointer.shadow if v != version)
    return Pointer(active=pointer.active, shadow=shadow, canary=pointer.canary)


def with_canary(pointer: Pointer, name: str, version: int, percent: float) -> Pointer:
    """Return the pointer of policy `name` with a version that decides for a share of the events, and no other canary.

    Raises:
        PolicyConflict: the version is active.
    """
    if version == pointer.active:
        raise PolicyConflict(
            f"{name}@{version} is active, and decides for all other events; name another version"
        )
    return Pointer(
        active=pointer.active, shadow=pointer.shadow, canary=Canary(version=version, percent=percent)
    )


def without_canary(pointer: Pointer, name: str, version: int) -> Pointer:
    """Return the pointer of policy `name` without a canary.

    Raises:
        PolicyConflict: another version is the canary.
    """
    if pointer.canary and pointer.canary.version != version:
        canary = f"{name}@{pointer.canary.version}"
        raise PolicyConflict(
            f"the canary is {canary}, not {name}@{version}; end it: moderator policy canary {canary} --off"
        )
    # Beside a canary, the active version may be listed as a shadow; alone, it may not.
    return Pointer(active=pointer.active, shadow=without_shadow(pointer, pointer.active).shadow)


def promoted(pointer: Pointer | None, name: str, version: int) -> Pointer:
    """Return the pointer of policy `name` with a shadow or the canary as the active version.

    Raises:
        PolicyConflict: the version is neither.
    """
    if pointer is not None and version == pointer.active:
        raise PolicyConflict(f"{name}@{version} is active already; see: moderator policy log {name}")
    canary = pointer.canary.version if pointer and pointer.canary else None
    if pointer is None or version not in (*pointer.shadow, canary):
        raise PolicyConflict(
            f"{name}@{version} is neither a shadow nor the canary; try it first: moderator policy shadow "
            f"{name}@{version}, or let it decide untried: moderator policy activate {name}@{version}"
        )
    return pointed_at(pointer, version)
