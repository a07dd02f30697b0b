"""Read the folders and captions of a data set into a `Scan`, which the data rules look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil
from pathlib import Path

from lycoris_ext.data.buckets import Crop
from lycoris_ext.data.caption_fields import Field
from lycoris_ext.data.caption_files import (
    ForeignCaption,
    decode_utf8,
    judge_foreign,
    orphans,
    read_bytes,
)
from lycoris_ext.data.caption_sets import SetFinder
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.field_files import field_file, read_fields
from lycoris_ext.data.findings import Finding, Location
from lycoris_ext.data.folder_tree import LEVELS, levels_below
from lycoris_ext.data.folders import Root, find_roots
from lycoris_ext.data.held_out import held_out
from lycoris_ext.data.level_rules import LevelRules, PlaceBelow, read_level_rules
from lycoris_ext.data.masks import MaskFolder, read_masks
from lycoris_ext.data.metadata_file import PictureFinder, joined, read_metadata
from lycoris_ext.data.picture_files import OTHER_PICTURE_SUFFIXES, is_picture, list_folder
from lycoris_ext.data.pictures import Checked
from lycoris_ext.data.regularisation import match_repeats
from lycoris_ext.data.subset import Subset
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.data.trained_captions import trained
from lycoris_ext.errors import DataError, Faults
from lycoris_ext.files import expanded


@dataclass(frozen=True)
class Picture:
    """One picture file of a data set.

    Args:
        path: the file, below `root`.
        root: the folder of train_data_dir, reg_data_dir or image_dir; hashes contain the path
            relative to it.
        caption: from its caption file, or the class_tokens of its subset if there is none; as much
            of it as the caption_mode of the subset leaves.
        repeats: number of times that an epoch shows it; 0.5 is every other epoch, on average.
        subset: the options of its folder.
        has_caption_file: whether the caption was read from a file.
        caption_file: the file that holds its caption, or should hold it: of a caption set, or the
            one beside it; None if a metadata_file does.
        fields: those of which the caption is made anew in every epoch; `caption` has them all. ()
            if it is always the same.
        is_held_out: whether it is never trained, because it is for validation.
        mask: the file that says how much each place of it counts in the loss; None: all alike.
    """

    path: Path
    root: Path
    caption: str
    repeats: float
    subset: Subset
    has_caption_file: bool = True
    caption_file: Path | None = None
    fields: tuple[Field, ...] = ()
    is_held_out: bool = False
    mask: Path | None = None

    @property
    def folder(self) -> str:
        """Name of the folder that holds the file, with those between it and the root."""
        return LEVELS.join(self.path.parent.relative_to(self.root).parts) or self.root.name

    @property
    def is_reg(self) -> bool:
        """Whether it is a regularisation picture."""
        return self.subset.is_reg

    @property
    def is_training(self) -> bool:
        """Whether it is a training picture, neither for regularisation nor held out."""
        return not (self.is_reg or self.is_held_out)


@dataclass
class FolderContent:
    """What was found in the folder of one subset.

    Args:
        root: the folder that the config names: the subset's own, or the parent of it.
        subset: the folder with its options.
        level_rules: those for its captions.
        fault: why the folder cannot be read, such as "does not exist"; "" if it can be read.
        pictures: all pictures, with the repeats of the subset.
        uncaptioned: pictures that have no caption file, or an empty one.
        unreadable: caption files that cannot be opened, each with the reason.
        foreign: caption files that are not UTF-8.
        several_lines: caption files of several lines, of which only the first is used.
        other_formats: picture files that are left out because of their format.
        deep: sub-folders that hold pictures, each with the number of them.
        metadata_fault: why metadata_file cannot be used, such as "is no JSON"; "" if it can be.
        absent: pictures that metadata_file names and that cannot be used, each with the reason.
        unnamed: pictures in the folder that metadata_file does not name.
        from_set: number of pictures whose caption is that of a caption set.
        orphans: caption files of pictures that are not there.
        twins: pictures that are left out, because another folder holds them out.
        masks: the files in conditioning_data_dir; None if that is not set.
    """

    root: Root
    subset: Subset
    level_rules: LevelRules = field(default_factory=LevelRules)
    fault: str = ""
    pictures: list[Picture] = field(default_factory=list)
    uncaptioned: list[Path] = field(default_factory=list)
    unreadable: list[Location] = field(default_factory=list)
    foreign: list[ForeignCaption] = field(default_factory=list)
    several_lines: list[Path] = field(default_factory=list)
    other_formats: list[Path] = field(default_factory=list)
    deep: list[tuple[Path, int]] = field(default_factory=list)
    metadata_fault: str = ""
    absent: list[Location] = field(default_factory=list)
    unnamed: list[Path] = field(default_factory=list)
    from_set: int = 0
    orphans: list[Path] = field(default_factory=list)
    twins: list[Path] = field(default_factory=list)
    masks: MaskFolder | None = None


@dataclass(frozen=True)
class CheckedPicture:
    """A picture that could be decoded, with its size and hash, and how it is cropped; its mask."""

    picture: Picture
    file: Checked
    crop: Crop
    mask: Checked | None = None


@dataclass(frozen=True)
class DamagedPicture:
    """A picture that could not be decoded, why, and what the user can do about it."""

    picture: Picture
    fault: str
    fix: str


@dataclass(frozen=True)
class Scan:
    """Everything that was found in the folders of a data set; data rules look at it.

    Args:
        config: the options.
        roots: the folders that the config names; those of regularisation pictures come last.
        folders: the folder of every subset, in the order of `roots`.
        pictures: the pictures of an epoch, ordered by folder and file name, so that a sample id
            means the same picture every time. Regularisation pictures come behind them, with
            repeats that match the training pictures, and those that are held out come last.
        checked: the pictures that could be decoded, in the order of `pictures`; empty before
            pictures are decoded.
        damaged: the pictures that could not be decoded.
        token_limit: how many tokens of a caption are read; None if nobody asked.
        place: the folder that was asked for, where the levels of pictures below it begin; None for
            those of a config, which begin at its folders.
        findings: what is wrong or notable; empty before the data rules were asked.
    """

    config: DataConfig
    roots: tuple[Root, ...]
    folders: tuple[FolderContent, ...]
    pictures: tuple[Picture, ...]
    checked: tuple[CheckedPicture, ...] = ()
    damaged: tuple[DamagedPicture, ...] = ()
    token_limit: TokenLimit | None = None
    place: Path | None = None
    findings: tuple[Finding, ...] = ()

    def levels(self, picture: Picture) -> tuple[str, ...]:
        """Return the levels of a picture's folder."""
        folder, place = picture.path.parent, self.place
        return levels_below(
            place if place and folder.is_relative_to(place) else picture.root, folder
        )

    @property
    def without_caption(self) -> int:
        """Number of training pictures that have no caption file, or an empty one."""
        return sum(len(found.uncaptioned) for found in self.folders if not found.subset.is_reg)


