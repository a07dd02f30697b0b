"""`lycoris-ext dataset tags DIR|CONFIG`: edit tags of captions, always in a caption set."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lycoris_ext.cli.dataset.core_tags import core_tags, show_core
from lycoris_ext.cli.dataset.everydream import tags_of_folders
from lycoris_ext.cli.dataset.reading import caption_limit, data_config
from lycoris_ext.config import TrainConfig
from lycoris_ext.data.caption_sets import check_set_name, sets_of
from lycoris_ext.data.core_tags import core_of
from lycoris_ext.data.drawn_captions import drawn_once, refuse_empty, with_fields
from lycoris_ext.data.level_rules import LevelRules, read_level_rules
from lycoris_ext.data.queries import Pattern, Query, as_compared, parse_query
from lycoris_ext.data.set_writing import take_back, write_captions
from lycoris_ext.data.tag_changes import Captioned, Change, find_changes, read_captioned
from lycoris_ext.data.tag_edits import (
    Add,
    Edit,
    Remove,
    RemoveListed,
    RemoveOfConcepts,
    RemoveOverlaps,
    Rename,
    Replace,
)
from lycoris_ext.data.tag_lists import read_listed, read_table
from lycoris_ext.errors import ConfigError
from lycoris_ext.printable import printable
from lycoris_ext.words import and_more, command, count, short

SHOWN = 20
"""Number of changed captions that are printed; --json has them all."""

EDITS: dict[str, Callable[..., Edit]] = {
    "add": Add,
    "add-first": lambda tag: Add(tag, first=True),
    "remove": lambda tag: Remove(Pattern(tag)),
    "rename": lambda old, new: Rename(Pattern(old), new),
    "replace": Replace,
    "blacklist": lambda file: RemoveListed(read_listed(Path(file))),
    "implied": lambda file: RemoveOverlaps(False, _implied(Path(file))),
    "level-rules": lambda file: read_level_rules(Path(file)),
    "overlaps": lambda: RemoveOverlaps(True, {}),
}


def main(options: argparse.Namespace) -> int:
    """Show, write or take back edits of tags; return the exit code."""
    config = data_config(options.place)
    if options.undo:
        pictures = read_captioned(config.data, options.place, "")
        restored = take_back([one.folder for one in pictures], options.set)
        print(f"{count(restored, 'caption')} of the set {options.set!r} are as before")
        return 0
    if options.diff is not None:
        _print(_differences(options, config), options, options.diff)
        return 0
    check_set_name(options.set, "--set")
    if options.core:
        pictures = read_captioned(config.data, options.place, options.source or "")
        show_core(core_tags(pictures, options), options)
        return 0
    query = parse_query(options.select) if options.select else None
    counted = _counter(options, config, query)
    target = read_captioned(config.data, options.place, options.set, counted)
    source = _source(options, config, target, counted)
    edits = _edits(options, source)
    changes, selected = find_changes(target, source, query, edits)
    if options.fields:
        refuse_empty(changes)
    _print(changes, options, options.set)
    if options.write:
        write_captions({one.file(options.set): one.after for one in changes}, options.set)
    if not options.json:
        told = f"{selected:,} of {count(len(target), 'picture')} are selected"
        print(f"{told}, and {count(len(changes), 'caption changes', 'captions change')}")
        for line in _unused(edits, source):
            print(printable(line))
        print(_done(options, len(changes)))
    return 0


def _source(
    options: argparse.Namespace, config: TrainConfig, target: list[Captioned], counted: Any
) -> list[Captioned]:
    """Return the pictures with the captions that are edited."""
    if options.fields:
        fields = with_fields(config.data, options.fields)
        found = read_captioned(fields, options.place, "", counted)
        without = sum(not one.caption for one in found)
        made = drawn_once(found, target, options.seed)
        if without and not options.json:
            keep = "keeps its caption" if without == 1 else "keep their captions"
            print(f"{count(without, 'picture')} without these fields {keep}")
        return made
    if options.source is not None:
        return _existing(options, config, options.source, counted)
    return target


def _unused(edits: Sequence[Edit], pictures: Sequence[Captioned]) -> Iterator[str]:
    for rules in edits:
        if isinstance(rules, LevelRules) and (unused := rules.unused(pictures)):
            names = and_more(f"[{short(rule.level, 60)}]" for rule in unused)
            yield f"rules that fit no folder: {names}"


def _edits(options: argparse.Namespace, source: Sequence[Captioned]) -> list[Edit]:
    edits: list[Edit] = []
    for name, values in options.edits or ():
        if name == "prune":
            edits.append(RemoveOfConcepts(core_of(core_tags(source, options))))
            continue
        if name == "everydream":
            edits.append(tags_of_folders(source, options.place))
            continue
        if any("\n" in value or "\r" in value for value in values) or values[:1] in ([""], [" "]):
            raise ConfigError(
                f"{values[0]!r:.60} is no tag", where=f"--{name}", fix="write a tag of one line"
            )
        edits.append(EDITS[name](*values))
    return edits


def _implied(file: Path) -> dict[str, frozenset[str]]:
    return {as_compared(tag): others for tag, others in read_table(file).items()}


def _counter(options: argparse.Namespace, config: TrainConfig, query: Query | None) -> Any:
    if query is None or "tokens:" not in str(query):
        return None
    limit = caption_limit(options.place, config)
    return None if limit is None else limit.count


def _existing(
    options: argparse.Namespace, config: TrainConfig, name: str, counted: Any = None
) -> list[Captioned]:
    """Read the captions of a set that must be there."""
    found = read_captioned(config.data, options.place, name, counted)
    there = sets_of(one.folder for one in found)
    if name and not there.get(name):
        raise ConfigError(
            f"there is no caption set {name!r}",
            where=str(options.place),
            fix=f"name one of: {and_more(there, 10)}" if there else "no set is there yet",
        )
    return found


def _differences(options: argparse.Namespace, config: TrainConfig) -> list[Change]:
    own = read_captioned(config.data, options.place, "")
    changes, _ = find_changes(own, _existing(options, config, options.diff), None, [])
    return changes


def _print(changes: Sequence[Change], options: argparse.Namespace, name: str) -> None:
    if options.json:
        rows = [
            {
                "file": str(one.one.picture.path),
                "caption_file": str(one.file(name)),
                "before": one.before,
                "after": one.after,
                "removed": one.lost,
                "added": one.new,
            }
            for one in changes
        ]
        print(json.dumps({"set": name, "changes": rows}, ensure_ascii=False))
        return
    for line in _lines(changes, options.place):
        print(printable(line))


def _lines(changes: Sequence[Change], place: Path) -> Iterator[str]:
    for one in changes[:SHOWN]:
        path = one.one.picture.path
        shown = path.relative_to(place) if path.is_relative_to(place) else path
        yield shown.as_posix()
        if one.lost:
            yield f"  - {short(', '.join(one.lost))}"
        if one.new:
            yield f"  + {short(', '.join(one.new))}"
        if not one.lost and not one.new:
            yield f"  = {short(one.after)}"
    if len(changes) > SHOWN:
        yield f"and {count(len(changes) - SHOWN, 'more caption')}"
    for sign, tags in (
        ("-", Counter(tag for one in changes for tag in one.lost)),
        ("+", Counter(tag for one in changes for tag in one.new)),
    ):
        if tags:
            often = (f"{short(tag, 40)} ({number:,})" for tag, number in tags.most_common())
            yield f"in all {sign} {and_more(often, 12)}"


def _done(options: argparse.Namespace, changed: int) -> str:
    if not options.write:
        return f"nothing is written; --write writes them into the caption set {options.set!r}"
    if not changed:
        return "nothing had to be changed"
    undo = ["--undo"] if options.set == "edited" else ["--set", options.set, "--undo"]
    back = command("lycoris-ext", "dataset", "tags", options.place, *undo)
    return (
        f'written into the caption set {options.set!r}, which caption_set = "{options.set}" '
        f"trains with; take it back with: {back}"
    )
