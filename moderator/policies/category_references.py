"""Check what categories refer to: signals of the policy, and other categories. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from moderator.policies.category_schema import PROBE, Category
from moderator.policies.condition_parser import names_in
from moderator.policies.fields import Located
from moderator.policies.signal_schema import SignalEntry
from moderator.suggestions import did_you_mean


def signal_problems(categories: Mapping[str, Category], signals: Sequence[SignalEntry]) -> Iterator[Located]:
    """Yield the problems with signals that categories name, by key paths below `categories`."""
    kinds = {signal.name: signal.kind for signal in signals}
    listed = f"signals of this policy: {', '.join(kinds)}" if kinds else "the policy has no 'signals:'"
    for title, category in categories.items():
        named: list[tuple[tuple[str, ...], str]] = []
        if category.signal is not None:
            named.append((("signal",), category.signal))
        if category.probe is not None:
            named.append((("probe", "signal"), category.probe.signal))
        for key, name in named:
            if name not in kinds:
                message = f"there is no signal '{name}' ({listed}); add it to 'signals:' or correct the name"
                yield (title, *key), message, name
        if category.says_probe and category.signal in kinds and kinds[category.signal] != PROBE:
            message = (
                f"is {PROBE}, and the signal '{category.signal}' is of kind {kinds[category.signal]}; "
                "remove the rule"
            )
            yield (title, "rule"), message, PROBE
        if category.probe is not None and kinds.get(category.probe.signal, PROBE) != PROBE:
            message = (
                f"the signal '{category.probe.signal}' is of kind {kinds[category.probe.signal]}, and only one of kind "
                f"{PROBE} goes beside words; name another"
            )
            yield (title, "probe", "signal"), message, category.probe.signal


def condition_problems(categories: Mapping[str, Category]) -> Iterator[Located]:
    """Yield the problems with categories that conditions name, by key paths below `categories`."""
    usable = [name for name, category in categories.items() if category.when is None]
    for title, category in categories.items():
        if category.condition is None:
            continue
        for name in dict.fromkeys(names_in(category.condition)):
            if name not in categories:
                hint = did_you_mean(name, usable) or f"categories: {', '.join(usable[:10]) or 'none'}"
                yield (title, "when"), f"there is no category '{name}'; {hint}", category.when
            elif name not in usable:
                message = f"'{name}' is a condition itself; write what it says in its place"
                yield (title, "when"), message, category.when