def read_folders(config: DataConfig, seed: int = 0) -> Scan:
    """List folders and pictures and read the captions, without opening the pictures.

    Args:
        config: folders and options.
        seed: of the run, which draws the pictures that are held out without a validation_seed.

    Raises:
        ConfigError: no folder of training pictures is given, or level_rules cannot be used.
    """
    roots = find_roots(config)
    subsets = [(root, subset) for root in roots for subset in root.subsets]
    rules = _read_level_rules(subset for _, subset in subsets)
    folders = tuple(_read_subset(root, one, rules[one.level_rules]) for root, one in subsets)
    _hold_out(folders, seed)
    pictures = [picture for found in folders for picture in found.pictures]
    training = [picture for picture in pictures if picture.is_training]
    regular = _match([picture for picture in pictures if picture.is_reg], training)
    held = [picture for picture in pictures if picture.is_held_out]
    return Scan(config, roots, folders, (*training, *regular, *held))


def _hold_out(folders: Sequence[FolderContent], seed: int) -> None:
    """Mark the pictures that validation_split takes, and leave them out of all other folders."""
    chosen: list[set[Path]] = []
    for found in folders:
        split, own = found.subset.validation_split, found.subset.validation_seed
        paths = list(dict.fromkeys(picture.path for picture in found.pictures))
        takes = split > 0 and not found.subset.is_reg
        drawn = held_out(paths, split, seed if own is None else own) if takes else []
        chosen.append(set(drawn))
    real = cache(Path.resolve)  # a folder may be named in several ways
    everywhere = {(real(path.parent), path.name) for paths in chosen for path in paths}
    for found, taken in zip(folders, chosen, strict=True) if everywhere else ():
        pictures, found.pictures = found.pictures, []
        for picture in pictures:
            if picture.path in taken:
                found.pictures.append(replace(picture, repeats=1, is_held_out=True))
            elif (real(picture.path.parent), picture.path.name) in everywhere:
                found.twins.append(picture.path)
            else:
                found.pictures.append(picture)


def _match(regular: list[Picture], training: list[Picture]) -> list[Picture]:
    """Set the repeats of regularisation pictures to match training pictures of their resolution."""
    matched: list[Picture] = []
    for size in dict.fromkeys(picture.subset.size for picture in regular):
        alike = [picture for picture in regular if picture.subset.size == size]
        wanted = sum(picture.repeats for picture in training if picture.subset.size == size)
        # Regularisation pictures are counted whole: they only have to be enough.
        counts = match_repeats([ceil(picture.repeats) for picture in alike], ceil(wanted))
        matched += [
            replace(picture, repeats=count) for picture, count in zip(alike, counts, strict=False)
        ]
    return matched


def _read_level_rules(subsets: Iterable[Subset]) -> dict[str, LevelRules]:
    rules, faults = {"": LevelRules()}, Faults()
    for name in dict.fromkeys(subset.level_rules for subset in subsets if subset.level_rules):
        with faults:
            rules[name] = read_level_rules(expanded(name))
    faults.raise_all()
    return rules


