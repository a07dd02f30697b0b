"""Reading the config of another program by a table: setting -> what becomes of it here.

A reader first takes the settings that must be looked at together (a schedule and its warm-up), then
follows its table for all others:

    settings = Settings("OneTrainer", where, document)
    settings.values["algo"] = ALGORITHMS[settings.take("peft_type")]
    settings.follow({"epochs": becomes("max_train_epochs", whole), "tensorboard*": NOTHING, ...})
    return settings.foreign()

Settings that are in neither are listed in ``Foreign.unsupported``, so that none is lost silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from lycoris_ext.config.imports.companions import find_companion
from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.config.imports.reading import shown, unsupported
from lycoris_ext.config.imports.yaml_text import refuse_unwieldy
from lycoris_ext.errors import ConfigError
from lycoris_ext.files import read_text_within
from lycoris_ext.words import short

T = TypeVar("T")

UNSET: tuple[object, ...] = (None, "", [], {})
"""Values with which programs write that a setting is not set."""


class Settings:
    """The settings of a document that are not read yet, and what those that are read became.

    Args:
        program: whose config it is, for messages.
        where: the file's name, for messages.
        document: the parsed document.

    Attributes:
        left: name -> value of the settings that are not read yet. Settings in tables have names
            with dots: "unet.learning_rate".
        values: option -> value, as in ``Foreign``.
        unsupported: errors, as in ``Foreign``.
    """

    def __init__(self, program: str, where: str, document: Mapping[str, Any]) -> None:
        self.program = program
        self.where = where
        self.left: dict[str, object] = dict(_flat(document))
        self.values: dict[str, Any] = {}
        self.unsupported: list[ConfigError] = []

    def take(self, name: str, default: object = None) -> Any:
        """Remove a setting and return its value, or the default if it is not set."""
        value = self.left.pop(name, None)
        return default if value in UNSET else value

    def take_word(self, name: str, default: str = "") -> str:
        """Remove a setting that is one of some words, and return it; other values as JSON."""
        value = self.take(name, default)
        return value if isinstance(value, str) else shown(value)

    def take_as(self, kind: Callable[[object], T], name: str, default: T) -> T:
        """Remove a setting and return its value as a number or another kind of value.

        Args:
            kind: ``number``, ``whole``, ``flag`` or ``text``; raises ValueError.
            name: of the setting.
            default: returned if the setting is not set or is not of this kind; in the latter case
                it is also refused.
        """
        value = self.take(name)
        if value is None:
            return default
        try:
            return kind(value)
        except ValueError as error:
            self.refuse(name, value, f"write {error}")
            return default

    def take_list(self, name: str) -> list[Any]:
        """Remove a setting that is a list, and return it; a single value becomes a list of one."""
        value = self.take(name, [])
        return value if isinstance(value, list) else [value]

    def take_rows(self, name: str) -> list[Mapping[str, Any]]:
        """Remove a setting that is a list of tables and return them; anything else is refused."""
        value = self.take(name, [])
        if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
            return value
        self.refuse(name, value, "write a list of tables")
        return []

    def refuse(self, name: str, value: object, fix: str) -> None:
        """List a setting that decides the result and has no counterpart here.

        Args:
            name: of the setting.
            value: of the setting.
            fix: the nearest thing that works, as an imperative sentence.
        """
        self.unsupported.append(unsupported(name, value, self.where, fix))

    def not_trained(self, what: str, fix: str) -> ConfigError:
        """Return an error that says that this config does not train what lycoris_ext trains.

        Unlike what ``refuse`` lists, this cannot be left out: without it nothing useful is left.
        """
        return ConfigError(f"this config of {self.program} {what}", where=self.where, fix=fix)

    def follow(self, rules: Mapping[str, Rule]) -> None:
        """Apply a table to all settings that are left; those that are not in it are refused.

        Args:
            rules: name, or pattern with ``*``, -> rule; a name comes before all patterns.
        """
        patterns = [name for name in rules if "*" in name]
        for name, value in list(self.left.items()):
            fitting = (pattern for pattern in patterns if fnmatchcase(name, pattern))
            rule = rules.get(name if name in rules else next(fitting, ""))
            if rule:
                rule(self, name, value)
            elif value not in UNSET:
                self.unsupported.append(
                    ConfigError(
                        f"{name} = {shown(value)} is not known as a setting of {self.program}",
                        where=self.where,
                        fix="remove it if the result does not depend on it",
                    )
                )
        self.left.clear()

    def join(self, place: str, part: Settings) -> None:
        """List what was refused in a part of the document that was read by itself.

        Args:
            place: of the part, for messages: "concept portraits".
            part: its settings.
        """
        self.unsupported += [
            ConfigError(f"{place}: {error.what}", where=error.where, fix=error.fix)
            for error in part.unsupported
        ]

    def read_companion(
        self, name: str, path: object, read: Callable[[str], object], holds: str
    ) -> object:
        """Return the content of a file that the document names; None, and listed, if it cannot be.

        Args:
            name: of the setting that names the file.
            path: of the file; see ``companion``.
            read: parses the file's text; raises ValueError.
            holds: what is missing without the file, for messages: "the folders of pictures".
        """
        found = self.companion(path) if isinstance(path, str) else None
        if found is None:
            self.miss(name, path, f"put this file, which holds {holds}, beside the config")
            return None
        try:
            content = read(read_text_within(found))
        except (OSError, ValueError) as error:
            self.unsupported.append(
                ConfigError(
                    f"{name} = {shown(path)} cannot be read: {short(str(error))}",
                    where=self.where,
                    fix="mend this file, or write the program's config again",
                )
            )
            return None
        refuse_unwieldy(content, str(found))
        return content

    def miss(self, name: str, path: object, fix: str) -> None:
        """List a file that the document names and that is not there."""
        self.unsupported.append(
            ConfigError(f"{name} = {shown(path)}: there is no such file", where=self.where, fix=fix)
        )

    def companion(self, path: str) -> Path | None:
        """Find a file that the document names; None if it is not there.

        A relative path may start in the current folder or in any folder above the document, since
        most programs write it as seen from their own folder.
        """
        return find_companion(path, [Path(), *Path(self.where).absolute().parents])

    def foreign(self) -> Foreign:
        """Return what has been read."""
        return Foreign(self.program, dict(self.values), tuple(self.unsupported))


Rule = Callable[[Settings, str, object], None]
"""What becomes of a setting; called with the settings, its name and its value."""


def NOTHING(settings: Settings, name: str, value: object) -> None:
    """The setting changes nothing here: it is about speed, places, logs or another program."""


def becomes(option: str, kind: Callable[[object], object] | Mapping[Any, object]) -> Rule:
    """Make a rule: the setting is an option of ours.

    Args:
        option: under sd-scripts' name.
        kind: ``number``, ``whole``, ``flag`` or ``text``; or value -> our value, if the values
            have other names here. Values that are not in it are refused.
    """

    def rule(settings: Settings, name: str, value: object) -> None:
        if value in UNSET:
            return
        try:
            if isinstance(kind, Mapping):
                settings.values[option] = _looked_up(kind, value)
            else:
                settings.values[option] = kind(value)
        except ValueError as error:
            settings.refuse(name, value, f"write {error}")

    return rule


def only(*harmless: object, fix: str) -> Rule:
    """Make a rule: the setting has no counterpart here.

    Args:
        harmless: its values that change nothing here, beside false and unset; texts are compared
            without regard to case, and may be written for numbers.
        fix: what to do about any other value.
    """
    usual = {_plain(value) for value in (False, *harmless)}

    def rule(settings: Settings, name: str, value: object) -> None:
        if value not in UNSET and _plain(value) not in usual:
            settings.refuse(name, value, fix)

    return rule


def all_of(names: str, rule: Rule) -> dict[str, Rule]:
    """Make rows of a table that have the same rule.

    Args:
        names: names and patterns, with spaces or line breaks between them.
        rule: what becomes of each.
    """
    return dict.fromkeys(names.split(), rule)


def number(value: object) -> float:
    """Read a finite number, also from a text; YAML's 1e-4 without a point is a text."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            read = float(value)
            if isfinite(read):
                return read
    raise ValueError("a number")


