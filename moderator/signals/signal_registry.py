"""Find kinds of signals by name, and check a policy's entry for one."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from moderator.errors import SignalFailed
from moderator.plugins import Registry
from moderator.signals.signal import Signal
from moderator.suggestions import did_you_mean

#: A package adds a kind with an entry point of this group; its value is the class. Classes must not import optional
#: packages: a signal does so when it is created.
KINDS: Registry[type[Signal]] = Registry(
    group="moderator.signals",
    noun="kind of signal",
    nouns="kinds",
    built_in={
        "detector": "moderator.vlm.detector:Detector",
        "hash-list": "moderator.signals.kinds.hash_list:HashList",
        "onnx-classifier": "moderator.signals.kinds.onnx_classifier:OnnxClassifier",
        "probe": "moderator.signals.kinds.linear_probe:LinearProbe",
        "second-opinion": "moderator.vlm.second_opinion:SecondOpinion",
        "text": "moderator.signals.kinds.text:Text",
    },
    error=SignalFailed,
)


def option_problems(kind: str, options: Mapping[str, Any], has_file: bool) -> Iterator[tuple[str, str]]:
    """Yield the problems with a signal's entry in a policy: key, and message with the remedy.

    Args:
        kind: of the signal.
        options: all keys but `name`, `kind`, `file` and `sha256`.
        has_file: whether the entry names a file.
    """
    try:
        found = KINDS.get(kind)
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
                hint = did_you_mean(key, allowed) or f"'{kind}' takes: {', '.join(allowed)}"
                yield key, f"unknown key; {hint}"
            elif detail["type"] == "missing":
                yield key, f"is missing; '{kind}' cannot do without it"
            else:
                yield key, f"{detail['msg'].removeprefix('Value error, ')}; correct the value"