def _read_subset(root: Root, subset: Subset, level_rules: LevelRules) -> FolderContent:
    """Read the pictures and captions of a subset."""
    paths, fault = list_folder(subset.place) if subset.image_dir else ([], "")
    found = FolderContent(root, subset, LevelRules() if subset.is_reg else level_rules, fault)
    if subset.metadata_file and not fault:
        _read_metadata(found)
    elif not fault:
        _read_folder(found, paths)
    if subset.conditioning_data_dir:
        found.masks = read_masks(expanded(subset.conditioning_data_dir), subset.place)
        found.pictures = [replace(p, mask=found.masks.of(p.path)) for p in found.pictures]
    return found


def _read_folder(found: FolderContent, paths: list[Path]) -> None:
    """Read pictures with caption files beside them."""
    files = _CaptionFiles(found)
    for path in paths:
        if path.is_dir() and not found.root.is_nested:
            inside = sum(is_picture(below) for below in path.rglob("*"))
            found.deep += [(path, inside)] if inside else []
        elif path.suffix.lower() in OTHER_PICTURE_SUFFIXES:
            found.other_formats.append(path)
        elif is_picture(path):
            file = files.of_set(path)
            if file is None and found.subset.caption_fields:
                file = field_file(path)
                _add_picture(found, path, file, files.read_fields(file))
                continue
            file = file or path.with_suffix(found.subset.caption_extension)
            _add_picture(found, path, file, files.read(file))
    files.finish()
    found.orphans += orphans(paths, found.subset.caption_extension)


def _read_metadata(found: FolderContent) -> None:
    """Read the pictures that a metadata_file names, with their captions."""
    subset, file = found.subset, expanded(found.subset.metadata_file)
    try:
        entries = read_metadata(file)
    except DataError as error:
        found.metadata_fault = error.what
        return
    finder = PictureFinder(subset.place if subset.image_dir else None)
    keys: dict[Path, str] = {}
    for key in entries:
        path = finder.find(key)
        if path is None:
            found.absent.append(Location(Path(key), finder.why_not(key)))
        elif path in keys:
            found.absent.append(Location(Path(key), f"it is the same picture as {keys[path]}"))
        else:
            keys[path] = key
    files = _CaptionFiles(found)
    for path, key in sorted(keys.items()):
        own = files.of_set(path)
        if own is not None:
            _add_picture(found, path, own, files.read(own))
            continue
        separator, all_lines = subset.caption_separator, subset.enable_wildcard
        _add_picture(found, path, None, joined(entries[key], separator, all_lines=all_lines))
    files.finish()
    found.unnamed += finder.others(keys)


class _CaptionFiles:
    """Reads the caption files of a folder, and notes in its content which cannot be read."""

    def __init__(self, found: FolderContent) -> None:
        self._found = found
        self._sets = SetFinder(found.subset.caption_sets)
        self._foreign: list[tuple[Path, bytes]] = []

    def of_set(self, picture: Path) -> Path | None:
        """Return the file that a caption set has for a picture, or None."""
        file = self._sets.find(picture)
        self._found.from_set += file is not None
        return file

    def read(self, file: Path) -> str | None:
        """Return the text of a file, "" if it is not there; None if it cannot be read."""
        try:
            raw = read_bytes(file) if file.is_file() else b""
        except DataError as error:
            self._found.unreadable.append(Location(file, error.what))
            return None
        text = decode_utf8(raw)
        self._foreign += [(file, raw)] if text is None else []
        return text

    def read_fields(self, file: Path) -> tuple[Field, ...] | None:
        """Return the fields in a file, () if it is not there; None if it cannot be read."""
        subset = self._found.subset
        try:
            return read_fields(file, subset.wanted_fields, subset.between_tags)
        except DataError as error:
            self._found.unreadable.append(Location(file, error.what))
            return None

    def finish(self) -> None:
        """Note what concerns all files together."""
        self._found.unreadable += self._sets.faults
        self._found.foreign += judge_foreign(self._foreign)


def _add_picture(
    found: FolderContent, path: Path, file: Path | None, read: str | tuple[Field, ...] | None
) -> None:
    """Add a picture to what was found in the folder.

    Args:
        found: the folder.
        path: the picture.
        file: that holds its caption; None if a metadata_file does.
        read: the text of its caption, or the fields of it; None if it cannot be read.
    """
    subset, root = found.subset, found.root.path
    root = root if path.is_relative_to(root) else path.parent
    caption = trained(read, subset, found.level_rules, PlaceBelow(root, path.parent))
    found.several_lines += [file or path] if caption.several_lines else []
    found.uncaptioned += [path] if caption.is_missing else []
    found.pictures.append(
        Picture(
            path,
            root,
            caption.caption,
            subset.repeats,
            subset,
            has_caption_file=caption.is_there,
            caption_file=file,
            fields=caption.fields,
        )
    )
