"""Read YAML as plain data with the line of every key, with a bound on everything that a hostile file could inflate.

The reader accepts only what the policy format needs: mappings, lists, text, decimal numbers, `true`/`false` and
null. PyYAML's `SafeLoader` parses; no Python object is ever built from a tag.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from moderator.policies.characters import find_invisible, named

#: Bounds on the bytes of a file, levels of nesting, aliases, and values (with aliases expanded).
MAX_BYTES = 1_000_000
MAX_DEPTH = 12
MAX_ALIASES = 20
MAX_VALUES = 20_000

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]{1,18}\.[0-9]{0,30}|\.[0-9]{1,30})([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Fault:
    """A problem at a place in a file; the message says how to fix it."""

    line: int
    path: KeyPath
    message: str


@dataclass
class Document:
    """The content of a file. `complete` is False if `data` lacks some of it."""

    data: Any = None
    complete: bool = True
    empty: bool = False
    """Whether the file has nothing but comments."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """The line of each key and list item, from 1."""
    written: dict[KeyPath, str] = field(default_factory=dict)
    """Each value that YAML does not read as text, as written in the file."""
    faults: list[Fault] = field(default_factory=list)
    invisible: dict[int, tuple[int, str]] = field(default_factory=dict)
    """The first invisible character of each line that has one, with its column, from 1."""

    def line_of(self, path: KeyPath) -> int:
        """Return the line of a key, or of the nearest key above it if the file lacks the key."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def value_at(self, path: KeyPath) -> Any:
        """Return the value at a path, or None if there is none."""
        value = self.data
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return value


