"""Rules that add tags to captions and remove tags from them by the levels of folders.

They are the tables of a TOML file. Each is named after a level, a concept, or several levels in a
row, with ``*`` and ``?`` as wildcards, and all that fit a folder are applied in their order:

    [screenshots]
    add_first = "aniscreen"
    remove = ["fanart", "official art"]

    ["characters~fanart"]
    add = ["fanart"]

Rules are applied to captions that were read; no file is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from lycoris_ext.data.folder_tree import LEVELS, concepts_in, levels_below
from lycoris_ext.data.queries import Pattern, as_compared
from lycoris_ext.data.tag_edits import Add, Edit, Place, Remove, Sections
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.files import read_text_within
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.os_errors import reason, remedy_for_reading
from lycoris_ext.words import count

MOST_RULES = 1_000
"""Rules of one file; each is compared with each folder."""
_ACTIONS = ("remove", "add_first", "add")
"""What a rule may say, in the order in which it is done."""


class PlaceBelow(NamedTuple):
    """Where a picture stands: in a folder, which is the root or below it."""

    root: Path
    folder: Path

    @property
    def levels(self) -> tuple[str, ...]:
        return levels_below(self.root, self.folder)

    @property
    def concepts(self) -> tuple[str, ...]:
        return concepts_in(self.levels)


@dataclass(frozen=True)
class LevelRule:
    """What is done with captions below one level.

    Args:
        level: the name of its table, with wildcards.
        edits: of the tags, one after the other.
    """

    level: str
    edits: tuple[Edit, ...]

    @property
    def added(self) -> frozenset[str]:
        """The tags that it adds, as ``as_compared`` returns them."""
        return frozenset(as_compared(one.tag) for one in self.edits if isinstance(one, Add))

    def fits(self, place: Place) -> bool:
        """Tell whether pictures of a folder are meant."""
        pattern, deep = Pattern(self.level), self.level.count(LEVELS) + 1
        levels = place.levels
        rows = (levels[at : at + deep] for at in range(len(levels) - deep + 1))
        return any(map(pattern.fits, (*map(LEVELS.join, rows), *place.concepts)))


@dataclass
class LevelRules:
    """The rules of one file, which are an edit of tags, too.

    Args:
        file: the file; None if there are no rules.
        rules: in the order of the file.
    """

    file: Path | None = None
    rules: tuple[LevelRule, ...] = ()
    _of_folders: dict[Path, tuple[LevelRule, ...]] = field(default_factory=dict)

    def fitting(self, place: Place) -> tuple[LevelRule, ...]:
        """Return the rules for the pictures of a folder."""
        if place.folder not in self._of_folders:
            fitting = tuple(rule for rule in self.rules if rule.fits(place))
            self._of_folders[place.folder] = fitting
        return self._of_folders[place.folder]

    def unused(self, places: Iterable[Place]) -> list[LevelRule]:
        """Return the rules that fit none of these folders."""
        used = {id(rule) for place in places for rule in self.fitting(place)}
        return [rule for rule in self.rules if id(rule) not in used]

    def __call__(self, sections: Sections, place: Place) -> Sections:
        for rule in self.fitting(place):
            for edit in rule.edits:
                sections = edit(sections, place)
        return sections


def read_level_rules(file: Path) -> LevelRules:
    """Read a file of rules.

    Raises:
        ConfigError: it cannot be read, is no TOML, or a rule in it is wrong; all of them are told.
    """
    try:
        tables = read_tables(read_text_within(file))
    except OSError as error:
        raise ConfigError(
            f"the rules cannot be read ({reason(error)})",
            where=str(file),
            fix=f"correct level_rules: {remedy_for_reading(error)}",
        ) from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigError(
            f"the rules are no TOML ({error})", where=str(file), fix=_EXAMPLE
        ) from error
    if not 0 < len(tables) <= MOST_RULES:
        raise ConfigError(
            f"there are {count(len(tables), 'rule')}, expected 1 to {MOST_RULES:,}",
            where=str(file),
            fix=_EXAMPLE,
        )
    rules, faults = [], Faults()
    for level, content in tables.items():
        with faults:
            rules.append(_rule(level, content, file))
    faults.raise_all()
    return LevelRules(file, tuple(rules))


_EXAMPLE = 'write a table such as [screenshots] with the line add_first = "aniscreen"'


def _rule(level: str, content: object, file: Path) -> LevelRule:
    where = f"{file}, [{level:.100}]"
    if not isinstance(content, Mapping) or not level.strip():
        raise ConfigError(f"{level!r:.100} is no rule", where=str(file), fix=_EXAMPLE)
    faults = Faults()
    for name in content.keys() - set(_ACTIONS):
        near = get_close_matches(name, _ACTIONS, n=1)
        fix = f"write {near[0]}" if near else f"a rule has {', '.join(_ACTIONS)}"
        faults.found.append(ConfigError(f"{name!r:.100} is unknown", where=where, fix=fix))
    tags: dict[str, list[str]] = {}
    for name in _ACTIONS:
        with faults:
            tags[name] = _tags(name, content.get(name, []), where)
    faults.raise_all()
    if not any(tags.values()):
        raise ConfigError("the rule has no tags", where=where, fix=_EXAMPLE)
    return LevelRule(level.strip(), tuple(_edits(tags)))


def _edits(tags: Mapping[str, list[str]]) -> Iterator[Edit]:
    yield from (Remove(Pattern(tag)) for tag in tags["remove"])
    yield from (Add(tag, first=True) for tag in reversed(tags["add_first"]))
    yield from (Add(tag) for tag in tags["add"])


def _tags(name: str, value: Any, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if isinstance(values, list) and all(map(_is_tag, values)):
        return [tag.strip() for tag in values]
    raise ConfigError(
        f"{name} is {value!r:.100}, expected a tag or a list of tags",
        where=where,
        fix=f'write it as in {name} = ["long hair", "smile"], each tag in one line',
    )


def _is_tag(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    return bool(value.strip()) and len(value.strip().splitlines()) == 1
