"""The declaration of one option."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal

from lycoris_ext.errors import ConfigError
from lycoris_ext.options.texts import fault_of_path, fault_of_text
from lycoris_ext.options.value_types import (
    TYPE_NAMES,
    alternatives,
    convert,
    describe_type,
    is_list,
    written,
)

Choices = Sequence[str] | Callable[[], Sequence[str]]

LARGEST_WHOLE = 2**63 - 1
"""The largest whole number that torch and files can hold."""
LARGEST = 1e30
"""The largest number of any option: what is multiplied by it is still a number in float32."""

MayChange = Literal["never", "always", "if no rate follows the length", "if dim_from_weights"]
Recorded = Literal["in every file", "in the run's own files", "nowhere"]


@dataclass(frozen=True)
class Option:
    """One option of a run: its name, type and default, what it does, and which values it allows.

    Args:
        name: in config files; the flag of the command line is --name.
        hint: type of the value, as an annotation.
        default: the value if the user sets none.
        help: what the option does, in sentences that can be understood without other options' help,
            because users read them as a tooltip.
        unset: what happens if the value is None, for options that allow it.
        low, high: the smallest and the largest allowed number.
        above, below: numbers must be greater than ``above`` and less than ``below``.
        also: numbers outside of these limits that are allowed nevertheless.
        step: by how much a click on a widget changes a number; 0: 1 for whole numbers, else 0.01.
        choices: the allowed texts, or a function that returns them.
        is_path: the value is a path; if there are ``choices``, it may be one of them or a path.
        is_class: a text with a dot in it is allowed besides the ``choices``: the dotted path of a
            class.
        fix: advice for the message if a value is not allowed; "": "change NAME" or the choices.
        read: turns other spellings of a value into the one that is kept.
        aliases: other names of the option in network_args of sd-scripts and LyCORIS.
        may_change: when a saved run may be continued with another value of the option.
        recorded: into which files the option's value is written.
        kinds: names of the algorithms, schedules, optimizers or losses that read the option; ():
            it is always read.
    """

    name: str
    hint: Any
    default: Any
    help: str
    unset: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    also: tuple[float, ...] = ()
    step: float = 0
    choices: Choices = ()
    is_path: bool = False
    is_class: bool = False
    fix: str = ""
    read: Callable[[Any], Any] | None = None
    aliases: tuple[str, ...] = ()
    may_change: MayChange = "never"
    recorded: Recorded = "in every file"
    kinds: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The help, followed by what happens if the option is unset, and by who reads it."""
        unset = f" Unset: {self.unset}." if self.unset else ""
        return f"{self.help}{unset}{self.readers}"

    @property
    def readers(self) -> str:
        """A sentence to add to the help: " Only for lora, lokr."; "" if it is always read."""
        return f" Only for {', '.join(self.kinds)}." if self.kinds else ""

    @property
    def values(self) -> str:
        """The allowed values in words: "true or false", "one of l2, l1"."""
        if known := self.allowed():
            texts = f"one of {', '.join(known)}" if len(known) > 1 else known[0]
            also = "a path" if self.is_path else "the dotted path of a class"
            return f"{texts}, or {also}" if self.is_path or self.is_class else texts
        kind = describe_type(self.hint)
        if self.low is None and self.above is None:
            return kind
        limits = self.range_text()
        if not limits.startswith("a "):
            return f"{kind}, {limits}"
        return f"{limits} or {TYPE_NAMES[str]}" if str in alternatives(self.hint) else limits

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return is_list(self.hint)

    def allowed(self) -> Sequence[str]:
        """Return the texts to choose from; empty if any text is allowed."""
        return self.choices() if callable(self.choices) else self.choices

    def convert(self, value: Any, where: str | None = None) -> Any:
        """Check the type and range of a value, and return it as configs keep it.

        Nothing is guessed: the text "false" is not accepted as false, and 1.5 not as 1.

        Args:
            value: from a TOML file, a flag or a caller.
            where: the file or "command line", for messages.

        Returns:
            The value; lists become tuples, and tables become sections.

        Raises:
            ConfigError: the value has another type or is out of range.
        """
        if self.read is not None:
            try:
                value = self.read(value)
            except ConfigError as error:
                raise (error.within(where) if where else error) from error
        value = convert(self.name, value, self.hint, where)
        for item in value if isinstance(value, tuple) else (value,):
            fault = self._fault(item)
            if fault:
                raise ConfigError(fault, where=where, fix=self.fix or self._fix(item))
        return value

    def _fault(self, item: Any) -> str:
        """Return what is wrong with a value of the right type; "" if nothing is."""
        if isinstance(item, str):
            known = () if self.is_path or (self.is_class and _is_dotted(item)) else self.allowed()
            if known and item not in known:
                return f"{self.name} {written(item)} is not supported"
            fault = fault_of_text(item) or (fault_of_path(item) if self.is_path else "")
            return f"{self.name} {written(item)} {fault}" if fault else ""
        is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
        if is_number and not self.allows_number(item):
            largest = LARGEST_WHOLE if isinstance(item, int) else LARGEST
            too_large = largest < abs(item) < inf
            expected = f"at most {largest}" if too_large else self.range_text()
            return f"{self.name} is {written(item)}, expected {expected}"
        return ""

    def allows_number(self, value: float) -> bool:
        """Return True if a number is within the option's limits, or one of ``also``."""
        limits = (
            abs(value) <= (LARGEST_WHOLE if isinstance(value, int) else LARGEST),
            self.low is None or value >= self.low,
            self.high is None or value <= self.high,
            self.above is None or value > self.above,
            self.below is None or value < self.below,
        )
        return all(limits) or value in self.also

    def range_text(self) -> str:
        """Return the allowed numbers in words: "1 or more", "a number from 0 to below 1"."""
        return "".join(f"{number:g}, or " for number in self.also) + self._limits_text()

    def _limits_text(self) -> str:
        number = "a number" if float in alternatives(self.hint) else "a whole number"
        if self.low is None and self.above is None:
            return "a finite number"
        lower = f"from {self.low:g}" if self.low is not None else f"above {self.above:g}"
        if self.high is not None:
            return f"{number} {lower} to {self.high:g}"
        if self.below is not None and self.below < 2**53:  # larger limits are technical: omit them
            return f"{number} {lower} to below {self.below:g}"
        return f"{self.low:g} or more" if self.low is not None else f"{number} {lower}"

    def _fix(self, item: Any) -> str:
        known = self.allowed()
        if not known:
            return f"change {self.name}"
        same = [choice for choice in known if str(item).lower() == choice.lower()]
        return f'use "{same[0]}"' if same else "use one of " + ", ".join(known)


def _is_dotted(text: str) -> bool:
    return "." in text and all(part.isidentifier() for part in text.split("."))


def option(default: Any, help: str, **more: Any) -> Any:
    """Make a field of a ``Section`` that declares an option, with the field's name and type.

    Args:
        default: the value if the user sets none.
        help: what the option does.
        more: other arguments of ``Option``.
    """
    return field(default=default, metadata={"help": help, **more})


def options_of(kinds: Mapping[str, Iterable[Option]]) -> list[Option]:
    """Put together the options of several kinds (algorithms, optimizers, ...).

    Args:
        kinds: name of a kind -> the options that it declares.

    Returns:
        Each option once, with the names of all kinds that declare it as its ``kinds``.

    Raises:
        TypeError: two kinds declare an option of the same name in different ways.
    """
    found: dict[str, Option] = {}
    readers: dict[str, list[str]] = {}
    for kind, declared in kinds.items():
        for known in declared:
            if found.setdefault(known.name, known) != known:
                raise TypeError(
                    f"{kind} declares {known.name} otherwise than {readers[known.name][0]}: share "
                    "one declaration, or use another name"
                )
            readers.setdefault(known.name, []).append(kind)
    return [replace(known, kinds=tuple(readers[name])) for name, known in found.items()]