class _Refused(yaml.MarkedYAMLError):
    """A bound is exceeded; the message names the bound and the remedy."""


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with bounds on what the composer recurses into."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._aliases = 0
        self._nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > MAX_ALIASES:
                problem = f"more than {MAX_ALIASES} aliases (*name) are not allowed; write the values out"
                raise _Refused(problem=problem, problem_mark=mark)
        self._nodes += 1
        if self._nodes > 2 * MAX_VALUES:  # keys count as well
            problem = f"more than {MAX_VALUES} values; split the policy"
            raise _Refused(problem=problem, problem_mark=mark)
        if self._depth >= MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} levels deep; a policy needs 5, so check the brackets"
            raise _Refused(problem=problem, problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def read_document(content: bytes) -> Document:
    """Parse the content of a file. Never raises: the document's `faults` list what is wrong."""
    if len(content) > MAX_BYTES:
        return _broken(1, f"the file is larger than {MAX_BYTES // 1_000_000} MB; split the policy")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _broken(line, "is not UTF-8 text; save the file in the encoding UTF-8")
    document = _parse(text)
    for line, column, character in find_invisible(text):
        document.invisible.setdefault(line, (column, character))
    return document


def _parse(text: str) -> Document:
    try:
        loader = _BoundedLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        character = named(chr(error.character))
        return _broken(line, f"contains the control character {character} at column {column}; remove it")
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        return _broken(*_syntax(error))
    except (ValueError, OverflowError):
        # PyYAML lets these escape for escapes beyond Unicode ("\U99999999") and endless version numbers.
        return _broken(loader.line + 1, "not valid YAML: a number or escape is out of range; correct it")
    if node is None:
        document = _broken(1, "the file is empty; start from another version of the policy")
        document.empty = True
        return document
    document = Document(lines={(): node.start_mark.line + 1})
    try:
        document.data = _Reader(document).read(node, ())
    except _Refused as error:
        return _broken(*_syntax(error))
    return document


def _broken(line: int, message: str) -> Document:
    return Document(complete=False, faults=[Fault(line, (), message)])


def _syntax(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = str(error.problem or "cannot be read")
    if isinstance(error, _Refused):
        return line, problem
    if "'\\t'" in problem:
        remedy = "indent with spaces, not with tabs"
    elif "cannot start any token" in problem or "alias" in problem or "anchor" in problem or "tag" in problem:
        remedy = "put text that starts with a special character in quotes"
    elif "mapping values are not allowed" in problem:
        remedy = "put text that contains a colon in quotes, or check the indentation"
    elif "document" in problem:
        remedy = "keep one policy in a file, without '---' lines in it"
    elif "stream" in problem or "quoted scalar" in str(error.context or "") or "',' or" in problem:
        remedy = "close the bracket or quote that this line or one above it opens"
    else:
        remedy = "check the indentation and the quotes here and on the line above"
    return line, f"not valid YAML: {problem}; {remedy}"


class _Reader:
    """Converter of the node graph to plain data, which records lines and faults on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0

    def _fault(self, node: Node, path: KeyPath, message: str) -> None:
        self._document.faults.append(Fault(node.start_mark.line + 1, path, message))

    def read(self, node: Node, path: KeyPath) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            limits = f"{MAX_VALUES} values or {MAX_DEPTH} levels"
            problem = f"more than {limits} (aliases count in full); shorten the file"
            raise _Refused(problem=problem, problem_mark=node.start_mark)
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            for n, item in enumerate(node.value):
                self._document.lines[(*path, n)] = item.start_mark.line + 1
            return [self.read(item, (*path, n)) for n, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._fault(node, path, f"the tag {_tag(node)} is not allowed; remove it")
        self._document.complete = False
        return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                self._document.complete = False
                continue
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in result:
                first = self._document.lines[here]
                message = f"the key stands twice, first on line {first}; merge the two or rename one"
                self._document.faults.append(Fault(line, here, message))
                self._document.complete = False
                continue
            self._document.lines[here] = line
            result[key] = self.read(value_node, here)
        return result

    def _key(self, node: Node, path: KeyPath) -> str | None:
        if not isinstance(node, ScalarNode):
            self._fault(node, path, "a key has to be a word; check brackets and question marks")
            return None
        text = str(node.value)
        if node.tag == _TAG + "merge":
            self._fault(node, (*path, text), "merge keys are not supported; write the keys out")
            return None
        if not text:
            self._fault(node, path, "a key is missing before ':'; write one or remove the line")
            return None
        if node.tag != _TAG + "str":
            self._fault(node, (*path, text), f'YAML does not read {text} as text; put it in quotes: "{text}"')
        return text

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        self._document.written[path] = text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in yaml.SafeLoader.bool_values:
            return yaml.SafeLoader.bool_values[text.lower()]
        if kind == "int" and _INT.fullmatch(text):
            return int(text)
        if kind in ("int", "float") and _FLOAT.fullmatch(text):
            return float(text)
        if kind == "float" and (value := text.lower().lstrip("+-")) in (".nan", ".inf"):
            meaning = "infinity" if value == ".inf" else "'not a number'"
            remedy = "write a number in plain decimals, such as 0.8"
            if path[-1:] in (("block",), ("review",)):
                remedy += ", or 'never'"
            remedy += f'; put it in quotes if it is text: "{text}"'
            self._fault(
                node, path, f"{text} means {meaning}, and no score can be compared with that; {remedy}"
            )
        elif kind in ("int", "float", "timestamp"):
            meaning = "a date" if kind == "timestamp" else "a number in a notation that is easily misread"
            remedy = f'put it in quotes if it is text: "{text[:40]}"; write a number in plain decimals'
            self._fault(node, path, f"YAML reads {text[:40]} as {meaning}; {remedy}")
        elif kind == "value":
            self._fault(node, path, f'YAML gives {text} a meaning of its own; put it in quotes: "{text}"')
        else:
            self._fault(node, path, f"the tag {_tag(node)} is not allowed; remove it, and put text in quotes")
        self._document.complete = False
        return None


def _tag(node: Node) -> str:
    return repr(str(node.tag).replace(_TAG, "!!")[:60])
