"""Read and edit the text of `active.yaml`, which names the version of each policy that decides."""

from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from moderator.errors import PolicyInvalid
from moderator.policies.loader import POINTER_FILE, Pointers, parse_pointers, read_file
from moderator.policies.pointer_schema import Pointer


def read_pointers(folder: Path) -> Pointers:
    """Read `active.yaml` of a policy folder; without that file, nothing is active.

    Raises:
        PolicyInvalid: the file is not valid.
    """
    path = folder / POINTER_FILE
    return parse_pointers(read_file(path, missing=b""), str(path))


def with_pointer(text: str, name: str, pointer: Pointer) -> str:
    """Return the text of a valid pointer file with one policy's pointer replaced or added.

    Comments and layout stay, except inside an entry whose shadows or canary change. If the layout does not
    allow that, the whole file is rewritten.
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
    """Return the key and the value of an entry."""
    if isinstance(node, MappingNode):
        for key_node, value in node.value:
            if isinstance(key_node, ScalarNode) and key_node.value == key:
                return key_node, value
    return None, None


def _end(node: Node) -> int:
    """Return where the last value of a block ends. The block's own end mark comes after the comments that follow."""
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
