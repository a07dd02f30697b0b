"""Options: each is declared once, in the file that obeys it, with its default, limits and help.

    @dataclass(frozen=True, init=False)
    class ScheduleConfig(Section):
        \"\"\"How the learning rate changes over the run.\"\"\"

        lr_scheduler: str = option("constant", "Course of the learning rate.", choices=...)

Flags, TOML files, overrides, metadata, the widgets of ComfyUI, their tooltips and the tables of the
docs are all made from these declarations. Some options are read by one kind of algorithm, optimizer
or loss alone: that kind declares them (``Section.kind_options``).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from lycoris_ext.errors import ConfigError, LycorisExtError, together

TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
}
LIST_NAMES = {str: "a list of texts", int: "a list of whole numbers", float: "a list of numbers"}

Choices = Sequence[str] | Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Option:
    """One option of a run.

    Args:
        name: as in a file; as a flag it is spelled --name.
        hint: its type.
        default: its value when nobody sets it.
        help: what it does, in sentences that stand alone: people meet them as a tooltip.
        low, high: the smallest and the largest allowed number.
        above, below: numbers must lie above and below these.
        choices: the allowed texts, or a function that gives them.
        fix: what to do where a value is out of range; unset: "change NAME".
        read: turns other spellings of a value into the one that is kept.
    """

    name: str
    hint: Any
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Choices = ()
    fix: str = ""
    read: Callable[[Any], Any] | None = None

    def allowed(self) -> Sequence[str]:
        """The allowed texts; empty where any text is."""
        return self.choices() if callable(self.choices) else self.choices

    def convert(self, value: Any, where: str | None = None) -> Any:
        """Check a value's type and range; nothing is guessed ("false" is not false, 1.5 not 1).

        Args:
            value: as TOML, a flag or a caller gives it.
            where: the file or the command line, for messages; unset: the option's name.

        Returns:
            The value as it is kept: lists as tuples, tables as the dataclass they describe.

        Raises:
            ConfigError: the value is of another type or out of range.
        """
        if self.read is not None:
            value = self.read(value)
        value = convert(self.name, value, self.hint, where or self.name)
        for fault in self._faults(value):
            raise ConfigError(fault, where=where or self.name, fix=self.fix or self._fix(value))
        return value

    def _faults(self, value: Any) -> Iterator[str]:
        if value is None:
            return
        known = self.allowed()
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, str) and known and item not in known:
                yield f"{self.name} {item!r} is not supported"
            elif _is_of(item, float) and not self._is_within(item):
                yield f"{self.name} is {item}, expected {self.range_text()}"

    def _is_within(self, value: float) -> bool:
        # Written so that NaN, which compares as false, is outside of any limit.
        limits = (
            self.low is None or value >= self.low,
            self.high is None or value <= self.high,
            self.above is None or value > self.above,
            self.below is None or value < self.below,
        )
        return all(limits)

    def range_text(self) -> str:
        """The allowed numbers in words: "1 or more", "a number from 0 to below 1"."""
        kinds = alternatives(self.hint)
        number = "a whole number" if float not in kinds else "a number"
        if self.low is None and self.above is None:
            return number
        lower = f"from {self.low:g}" if self.low is not None else f"above {self.above:g}"
        if self.high is not None:
            return f"{number} {lower} to {self.high:g}"
        if self.below is not None and self.below != float("inf"):
            return f"{number} {lower} to below {self.below:g}"
        return f"{self.low:g} or more" if self.low is not None else f"{number} {lower}"

    def _fix(self, value: Any) -> str:
        known = self.allowed()
        if not known:
            return f"change {self.name}"
        same = [choice for choice in known if str(value).lower() == choice.lower()]
        return f'use "{same[0]}"' if same else "use one of " + ", ".join(known)


def option(default: Any, help: str, **limits: Any) -> Any:
    """A dataclass field that is an option; its name and type are the field's.

    Args:
        default: its value when nobody sets it.
        help: what it does.
        limits: ``low``, ``high``, ``above``, ``below``, ``choices``, ``fix``, ``read`` of Option.
    """
    return field(default=default, metadata={"help": help, "limits": limits})


@dataclass(frozen=True, init=False)
class Section:
    """A frozen group of options; every value is checked when it is made.

    Subclasses are dataclasses with ``init=False``, whose fields are made by ``option``. Beside them
    stand the options of its kinds (algorithms, optimizers, ...), which are read like attributes.

    Attributes:
        more: (name, value) of the kinds' options that differ from their defaults, by name.
    """

    more: tuple[tuple[str, Any], ...] = ()

    _own: ClassVar[dict[str, Option] | None] = None

    def __init__(self, **values: Any) -> None:
        """Check and keep values; what is not given has its default.

        Raises:
            ConfigError: all that is wrong, at once: unknown names (with the nearest), wrong types,
                numbers out of range, options that contradict each other.
        """
        declared = self.options()
        given = dict(values.pop("more", ())) | values
        faults: list[LycorisExtError] = [_unknown(n, declared) for n in given if n not in declared]
        kept = {name: known.default for name, known in declared.items()}
        for name, value in given.items():
            if name in declared:
                try:
                    kept[name] = declared[name].convert(value)
                except ConfigError as error:
                    faults.append(error)
        if faults:
            raise together(faults)
        own = self._fields()
        more = {n: kept.pop(n) for n in list(kept) if n not in own}
        changed = sorted(n for n, value in more.items() if value != declared[n].default)
        for name, value in kept.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "more", tuple((name, more[name]) for name in changed))
        if faults := list(self.contradictions()):
            raise together(faults)

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        """The options that the kinds of this section declare, in the order to show them."""
        return ()

    def contradictions(self) -> Iterator[LycorisExtError]:
        """What is wrong with options that are right one by one."""
        yield from ()

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Every option of the section by name: its own, then those of its kinds."""
        return cls._fields() | {known.name: known for known in cls.kind_options()}

    @classmethod
    def _fields(cls) -> dict[str, Option]:
        if "_own" not in vars(cls):
            hints = get_type_hints(cls)
            cls._own = {
                f.name: Option(
                    f.name, hints[f.name], f.default, f.metadata["help"], **f.metadata["limits"]
                )
                for f in fields(cls)
                if f.name != "more"
            }
        assert cls._own is not None
        return cls._own

    def values(self) -> dict[str, Any]:
        """Name -> value of every option."""
        return {name: getattr(self, name) for name in self.options()}

    def __getattr__(self, name: str) -> Any:
        # Called for what is no field: an option of a kind.
        if not name.startswith("_"):
            for key, value in self.more:
                if key == name:
                    return value
            for known in type(self).kind_options():
                if known.name == name:
                    return known.default
        raise AttributeError(f"{type(self).__name__} has no option {name}")


