"""Write policies as YAML, and change values in the text of one without losing its comments. Pure."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from moderator.policies.fields import NEVER, NEVER_WORD
from moderator.policies.schema import Policy
from moderator.policies.yaml_reader import read_document

Keys = tuple[str, ...]

_COLUMNS = 110


def policy_text(policy: Policy) -> str:
    """Return the content of a policy file: what has its default is left out, except rules and thresholds."""
    content = policy.model_dump(mode="json", exclude_defaults=True)
    for name, category in policy.categories.items():
        entry = content["categories"][name]
        entry["block"] = category.block
        if category.signal is None and category.unsafe:
            entry["rule"] = category.rule.value
    return document_text(content)


def document_text(content: Mapping[str, object]) -> str:
    """Return the content of a policy file as YAML. It may be no valid policy: `parse_policy` says so."""
    return _block(_plain(content), 0).lstrip("\n") + "\n"


def edit_policy(base_text: str, changes: Mapping[Keys, object]) -> str:
    """Return the text of a policy file with some values replaced, added or removed.

    Comments and layout stay, except inside a value that is replaced as a whole. In a list with one item on each line,
    the lines of items that stay are kept. If the layout does not allow a change in place, the whole file is written
    again, below the comments at its top.

    Args:
        base_text: content of a valid policy file.
        changes: key path, such as `("categories", "weapons", "block")` -> new value; None removes the key.
    """
    text = base_text
    wanted = read_document(base_text.encode()).data
    for keys, value in changes.items():
        _put(wanted, keys, _plain(value))
        try:
            text = _edited(text, keys, _plain(value))
        except (LookupError, yaml.YAMLError):
            break  # what this leaves undone is found below
    if read_document(text.encode()).data == wanted:
        return text
    lines = base_text.splitlines(keepends=True)
    comments = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:comments]) + document_text(wanted)


def _plain(value: Any) -> Any:
    """Return a value with the types and the spelling of a file."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):  # of NumPy, too
        return NEVER_WORD if value == NEVER else float(value)
    return str(value) if isinstance(value, str) else value


def _put(data: Any, keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
    if value is None:
        data.pop(keys[-1], None)
    else:
        data[keys[-1]] = value


def _edited(text: str, keys: Keys, value: Any) -> str:
    """Return the text after one change.

    Raises:
        LookupError: the layout does not allow it.
    """
    node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(keys):
        if not isinstance(node, MappingNode):
            raise LookupError(key)
        found = next((pair for pair in node.value if pair[0].value == key), None)
        if found is None:
            for missing in reversed(keys[depth + 1 :]):
                value = {missing: value}
            return text if value is None else _added(text, node, key, value)
        if depth == len(keys) - 1:
            key_node, old = found
            if value is None:
                return _removed(text, node, key_node, old)
            return _replaced(text, node, key_node, old, value)
        node = found[1]
    raise LookupError


def _added(text: str, parent: MappingNode, key: str, value: Any) -> str:
    if not parent.value:
        raise LookupError(key)
    if parent.flow_style:
        end = parent.value[-1][1].end_mark.index
        return f"{text[:end]}, {key}: {_flow(value)}{text[end:]}"
    indent = parent.value[0][0].start_mark.column
    end = _line_end(text, _end(parent.value[-1][1]))
    gap = "" if text[:end].endswith("\n") else "\n"
    return f"{text[:end]}{gap}{' ' * indent}{key}:{_after_key(value, indent)}\n{text[end:]}"


def _removed(text: str, parent: MappingNode, key: Node, value: Node) -> str:
    if parent.flow_style or len(parent.value) == 1:
        raise LookupError(key)
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    return text[:start] + text[_line_end(text, _end(value)) :]


def _replaced(text: str, parent: MappingNode, key: Node, old: Node, value: Any) -> str:
    start, end = old.start_mark.index, _end(old)
    if isinstance(old, SequenceNode) and isinstance(value, list) and not old.flow_style:
        return _with_items(text, old, value)
    if isinstance(old, ScalarNode) and old.style not in ("|", ">") and not isinstance(value, dict | list):
        return text[:start] + _flow(value) + text[end:]
    if parent.flow_style or (isinstance(old, yaml.CollectionNode) and old.flow_style):
        return text[:start] + _flow(value, key.start_mark.column + 2) + text[end:]
    line_break = "\n" if text[end - 1 : end] == "\n" else ""
    return (
        text[: key.end_mark.index] + ":" + _after_key(value, key.start_mark.column) + line_break + text[end:]
    )


def _with_items(text: str, old: SequenceNode, items: list[Any]) -> str:
    """Return the text with other items in a list of one item on each line: the lines of those that stay are kept."""
    known = [item.value if isinstance(item, ScalarNode) else None for item in old.value]
    kept = [item for item in known if item in items]
    if not kept or items[: len(kept)] != kept:
        raise LookupError
    start = text.rfind("\n", 0, old.value[0].start_mark.index) + 1
    dash = text[start : old.value[0].start_mark.index]
    end = _line_end(text, _end(old))
    gap = "" if text[:end].endswith("\n") else "\n"
    text = text[:end] + gap + "".join(f"{dash}{_flow(item)}\n" for item in items[len(kept) :]) + text[end:]
    for name, item in reversed(list(zip(known, old.value, strict=True))):
        if name not in items:
            start = text.rfind("\n", 0, item.start_mark.index) + 1
            text = text[:start] + text[_line_end(text, _end(item)) :]
    return text


def _end(node: Node) -> int:
    """Return where the last value of a block ends. The block's own end mark comes after the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_end(text: str, index: int) -> int:
    """Return where the line after this one starts; a place behind a line break is such a start."""
    if text[index - 1 : index] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _flow(value: Any, indent: int = 0) -> str:
    """Return a value in flow style; a list that is too long for a line continues below at `indent`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, list):
        return yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True).strip()[1:-1]
    lines, line = [], "["
    for n, item in enumerate(value):
        part = _flow(item) + ("" if n == len(value) - 1 else ",")
        if indent and len(line) > 1 and indent + len(line) + len(part) > _COLUMNS:
            lines.append(line)
            line = part
        else:
            line += part if line == "[" else f" {part}"
    return f"\n{' ' * indent}".join([*lines, f"{line}]"])


def _after_key(value: Any, indent: int) -> str:
    """Return what follows `key:` in a block at `indent`: a value on the same line, or a block below it."""
    if isinstance(value, list) and value and not any(isinstance(item, list) for item in value):
        return "".join(f"\n{' ' * (indent + 2)}- {_flow(item)}" for item in value)
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        return _block(value, indent + 2)
    if isinstance(value, str) and indent + len(value) > _COLUMNS and value == " ".join(value.split()):
        folded = textwrap.wrap(value, _COLUMNS - indent - 2, break_long_words=False, break_on_hyphens=False)
        return " >-" + "".join(f"\n{' ' * (indent + 2)}{line}" for line in folded)
    return f" {_flow(value)}"


def _block(value: dict[str, Any], indent: int) -> str:
    return "".join(f"\n{' ' * indent}{key}:{_after_key(item, indent)}" for key, item in value.items())
