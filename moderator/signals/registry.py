"""Finds kinds of signals by name: those that come along, and those of installed packages.

A package adds a kind with an entry point of the group `moderator.signals`: its name is the kind, its value
the class. A built-in kind cannot be replaced.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from moderator.errors import SignalFailed
from moderator.signals.base import Signal

GROUP = "moderator.signals"
BUILT_IN = {
    "hash-list": "moderator.signals.hash_list:HashList",
    "onnx-classifier": "moderator.signals.onnx_classifier:OnnxClassifier",
    "probe": "moderator.signals.linear_probe:LinearProbe",
    "text": "moderator.signals.text:Text",
}


@cache
def kinds() -> tuple[str, ...]:
    """All kinds that there are, sorted."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


@cache
def signal_class(kind: str) -> type[Signal]:
    """The class of a kind. Imports no optional package: a signal does so when it is made.

    Raises:
        SignalFailed: there is no such kind, or its package cannot be imported.
    """
    if kind in BUILT_IN:
        module, _, name = BUILT_IN[kind].partition(":")
        found: type[Signal] = getattr(import_module(module), name)
        return found
    for point in entry_points(group=GROUP, name=kind):
        try:
            found = point.load()
        except Exception as error:  # a package of somebody else
            raise SignalFailed(
                f"the package of the signal kind '{kind}' cannot be loaded ({error}); install it again"
            ) from error
        return found
    raise SignalFailed(unknown_kind(kind))


def unknown_kind(kind: str) -> str:
    """What to say of a kind that there is not."""
    close = get_close_matches(kind, kinds(), n=1, cutoff=0.6)
    hint = f"; did you mean '{close[0]}'?" if close else "; choose one"
    return f"'{kind[:64]}' is not a kind of signal{hint} (kinds: {', '.join(kinds())})"


def option_problems(kind: str, options: Mapping[str, Any], has_file: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with a signal's entry in a policy: key and message, with the remedy.

    Args:
        kind: of the signal.
        options: all keys but `name`, `kind`, `file` and `sha256`.
        has_file: whether the entry names a file.
    """
    try:
        found = signal_class(kind)
    except SignalFailed as error:
        yield "kind", str(error)
        return
    if found.needs_file and not has_file:
        yield "file", f"is missing: '{kind}' reads one; write 'file: NAME' and 'sha256: ' with its digest"
    if has_file and found.needs_file is False:
        yield "file", f"'{kind}' reads no file; remove it and its sha256"
    allowed = list(found.options_type.model_fields)
    try:
        found.options_type.model_validate(dict(options))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = str(detail["loc"][0]) if detail["loc"] else ""
            if detail["type"] == "extra_forbidden":
                close = get_close_matches(key, allowed, n=1, cutoff=0.6)
                hint = f"did you mean '{close[0]}'?" if close else f"'{kind}' takes: {', '.join(allowed)}"
                yield key, f"unknown key; {hint}"
            elif detail["type"] == "missing":
                yield key, f"is missing; '{kind}' cannot do without it"
            else:
                yield key, f"{detail['msg'].removeprefix('Value error, ')}; mend the value"
