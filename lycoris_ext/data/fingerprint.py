"""What a data set is to training: the bytes, captions and repeats of its pictures, and one hash.

A ``Manifest`` lists everything in a data set that influences training. Its fingerprint is a hash of
that list alone, so that no other place has to know what counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.scan import Picture
from lycoris_ext.data.subset import Subset, SubsetEntry, SubsetOptions
from lycoris_ext.files import expanded

HELD_OUT = "held out"
"""The mark of pictures that are not trained, but serve validation."""
_HASHED_OTHERWISE = ("num_repeats", "level_rules", "conditioning_data_dir")
"""Options of subsets of which only the effect is hashed: on repeats, captions and masks."""


class Entry(NamedTuple):
    """A picture of a data set.

    Attributes:
        name: its path below the folder that the config names.
        digest: hash of the bytes of its file, and behind a space that of its mask, if it has one.
        caption: as training reads it; a list of [name, text] if it is built of fields.
        repeats: number of times that an epoch shows it.
        subset: position of its subset in ``Manifest.subsets``.
    """

    name: str
    digest: str
    caption: str | list[list[str]]
    repeats: float
    subset: int


class ListedSubset(NamedTuple):
    """What the pictures of a subset have in common.

    Attributes:
        below: the way from the folder that holds all training pictures to the one that the config
            names; "" if they are the same.
        marks: what these pictures are for: "reg" for regularisation, "held out" for validation.
        own: the options in which the subset differs from the whole data set.
    """

    below: str
    marks: list[str]
    own: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """Everything in a data set that influences training.

    Args:
        options: option -> value of the whole data set, of those that differ from their defaults,
            as JSON has them. They are not part of the fingerprint, because resuming compares them
            one by one.
        subsets: the folders with options of their own.
        entries: every picture, in the order of training; those that are held out come last.
        seed: of the run, which draws what is held out.
    """

    options: dict[str, Any]
    subsets: tuple[ListedSubset, ...]
    entries: tuple[Entry, ...]
    seed: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that influences training, as 32 hexadecimal digits."""
        rest = [[*one.marks, *filter(None, [one.own])] for one in self.subsets]
        rows = [[*one[:-1], *rest[one.subset]] for one in self.entries]
        text = json.dumps(rows, ensure_ascii=False)
        # surrogatepass: a file name on Linux need not be text in any encoding.
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def label(self, entry: Entry) -> str:
        """Return the path of a picture below the folder that holds all training pictures."""
        below = self.subsets[entry.subset].below
        return f"{below}/{entry.name}" if below else entry.name


def manifest_of(
    config: DataConfig, pictures: Sequence[Picture], digests: Sequence[str], seed: int
) -> Manifest:
    """List what influences training in a data set.

    Args:
        config: the options of the whole data set.
        pictures: every picture that is trained or held out, in order.
        digests: ``joint_digest`` of each.
        seed: of the run.
    """
    whole = common_folder(config)
    subsets: list[ListedSubset] = []
    keys: dict[tuple[int, Path, bool], int] = {}
    entries = []
    for one, digest in zip(pictures, digests, strict=True):
        key = id(one.subset), one.root, one.is_held_out
        if key not in keys:
            keys[key] = len(keys)
            marks = [*(["reg"] if one.is_reg else []), *([HELD_OUT] if one.is_held_out else [])]
            own = _own_options(one.subset, config)
            subsets.append(ListedSubset(_below(one.root, whole), marks, own))
        name = one.path.relative_to(one.root).as_posix()
        caption = [list(field) for field in one.fields] or one.caption
        entries.append(Entry(name, digest, caption, one.repeats, keys[key]))
    return Manifest(as_json(config), tuple(subsets), tuple(entries), seed)


def joint_digest(picture: str, mask: str | None) -> str:
    """Return one hash of the bytes of a picture and of its mask, as ``Entry.digest`` has them."""
    return f"{picture} {mask}" if mask else picture


def training_folders(config: DataConfig) -> list[Path]:
    """Return the folders of training pictures that a config names, in order."""
    named = [config.train_data_dir or config.image_dir]
    named += [one.image_dir for one in config.subsets or () if not one.is_reg]
    return [expanded(text) for text in named if text]


def common_folder(config: DataConfig) -> Path | None:
    """Return the folder that holds all training pictures; None if there is no single one."""
    folders = training_folders(config)
    shared = [folders[0], *folders[0].parents] if folders else []
    inside = (path for path in shared if all(one.is_relative_to(path) for one in folders))
    return next(inside, None)


def as_json(config: DataConfig) -> dict[str, Any]:
    """Return the options of a config that differ from their defaults, as JSON has them."""
    values = config.changed()
    if config.subsets:
        values["subsets"] = [dict(_whole_paths(one)) for one in config.subsets]
    return _as_read(dict(_whole_paths(config, values)))


def _as_read(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as a reader of JSON gets them."""
    read: dict[str, Any] = json.loads(json.dumps(values))
    return read


def _whole_paths(
    section: DataConfig | SubsetEntry, values: dict[str, Any] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield the options of a section with paths that hold in every folder."""
    known = section.options()
    for name, value in (section.changed() if values is None else values).items():
        yield name, expanded(value).absolute().as_posix() if known[name].is_path else value


def _below(root: Path, whole: Path | None) -> str:
    if whole is None or root == whole or not root.is_relative_to(whole):
        return ""
    return root.relative_to(whole).as_posix()


def _own_options(subset: Subset, config: DataConfig) -> dict[str, Any]:
    """Return the options in which a subset differs from the data set."""
    own = {
        name: getattr(subset, name)
        for name in SubsetOptions.options()
        if name not in _HASHED_OTHERWISE and getattr(subset, name) != getattr(config, name)
    }
    return _as_read(own)
