"""Changes which version of a policy is active, in `active.yaml`, with the rest of the file left alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from moderator.errors import PolicyInvalid, PolicyUnreleased
from moderator.policies.files import locked, replace_text
from moderator.policies.loader import POINTER_FILE, Pointers, load_policy, parse_pointers, read_file
from moderator.policies.releases import read_releases, verify
from moderator.policies.schema import Pointer, Policy


def read_pointers(folder: Path) -> Pointers:
    """Read `active.yaml` of a policy folder; without one, nothing is active.

    Raises:
        PolicyInvalid: the file is not valid.
    """
    path = folder / POINTER_FILE
    return parse_pointers(read_file(path, missing=b""), str(path))


@dataclass(frozen=True)
class Activation:
    """A policy's pointer before and after."""

    before: Pointer | None
    now: Pointer


def activate(folder: Path, name: str, version: int) -> Pointer:
    """Make a released version the active one, and return the policy's new pointer; see `swap_active`."""
    return swap_active(folder, name, version).now


def swap_active(
    folder: Path, name: str, version: int, check: Callable[[Policy], object] = lambda policy: None
) -> Activation:
    """Make a released version the active one.

    Where the version was a shadow or the canary, it is no longer. Other shadows and another canary stay.
    Activations side by side, of several processes, wait for one another, and none is lost.

    Args:
        folder: of policies.
        name: of the policy.
        version: of the policy.
        check: is given the version; what it raises keeps it from being activated.

    Raises:
        PolicyInvalid: the policy, the lock file or `active.yaml` is not valid.
        PolicyUnreleased: the version is not released.
        PolicyChanged: the version was edited after its release.
        PolicyNotWritten: the folder cannot be changed.
    """
    # Outside the lock: it may take long. A released version does not change meanwhile.
    check(_released(folder, name, version))
    with locked(folder):
        _released(folder, name, version)
        path = folder / POINTER_FILE
        old = read_pointers(folder).get(name)
        pointer = Pointer(active=version)
        if old:
            canary = old.canary if old.canary and old.canary.version != version else None
            shadow = tuple(v for v in old.shadow if v != version)
            pointer = Pointer(active=version, shadow=shadow, canary=canary)
        if pointer != old:
            text = read_file(path, missing=b"").decode("utf-8-sig")
            replace_text(path, with_pointer(text, name, pointer))
        return Activation(old, pointer)


def _released(folder: Path, name: str, version: int) -> Policy:
    policy = load_policy(folder / name / f"{version}.yaml")
    if not verify(policy, read_releases(folder)):
        raise PolicyUnreleased(
            f"{policy.reference} is not released, and only released versions decide: "
            f"run 'moderator policy release {policy.reference}' first"
        )
    return policy


def with_pointer(text: str, name: str, pointer: Pointer) -> str:
    """The text of a valid pointer file with one policy's pointer replaced or added.

    Comments and layout stay, except inside an entry whose shadows or canary change. Where the layout does not
    allow that, the file is written anew.
    """
    wanted = {**parse_pointers(text), name: pointer}
    edited = _edit(text, name, pointer)
    try:
        if parse_pointers(edited) == wanted:
            return edited
    except PolicyInvalid:
        pass
    return "".join(f"{n}: {_flow(wanted[n])}\n" for n in sorted(wanted))


def _edit(text: str, name: str, pointer: Pointer) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader) if text.strip() else None
    key, entry = _entry(root, name)
    if key is None or not isinstance(entry, MappingNode):
        gap = "\n" if text and not text.endswith("\n") else ""
        return f"{text}{gap}{name}: {_flow(pointer)}\n"
    old = parse_pointers(text)[name]
    active = _entry(entry, "active")[1]
    if active is not None and (old.shadow, old.canary) == (pointer.shadow, pointer.canary):
        return f"{text[: active.start_mark.index]}{pointer.active}{text[active.end_mark.index :]}"
    if entry.flow_style:
        return f"{text[: entry.start_mark.index]}{_flow(pointer)}{text[entry.end_mark.index :]}"
    return f"{text[: key.end_mark.index]}: {_flow(pointer)}{text[_end(entry) :]}"


def _entry(node: Node | None, key: str) -> tuple[Node, Node] | tuple[None, None]:
    """The key and the value of an entry."""
    if isinstance(node, MappingNode):
        for key_node, value in node.value:
            if isinstance(key_node, ScalarNode) and key_node.value == key:
                return key_node, value
    return None, None


def _end(node: Node) -> int:
    """Where the last value of a block ends. Its own end mark lies behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _flow(pointer: Pointer) -> str:
    parts = [f"active: {pointer.active}"]
    if pointer.shadow:
        parts.append(f"shadow: [{', '.join(map(str, pointer.shadow))}]")
    if pointer.canary:
        percent = format(pointer.canary.percent, ".15g")
        parts.append(f"canary: {{version: {pointer.canary.version}, percent: {percent}}}")
    return "{" + ", ".join(parts) + "}"
