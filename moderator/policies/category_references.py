"""Check what categories refer to: signals of the policy, and other categories. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from moderator.policies.category_schema import PROBE, Category
from moderator.policies.condition_parser import names_in
from moderator.policies.fields import Located
from moderator.policies.signal_schema import SignalEntry
from moderator.suggestions import did_you_mean

#: Unknown names that are compared with categories, and categories that each is compared with.
HINTS_MAX, HINT_CHOICES_MAX = 5, 100


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


class CategoryHints:
    """Hints at the category that an unknown name may mean: for the first names alone, because comparing takes long."""

    def __init__(self, categories: Iterable[str]) -> None:
        self._choices = list(islice(categories, HINT_CHOICES_MAX))
        self._left = HINTS_MAX

    def __call__(self, name: str) -> str:
        """Return what to do about an unknown name."""
        self._left -= 1
        meant = did_you_mean(name, self._choices) if self._left >= 0 else ""
        return meant or f"categories: {', '.join(self._choices[:10]) or 'none'}"


def condition_problems(categories: Mapping[str, Category]) -> Iterator[Located]:
    """Yield the problems with categories that conditions name, by key paths below `categories`."""
    usable = [name for name, category in categories.items() if category.when is None]
    hint = CategoryHints(usable)
    for title, category in categories.items():
        if category.condition is None:
            continue
        for name in dict.fromkeys(names_in(category.condition)):
            if name not in categories:
                yield (title, "when"), f"there is no category '{name}'; {hint(name)}", category.when
            elif name not in usable:
                message = f"'{name}' is a condition itself; write what it says in its place"
                yield (title, "when"), message, category.when