def whole(value: object) -> int:
    """Read a whole number, also from a text and from a number such as 8.0."""
    with suppress(ValueError):
        read = number(value)
        if read == int(read):
            return int(read)
    raise ValueError("a whole number")


def whole_from_1(value: object) -> int:
    """Read a whole number, 1 or more."""
    with suppress(ValueError):
        if whole(value) >= 1:
            return whole(value)
    raise ValueError("a whole number, 1 or more")


def share(value: object) -> float:
    """Read a number from 0 to 1."""
    with suppress(ValueError):
        if 0.0 <= number(value) <= 1.0:
            return number(value)
    raise ValueError("a number from 0 to 1")


def flag(value: object) -> bool:
    """Read true or false, also from a text."""
    if _plain(value) in ("true", "false"):
        return _plain(value) == "true"
    raise ValueError("true or false")


def text(value: object) -> str:
    """Read a text."""
    if isinstance(value, str):
        return value
    raise ValueError("a text")


def as_arguments(table: Mapping[str, object]) -> list[str]:
    """Write a table as sd-scripts' network_args and optimizer_args: ["conv_dim=8", ...]."""
    return [
        f"{name}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
        for name, value in table.items()
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _looked_up(table: Mapping[Any, object], value: object) -> object:
    for known, ours in table.items():
        if _plain(known) == _plain(value):
            return ours
    raise ValueError("one of " + ", ".join(map(str, table)))


def _plain(value: object) -> str:
    """Write a value such that true and "True", 1 and 1.0 and "1.0" are the same."""
    word = str(value).strip().lower()
    try:
        return str(float(word))
    except ValueError:
        return word
