"""Find classes by name: those that ship with the project and those that installed packages add."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from moderator.errors import ModeratorError
from moderator.suggestions import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of one sort, each imported only when it is used. Thread-safe.

    A package adds a class with an entry point of the group, under the entry point's name. It cannot replace one that
    ships with the project.

    Args:
        group: group of the entry points, such as `moderator.signals`.
        noun: noun for an entry in messages, such as `kind of signal`.
        nouns: noun for several entries, such as `kinds`.
        built_in: name -> `module:class`.
        error: raised for a class that is unknown or cannot be loaded.
    """

    def __init__(
        self, group: str, noun: str, nouns: str, built_in: Mapping[str, str], error: type[ModeratorError]
    ) -> None:
        self.built_in = built_in
        self._group = group
        self._noun = noun
        self._nouns = nouns
        self._error = error
        self._loaded: dict[str, T] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names: those that ship with the project, then the others, sorted."""
        added = {point.name for point in _entry_points(self._group)}
        return (*self.built_in, *sorted(added - set(self.built_in)))

    def get(self, name: str) -> T:
        """Return the class of a name.

        Raises:
            ModeratorError: of the type `error`: no class has this name, or its package cannot be imported.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def unknown(self, name: str) -> str:
        """Return the message for an unknown name."""
        hint = did_you_mean(name, self.names) or "choose one"
        return f"'{name[:64]}' is not a {self._noun}; {hint} ({self._nouns}: {', '.join(self.names)})"

    def _load(self, name: str) -> T:
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            found: T = getattr(import_module(module), attribute)
            return found
        for point in _entry_points(self._group, name):
            try:
                found = point.load()
            except Exception as error:  # a third-party package may raise anything
                raise self._error(
                    f"the package of the {self._noun} '{name}' cannot be loaded ({error}); install it again"
                ) from error
            return found
        raise self._error(self.unknown(name))


def _entry_points(group: str, name: str | None = None) -> "EntryPoints":
    from importlib.metadata import entry_points  # 10 ms, and most programs ask for nothing

    return entry_points(group=group) if name is None else entry_points(group=group, name=name)
