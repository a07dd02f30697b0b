"""`lycoris-ext dataset caption DIR|CONFIG --tagger FOLDER`: tag pictures, into a caption set."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lycoris_ext.cli.arguments.dataset_caption import tagging_options
from lycoris_ext.cli.dataset import tags
from lycoris_ext.cli.dataset.reading import data_config
from lycoris_ext.config import OptionSource, TrainConfig, build_config
from lycoris_ext.data import DiskStore
from lycoris_ext.data.caption_sets import check_set_name, set_file
from lycoris_ext.data.folder_tree import read_tree
from lycoris_ext.data.set_writing import write_captions
from lycoris_ext.data.tag_changes import Captioned, read_captioned
from lycoris_ext.errors import ConfigError, DataError, Faults
from lycoris_ext.files import expanded, read_bytes
from lycoris_ext.printable import printable
from lycoris_ext.sampling.progress import counting_pictures
from lycoris_ext.tagging.captions import CaptionMaker
from lycoris_ext.tagging.model import OnnxTagger
from lycoris_ext.tagging.options import TaggingOptions
from lycoris_ext.tagging.score import score_pictures
from lycoris_ext.training.caches import cache_folder
from lycoris_ext.words import and_more, command, count, short, table

SHOWN = 20
"""Number of captions that --preview prints; --json has them all."""


@dataclass
class Tagged:
    """What became of the pictures.

    Args:
        captions: picture -> its new caption.
        changed: those of them that the set does not hold yet.
        often: tag -> number of captions with it.
        kept: number of pictures that an earlier run had tagged.
        faults: errors of the pictures that cannot be read.
    """

    captions: dict[Path, str] = field(default_factory=dict)
    changed: dict[Path, str] = field(default_factory=dict)
    often: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    faults: list[DataError] = field(default_factory=list)


def main(options: argparse.Namespace) -> int:
    """Tag pictures, or take that back; return the exit code."""
    if options.undo or options.diff is not None:
        return tags.main(options)  # sets are all alike
    if options.tagger is None:
        raise ConfigError(
            "no tagger is given",
            where="--tagger",
            fix="name the folder that holds its model.onnx and selected_tags.csv",
        )
    check_set_name(options.set, "--set")
    wanted = tagging_options(options)
    config = _config(options.place, everything=wanted.recursive)
    there = options.set if wanted.append_tags else ""
    pictures = {
        set_file(one.picture.path, options.set): one
        for one in reversed(read_captioned(config.data, options.place, there))
    }
    tagger = OnnxTagger(expanded(options.tagger))
    folder = expanded(options.cache_dir) if options.cache_dir else cache_folder(config)
    store = DiskStore(folder / "tags")
    tagged = _tag(pictures, tagger, store, wanted)
    if not options.preview:
        write_captions(_by_file(tagged.changed, options.set), options.set)
    if options.json:
        print(json.dumps(_as_json(tagged, options.set), ensure_ascii=False))
    else:
        for line in _lines(tagged, options, wanted, tagger.provider):
            print(printable(line))
    Faults(tagged.faults).raise_all()
    return 0


def _config(place: Path, *, everything: bool) -> TrainConfig:
    """Return the config that names the pictures.

    Args:
        place: a folder or a config.
        everything: take all folders with pictures in a folder and below it.
    """
    if not everything:
        return data_config(place)
    if not place.is_dir():
        raise ConfigError(
            "a config names its folders itself",
            where="--recursive",
            fix="leave it out, or name a folder",
        )
    leaves = read_tree(place).leaves
    subsets = [{"image_dir": str(one.folder), "class_tokens": one.folder.name} for one in leaves]
    return build_config([OptionSource(str(place), {"subsets": subsets})])


def _tag(
    pictures: dict[Path, Captioned], tagger: OnnxTagger, store: DiskStore, wanted: TaggingOptions
) -> Tagged:
    """Tag pictures, showing how long it takes.

    Args:
        pictures: file of the caption set -> picture.
        tagger: what is run.
        store: keeps its answers.
        wanted: the options.
    """
    maker, tagged = CaptionMaker(tagger.labels, wanted), Tagged()
    by_path = {one.picture.path: (file, one) for file, one in pictures.items()}
    paths = sorted(by_path)
    with counting_pictures("tagging", len(paths)) as progress:
        for scored in score_pictures(paths, tagger, store, wanted):
            progress(1)
            if scored.error is not None:
                tagged.faults.append(scored.error)
                continue
            tagged.kept += scored.was_kept
            file, one = by_path[scored.path]
            caption = maker.caption(scored.scores, one.caption)
            tagged.often.update(maker.tags(scored.scores))
            tagged.captions[scored.path] = caption
            if _differs(file, caption, one.caption):
                tagged.changed[scored.path] = caption
    return tagged


def _differs(file: Path, caption: str, own: str) -> bool:
    """Tell whether a caption has to be written: a set only holds what differs from the original."""
    try:
        return read_bytes(file) != f"{caption}\n".encode()
    except FileNotFoundError:
        return caption != own


def _by_file(captions: dict[Path, str], name: str) -> dict[Path, str]:
    return {set_file(path, name): text for path, text in sorted(captions.items())}


def _as_json(tagged: Tagged, name: str) -> dict[str, object]:
    rows = [
        {
            "file": str(path),
            "caption_file": str(set_file(path, name)),
            "caption": caption,
            "changed": path in tagged.changed,
        }
        for path, caption in sorted(tagged.captions.items())
    ]
    unread = [{"file": one.where, "error": one.what} for one in tagged.faults]
    return {
        "set": name,
        "captions": rows,
        "unread": unread,
        "tags": dict(tagged.often.most_common()),
    }


def _lines(
    tagged: Tagged, options: argparse.Namespace, wanted: TaggingOptions, provider: str
) -> Iterator[str]:
    root = options.place.resolve()
    if options.preview:
        yield from _captions(tagged, root)
    if wanted.frequency_tags and tagged.often:
        rows = [[short(tag, 60), f"{number:,}"] for tag, number in tagged.often.most_common()]
        yield from table([["tag", "captions"], *rows])
    new = len(tagged.captions) - tagged.kept
    yield (
        f"{count(new, 'picture')} tagged now ({provider}), {tagged.kept:,} by an earlier run; "
        f"{count(len(tagged.changed), 'caption changes', 'captions change')}"
    )
    empty = sorted(_shown(path, root) for path, text in tagged.captions.items() if not text)
    if empty:
        yield (
            f"{count(len(empty), 'caption is', 'captions are')} empty, because no tag is likely "
            f"enough: {and_more(empty)}; a lower --thresh finds more"
        )
    yield _done(options, len(tagged.changed))


def _captions(tagged: Tagged, root: Path) -> Iterator[str]:
    changed = sorted(tagged.changed.items())
    for path, caption in changed[:SHOWN]:
        yield _shown(path, root)
        yield f"  {short(caption)}"
    if len(changed) > SHOWN:
        yield f"and {count(len(changed) - SHOWN, 'more caption')}"


def _shown(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _done(options: argparse.Namespace, changed: int) -> str:
    if options.preview:
        return "nothing is written; without --preview the captions go into a caption set"
    if not changed:
        return "nothing had to be changed"
    undo = ["--undo"] if options.set == "tagged" else ["--set", options.set, "--undo"]
    back = command("lycoris-ext", "dataset", "caption", options.place, *undo)
    return (
        f'written into the caption set {options.set!r}, which caption_set = "{options.set}" '
        f"trains with; take it back with: {back}"
    )
