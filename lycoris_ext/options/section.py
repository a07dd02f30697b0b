"""The base class of groups of options, which are checked when they are created."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from lycoris_ext.errors import ConfigError, Faults, LycorisExtError
from lycoris_ext.options.declaration import Option

AnySection = TypeVar("AnySection", bound="Section")


@dataclass(frozen=True, init=False)
class Section:
    """A frozen group of options, whose values are checked when it is created.

    Subclasses are dataclasses with ``init=False``, whose fields are made by ``option``. A subclass
    can also have options that kinds (algorithms, optimizers, ...) declare, see ``kind_options``.
    They are read in the same way as fields: ``config.factor``.

    Attributes:
        more: (name, value) of each kind's option that differs from its default, sorted by name.
    """

    more: tuple[tuple[str, Any], ...] = ()

    def __init__(self, /, **values: Any) -> None:
        """Check the given values and keep them; other options get their defaults.

        Raises:
            ConfigError: all faults at once: unknown names (with the most similar known one), wrong
                types, numbers out of range, options that contradict each other.
        """
        declared = self.options()
        kept = {name: known.default for name, known in declared.items()}
        faults = Faults()
        if isinstance(values.get("more"), tuple):  # as ``dataclasses.replace`` hands it over
            values = dict(values.pop("more")) | values
        for name, value in values.items():
            with faults:
                kept[name] = _find(name, declared).convert(value)
        faults.raise_all()
        own_fields = self._fields()
        more = sorted(
            (n, v) for n, v in kept.items() if n not in own_fields and v != declared[n].default
        )
        for name, value in (*kept.items(), ("more", tuple(more))):
            object.__setattr__(self, name, value)
        Faults(self.contradictions()).raise_all()

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        """Return the options that kinds (algorithms, ...) declare for this section, in order.

        Override it in sections that have kinds. It is called whenever the options are needed,
        because a kind may be registered at any time.
        """
        return ()

    def contradictions(self) -> Iterator[LycorisExtError]:
        """Yield an error for each contradiction between options that are valid one by one."""
        yield from ()

    @property
    def chosen_kind(self) -> str:
        """The name of the chosen kind, such as "loha"; "" for sections without kinds."""
        return ""

    @classmethod
    def kind_of(cls, values: Mapping[str, Any]) -> str:
        """Return the name of the kind that values choose; they are not checked.

        Args:
            values: option -> value; those that are absent have their defaults.
        """
        section = object.__new__(cls)
        for name, known in cls._fields().items():
            object.__setattr__(section, name, values.get(name, known.default))
        return section.chosen_kind

    def unread(self, selector: str) -> Iterator[ConfigError]:
        """Yield an error for each option that is set although the chosen kind does not read it.

        Args:
            selector: name of the option that chooses the kind.
        """
        declared = self.options()
        for name, value in self.more:
            readers = declared[name].kinds
            if self.chosen_kind not in readers:
                yield ConfigError(
                    f'{name} is {value}, and {selector} = "{self.chosen_kind}" does not read it',
                    where=name,
                    fix=f"remove {name}, or set {selector} to one of {', '.join(readers)}",
                )

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return name -> option: those of the section's fields, then those of its kinds.

        Raises:
            TypeError: a kind declares an option with the name of a field.
        """
        declared = dict(cls._fields())
        for known in cls.kind_options():
            if known.name in declared:
                raise TypeError(f"{cls.__name__} has two options that are called {known.name}")
            declared[known.name] = known
        return declared

    @classmethod
    @cache
    def _fields(cls) -> dict[str, Option]:
        hints = get_type_hints(cls)
        return {
            f.name: Option(f.name, hints[f.name], f.default, **f.metadata)
            for f in fields(cls)
            if f.name != "more"
        }

    @classmethod
    def taken_from(cls: type[AnySection], other: Section) -> AnySection:
        """Create a section of this class with the values of another one that has its options."""
        return cls(**{name: getattr(other, name) for name in cls.options()})

    def values(self) -> dict[str, Any]:
        """Return name -> value of the options that have an effect or were set.

        Options that only other kinds read are left out unless they were set. So a newly registered
        kind changes nothing in the files of runs that do not use it.
        """
        chosen, is_set = self.chosen_kind, dict(self.more)
        return {
            name: getattr(self, name)
            for name, known in self.options().items()
            if not known.kinds or chosen in known.kinds or name in is_set
        }

    def changed(self) -> dict[str, Any]:
        """Return name -> value of the options that differ from their defaults."""
        own = {
            name: value
            for name, known in self._fields().items()
            if (value := getattr(self, name)) != known.default
        }
        return own | dict(self.more)

    if not TYPE_CHECKING:  # so that a type checker still finds misspelt options

        def __getattr__(self, name: str) -> Any:
            """Return the default of an option whose kind was registered after this section."""
            for known in () if name.startswith("_") else type(self).kind_options():
                if known.name == name:
                    return known.default
            raise AttributeError(f"{type(self).__name__} has no option {name}")


def _find(name: str, declared: Mapping[str, Option]) -> Option:
    if name in declared:
        return declared[name]
    near = get_close_matches(name, declared, n=1)
    raise ConfigError(
        f"unknown option {name}",
        fix=f"did you mean {near[0]}?" if near else "use one of " + ", ".join(declared),
    )