def _unknown(name: str, declared: Mapping[str, Option]) -> ConfigError:
    near = get_close_matches(name, declared, n=1)
    return ConfigError(
        f"unknown option {name}",
        where=name,
        fix=f"did you mean {near[0]}?" if near else "use one of " + ", ".join(declared),
    )


def convert(name: str, value: Any, hint: Any, where: str) -> Any:
    """Check a value against a type; see ``Option.convert``.

    Raises:
        ConfigError: the value is of another type.
    """
    for kind in alternatives(hint):
        if kind is types.NoneType and value is None:
            return None
        if get_origin(kind) is tuple:
            inner = get_args(kind)[0]
            items = value if isinstance(value, (list, tuple)) else [value]
            if _is_section(inner) and all(isinstance(item, (Mapping, inner)) for item in items):
                return tuple(_from_table(name, item, inner, where) for item in items)
            if all(_is_of(item, inner) for item in items):
                return tuple(items)
        elif _is_of(value, kind):
            return value
    raise ConfigError(
        f"{name} is {value!r}, expected {describe_type(hint)}",
        where=where,
        fix=_fix(name, value, hint),
    )


def holds_tables(hint: Any) -> bool:
    """Whether an option is a list of tables, which no flag can spell."""
    return any(
        get_origin(kind) is tuple and _is_section(get_args(kind)[0]) for kind in alternatives(hint)
    )


def describe_type(hint: Any) -> str:
    """A type in words."""
    if holds_tables(hint):
        return "a list of tables"
    words = [
        LIST_NAMES[get_args(kind)[0]] if get_origin(kind) is tuple else TYPE_NAMES[kind]
        for kind in alternatives(hint)
        if kind is not types.NoneType
    ]
    return " or ".join(words)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union; any other type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _from_table(name: str, table: Any, kind: Any, where: str) -> Any:
    """A section from one table of an option."""
    if isinstance(table, kind):
        return table
    try:
        return kind(**table)
    except LycorisExtError as error:
        raise ConfigError(
            f"{name}: {error.what}"
            if error.where is None
            else f"{name}, {error.where}: {error.what}",
            where=where,
            fix=error.fix,
        ) from error


def _is_of(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _fix(name: str, value: Any, hint: Any) -> str:
    if isinstance(value, str) and str not in alternatives(hint):
        return f"write it without quotes: {name} = {value.strip().lower() or '...'}"
    return f"change {name}"
