"""What is declared of one option."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal

from lycoris_ext.errors import ConfigError
from lycoris_ext.options.value_types import alternatives, convert, describe_type, is_list

Choices = Sequence[str] | Callable[[], Sequence[str]]
MayChange = Literal["never", "always", "if no rate follows the length", "if dim_from_weights"]
Recorded = Literal["in every file", "in the run's own files", "nowhere"]


@dataclass(frozen=True)
class Option:
    """One option of a run.

    Args:
        name: as in a file; as a flag it is spelled --name.
        hint: its type.
        default: its value when nobody sets it.
        help: what it does, in sentences that stand alone: people meet them as a tooltip.
        unset: what happens while it is None, for options that may be.
        low, high: the smallest and the largest allowed number.
        above, below: numbers must lie above and below these.
        also: numbers outside of these limits that are allowed, too.
        step: by how much a click on a widget changes a number; 0: 1 for whole numbers, else 0.01.
        choices: the allowed texts, or a function that gives them.
        is_path: a place on the user's disk; beside ``choices``, where there are some.
        fix: what to do where a value is not allowed; empty: "change NAME", or the choices.
        read: turns other spellings of a value into the one that is kept.
        aliases: other names of it that sd-scripts' and LyCORIS's users have in network_args.
        may_change: when a run may go on with another value of it.
        recorded: which files tell its value.
        kinds: the algorithms, schedules, ... that read it; empty: it is read whatever is chosen.
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
    fix: str = ""
    read: Callable[[Any], Any] | None = None
    aliases: tuple[str, ...] = ()
    may_change: MayChange = "never"
    recorded: Recorded = "in every file"
    kinds: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The help with all that a reader of --help or of the docs must know beside it."""
        unset = f" Unset: {self.unset}." if self.unset else ""
        return f"{self.help}{unset}{self.readers}"

    @property
    def readers(self) -> str:
        """Which kinds read it, as a sentence to put behind the help; empty where all do."""
        return f" Only for {', '.join(self.kinds)}." if self.kinds else ""

    @property
    def values(self) -> str:
        """What it may be, in words: "true or false", "one of l2, l1"."""
        if known := self.allowed():
            texts = f"one of {', '.join(known)}" if len(known) > 1 else known[0]
            return f"{texts}, or a path" if self.is_path else texts
        kind = describe_type(self.hint)
        if self.low is None and self.above is None:
            return kind
        limits = self.range_text()
        return limits if limits.startswith("a ") else f"{kind}, {limits}"

    @property
    def is_list(self) -> bool:
        """Whether it holds several values."""
        return is_list(self.hint)

    def allowed(self) -> Sequence[str]:
        """The texts to choose from; empty where any text is allowed."""
        return self.choices() if callable(self.choices) else self.choices

    def convert(self, value: Any, where: str | None = None) -> Any:
        """Check a value's type and range; nothing is guessed ("false" is not false, 1.5 not 1).

        Args:
            value: as TOML, a flag or a caller gives it.
            where: the file or the command line, for messages.

        Returns:
            The value as it is kept: lists as tuples, tables as the section they describe.

        Raises:
            ConfigError: the value is of another type or out of range.
        """
        if self.read is not None:
            value = self.read(value)
        value = convert(self.name, value, self.hint, where)
        for item in value if isinstance(value, tuple) else (value,):
            fault = self._fault(item)
            if fault:
                raise ConfigError(fault, where=where, fix=self.fix or self._fix(item))
        return value

    def _fault(self, item: Any) -> str:
        """What is wrong with a value of the right type; empty: nothing."""
        if isinstance(item, str):
            known = () if self.is_path else self.allowed()
            return f"{self.name} {item!r} is not supported" if known and item not in known else ""
        is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
        if is_number and not self._is_within(item):
            return f"{self.name} is {item}, expected {self.range_text()}"
        return ""

    def _is_within(self, value: float) -> bool:
        limits = (
            isfinite(value),
            self.low is None or value >= self.low,
            self.high is None or value <= self.high,
            self.above is None or value > self.above,
            self.below is None or value < self.below,
        )
        return all(limits) or value in self.also

    def range_text(self) -> str:
        """The allowed numbers in words: "1 or more", "a number from 0 to below 1"."""
        return "".join(f"{number:g}, or " for number in self.also) + self._limits_text()

    def _limits_text(self) -> str:
        number = "a number" if float in alternatives(self.hint) else "a whole number"
        if self.low is None and self.above is None:
            return "a finite number"
        lower = f"from {self.low:g}" if self.low is not None else f"above {self.above:g}"
        if self.high is not None:
            return f"{number} {lower} to {self.high:g}"
        if self.below is not None and self.below < 2**53:  # whatever people write
            return f"{number} {lower} to below {self.below:g}"
        return f"{self.low:g} or more" if self.low is not None else f"{number} {lower}"

    def _fix(self, item: Any) -> str:
        known = self.allowed()
        if not known:
            return f"change {self.name}"
        same = [choice for choice in known if str(item).lower() == choice.lower()]
        return f'use "{same[0]}"' if same else "use one of " + ", ".join(known)


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field that is an option; its name and type are the field's.

    Args:
        default: its value when nobody sets it.
        help: what it does.
        more: any other argument of ``Option``.
    """
    return field(default=default, metadata={"help": help, **more})


def options_of(kinds: Mapping[str, Iterable[Option]]) -> list[Option]:
    """The options of several kinds, each once, with the names of the kinds that read it.

    Args:
        kinds: name of a kind -> the options that it declares.

    Raises:
        TypeError: two kinds declare one name differently.
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
