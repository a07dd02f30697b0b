"""What differs between two data sets: pictures, captions, repeats and options, told in words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.data.fingerprint import HELD_OUT, Entry, Manifest
from lycoris_ext.data.subset import SubsetOptions
from lycoris_ext.data.tag_edits import split_tags
from lycoris_ext.words import count, short

_NUMBERED = re.compile(r"^\d+_")
_TOLD_ELSEWHERE = frozenset({"num_repeats", "allow_missing_captions"})
"""Options whose effect is told picture by picture, as is what files hold that options name."""


class Picture(NamedTuple):
    """A picture that is in both data sets: where it was and is, and what training knew of it."""

    was: str
    now: str
    before: Entry
    after: Entry


class Recaptioned(NamedTuple):
    """A picture whose caption is another one."""

    name: str
    before: str
    after: str
    removed: list[str]
    added: list[str]


class Repeats(NamedTuple):
    """The pictures of a folder that are shown more often, or less."""

    folder: str
    before: float
    after: float
    pictures: int


class Setting(NamedTuple):
    """An option that has another value; in a folder, or "" in all of them."""

    folder: str
    option: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Differences:
    """What differs between two data sets; all lists are sorted by name.

    Args:
        added, removed: the names of pictures.
        renamed: (old name, new name) of pictures whose files are the same, byte by byte.
        changed: names of pictures whose files hold other bytes.
        masks: names of pictures with another mask, or with one where there was none.
        captions: pictures with another caption.
        validation: names of pictures that are held out now, or no longer.
        repeats: of folders.
        options: that decide how pictures and captions are trained.
        reordered: nothing of all that differs, and the fingerprints do: the folders come in another
            order, or options are set in another place.
    """

    added: list[str]
    removed: list[str]
    renamed: list[tuple[str, str]]
    changed: list[str]
    masks: list[str]
    captions: list[Recaptioned]
    validation: list[str]
    repeats: list[Repeats]
    options: list[Setting]
    reordered: bool = False

    def __bool__(self) -> bool:
        return self.reordered or any(self._parts())

    def _parts(self) -> tuple[list[Any], ...]:
        pictures = (self.added, self.removed, self.renamed, self.changed, self.masks)
        return (*pictures, self.captions, self.validation, self.repeats, self.options)

    @property
    def summary(self) -> str:
        """How much differs, such as "1 picture is new, 2 captions changed"."""
        words = (
            ("picture is new", "pictures are new"),
            ("picture is gone", "pictures are gone"),
            ("picture has another name", "pictures have other names"),
            ("picture changed", "pictures changed"),
            ("mask changed", "masks changed"),
            ("caption changed", "captions changed"),
            ("picture is held out now, or no longer", "pictures are held out now, or no longer"),
            ("folder has other repeats", "folders have other repeats"),
            ("option changed", "options changed"),
        )
        told = [
            count(len(part), *each) for part, each in zip(self._parts(), words, strict=True) if part
        ]
        if self.reordered:
            told.append("the folders are in another order, or options are set in another place")
        return ", ".join(told) or "nothing changed"

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "added": self.added,
            "removed": self.removed,
            "renamed": [{"before": before, "after": after} for before, after in self.renamed],
            "changed": self.changed,
            "masks": self.masks,
            "captions": [one._asdict() for one in self.captions],
            "validation": self.validation,
            "repeats": [one._asdict() for one in self.repeats],
            "options": [one._asdict() for one in self.options],
            "reordered": self.reordered,
        }

    def lines(self, limit: int) -> Iterator[str]:
        """Say what changed, one thing after the other.

        Args:
            limit: the most pictures that are named; further ones are only counted.
        """
        for one in self.options:
            place = f"{one.folder}: " if one.folder else ""
            yield f"{place}{one.option} is {_written(one.after)}, was {_written(one.before)}"
        for each in self.repeats:
            pictures = count(each.pictures, "picture")
            place = each.folder or "all"
            yield f"{place}: {each.after:g} repeats, were {each.before:g} ({pictures})"
        told = sorted(self._of_pictures())
        for _, lines in told[:limit]:
            yield from lines
        if len(told) > limit:
            yield f"and {count(len(told) - limit, 'more picture')}"

    def _of_pictures(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the name of each picture that differs, and the lines that say how."""
        captions = {one.name: one for one in self.captions}
        yield from ((name, [f"{name}: is new"]) for name in self.added)
        yield from ((name, [f"{name}: is gone"]) for name in self.removed)
        yield from self._renamings()
        changed, masks, moved = set(self.changed), set(self.masks), set(self.validation)
        for name in {*changed, *masks, *captions, *moved}:
            parts = ["the picture"] if name in changed else []
            parts += ["its mask"] if name in masks else []
            parts += ["its caption"] if name in captions else []
            parts += ["its use (training or validation)"] if name in moved else []
            lines = [f"{name}: {' and '.join(parts)} changed"]
            yield name, [*lines, *(_of_caption(captions[name]) if name in captions else ())]

    def _renamings(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the new names of pictures; a folder that was renamed is told once."""
        folders: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for before, after in self.renamed:
            folders[_folder(before), _folder(after)].append((before, after))
        for (old, new), pairs in folders.items():
            if old != new and len(pairs) > 1 and all(map(_keeps_name, pairs)):
                pictures = count(len(pairs), "picture of it is", "pictures of it are")
                yield (
                    new,
                    [f"{old or 'the folder'}: {pictures} in {new or 'the folder itself'} now"],
                )
                continue
            for before, after in pairs:
                yield before, [f"{before}: is called {after} now"]


def differences(before: Manifest, after: Manifest) -> Differences:
    """Find what differs between two data sets.

    A picture is the same if its path is, or its path without the repeats in the names of folders,
    or the bytes of its file.
    """
    pairs, removed, added = _match(before, after)
    options = _options(before, after, pairs)
    repeats: Counter[tuple[str, float, float]] = Counter()
    captions, validation = [], []
    splitters: dict[int, CaptionOptions] = {}
    for one in pairs:
        old, new = one.before, one.after
        held = [
            HELD_OUT in made.subsets[e.subset].marks for made, e in ((before, old), (after, new))
        ]
        validation += [one.now] if held[0] != held[1] else []
        if old.repeats != new.repeats and not any(held):
            repeats[_shown(after, one), old.repeats, new.repeats] += 1
        if old.caption != new.caption:
            if new.subset not in splitters:
                splitters[new.subset] = _separators(after, new.subset)
            captions.append(_recaptioned(one, splitters[new.subset]))
    found = Differences(
        added=sorted(added),
        removed=sorted(removed),
        renamed=sorted((one.was, one.now) for one in pairs if _is_renamed(one)),
        changed=sorted(one.now for one in pairs if _differ(one, 0)),
        masks=sorted(one.now for one in pairs if _differ(one, 1)),
        captions=sorted(captions),
        validation=sorted(validation),
        repeats=[Repeats(*key, number) for key, number in sorted(repeats.items())],
        options=options,
    )
    if found or before.fingerprint == after.fingerprint:
        return found
    return Differences([], [], [], [], [], [], [], [], [], reordered=True)


def _match(before: Manifest, after: Manifest) -> tuple[list[Picture], list[str], list[str]]:
    """Return the pictures that are in both, and the names of those in one of them alone."""
    keys: list[Callable[[str, Entry], Hashable]] = [
        lambda label, entry: label,
        lambda label, entry: _without_repeats(label),
        lambda label, entry: (_digests(entry)[0], PurePosixPath(label).name),
        lambda label, entry: _digests(entry)[0],
    ]
    old, new = _labelled(before), _labelled(after)
    pairs = []
    for key in keys:
        waiting: dict[Hashable, list[tuple[str, Entry]]] = defaultdict(list)
        for row in reversed(old):
            waiting[_is_reg(before, row[1]), key(*row)].append(row)
        left = []
        for label, entry in new:
            found = waiting[_is_reg(after, entry), key(label, entry)]
            if found:
                was, first = found.pop()
                pairs.append(Picture(was, label, first, entry))
            else:
                left.append((label, entry))
        taken = {id(one.before) for one in pairs}
        old, new = [row for row in old if id(row[1]) not in taken], left
    return pairs, [label for label, _ in old], [label for label, _ in new]


def _labelled(manifest: Manifest) -> list[tuple[str, Entry]]:
    return [(_text(manifest.label(entry)), entry) for entry in manifest.entries]


def _text(label: str) -> str:
    """Return a path as text; a file name on Linux need not be one."""
    return label.encode("utf-8", "backslashreplace").decode("utf-8")


def _differ(one: Picture, part: int) -> bool:
    """Tell whether the bytes of the picture (0), or those of its mask (1), are others."""
    return _digests(one.before)[part] != _digests(one.after)[part]


def _digests(entry: Entry) -> tuple[str, str]:
    """Return the hash of a picture, and that of its mask or ""."""
    picture, _, mask = entry.digest.partition(" ")
    return picture, mask


def _is_reg(manifest: Manifest, entry: Entry) -> bool:
    return "reg" in manifest.subsets[entry.subset].marks


def _folder(label: str) -> str:
    return label.rpartition("/")[0]


def _without_repeats(label: str) -> str:
    *folders, name = label.split("/")
    return "/".join([*(_NUMBERED.sub("", folder) for folder in folders), name])


def _keeps_name(pair: tuple[str, str]) -> bool:
    return PurePosixPath(pair[0]).name == PurePosixPath(pair[1]).name


def _is_renamed(one: Picture) -> bool:
    return _without_repeats(one.was) != _without_repeats(one.now)


def _shown(manifest: Manifest, one: Picture) -> str:
    """Return the folder of a picture, as its repeats are told."""
    more = " (regularisation)" if _is_reg(manifest, one.after) else ""
    return f"{_folder(one.now)}{more}"


def _options(before: Manifest, after: Manifest, pairs: Iterable[Picture]) -> list[Setting]:
    """Return the options that differ; for all folders at once where it is the same in all."""
    folders: dict[tuple[int, int], str] = {}
    for one in pairs:
        folders.setdefault((one.before.subset, one.after.subset), _folder(one.now))
    if not folders:
        return sorted(_differing("", _own(before, None), _own(after, None)), key=_by_name)
    each = [
        list(_differing(place, _own(before, old), _own(after, new)))
        for (old, new), place in folders.items()
    ]
    common = Counter(repr(setting[1:]) for settings in each for setting in settings)
    found: dict[str, Setting] = {}
    for settings in each:
        for setting in settings:
            place = "" if common[repr(setting[1:])] == len(each) else setting.folder
            found.setdefault(repr((place, *setting[1:])), setting._replace(folder=place))
    return sorted(found.values(), key=_by_name)


def _by_name(one: Setting) -> tuple[str, str]:
    return one.folder, one.option


def _own(manifest: Manifest, subset: int | None) -> dict[str, Any]:
    """Return the options that a subset, or the whole data set, trains with."""
    own = {} if subset is None else manifest.subsets[subset].own
    return manifest.options | own


def _differing(folder: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Setting]:
    for name, known in SubsetOptions.options().items():
        was, now = before.get(name, known.default), after.get(name, known.default)
        if was != now and not (known.is_path or name in _TOLD_ELSEWHERE):
            yield Setting(folder, name, was, now)


def _separators(manifest: Manifest, subset: int) -> CaptionOptions:
    names = ("caption_separator", "keep_tokens_separator")
    own = _own(manifest, subset)
    return CaptionOptions(**{name: own[name] for name in names if name in own})


def _recaptioned(one: Picture, options: CaptionOptions) -> Recaptioned:
    before, after = (_lines_of(entry) for entry in (one.before, one.after))
    old, new = (
        Counter(tag for line in lines for tags in split_tags(line, options) for tag in tags)
        for lines in (before, after)
    )
    removed, added = list((old - new).elements()), list((new - old).elements())
    return Recaptioned(one.now, "\n".join(before), "\n".join(after), removed, added)


def _lines_of(entry: Entry) -> list[str]:
    """Return the lines of a caption, or the texts of its fields."""
    if isinstance(entry.caption, str):
        return entry.caption.split("\n")
    return [str(field[-1]) for field in entry.caption]


def _of_caption(one: Recaptioned) -> Iterator[str]:
    if one.removed:
        yield f"  - {short(', '.join(one.removed))}"
    if one.added:
        yield f"  + {short(', '.join(one.added))}"
    if not one.removed and not one.added:
        yield f"  = {short(one.after)}"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "unset" if value is None else short(repr(value))
