"""Find the folders of a data set, and make each of them a subset.

The layout is sd-scripts': a parent folder holds folders named ``<repeats>_<name>``, and these hold
pictures, each with a caption file of the same name. A parent with a multiply.txt anywhere below it
is read as nested folders instead (see folder_tree.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lycoris_ext.data.caption_files import count_endings
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.folder_tree import NAMED_FOLDER, has_multiply, read_multiply, read_tree
from lycoris_ext.data.picture_files import (
    OTHER_PICTURE_SUFFIXES,
    PICTURE_ENDINGS,
    is_picture,
    list_folder,
)
from lycoris_ext.data.subset import Subset
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.files import expanded
from lycoris_ext.words import and_more


@dataclass(frozen=True)
class Root:
    """A folder that a config names, and the subsets that were found in it.

    Args:
        option: name of the option that names it, such as "train_data_dir".
        path: of the folder.
        subsets: the folders named ``<repeats>_<name>`` in a parent; else the folder itself.
        is_parent: whether it is a parent: it should hold such folders, and no pictures.
        is_nested: whether each folder below it is a subset; its name is then only a name.
        fault: why a parent cannot be read, such as "does not exist"; "" if it can be read.
        loose: pictures that lie directly in a parent.
        unnamed: folders in a parent that hold pictures and have no repeats in their name.
        switched_off: folders in a parent whose name asks for 0 repeats.
    """

    option: str
    path: Path
    subsets: tuple[Subset, ...] = ()
    is_parent: bool = False
    is_nested: bool = False
    fault: str = ""
    loose: tuple[Path, ...] = ()
    unnamed: tuple[Path, ...] = ()
    switched_off: tuple[Path, ...] = ()


def options_for(folder: Path) -> dict[str, Any]:
    """Return the options that make a data set of a folder, by looking at what it holds.

    A multiply.txt anywhere in it makes it a train_data_dir of nested folders. Folders named
    ``<repeats>_<name>`` make it a train_data_dir, unless more pictures lie beside them than in
    them; otherwise it is an image_dir. The ending of most caption files is caption_extension, if
    it is not the default.

    Raises:
        DataError: the folder does not exist, cannot be read, or holds no pictures, or a
            multiply.txt holds no number.
    """
    if folder.is_file():
        raise DataError(
            "this is a file, not a folder",
            where=str(folder),
            fix="name the folder of the pictures; for the config of another program there is "
            "lycoris-ext import",
        )
    paths, fault = list_folder(folder)
    if fault:
        raise DataError(f"the folder {fault}", where=str(folder), fix="check the path")
    place = folder.resolve()
    loose = [path for path in paths if is_picture(path)]
    named = [path for path in paths if path.is_dir() and NAMED_FOLDER.fullmatch(path.name)]
    inside = [path for found in named for path in list_folder(found)[0] if is_picture(path)]
    nested = has_multiply(folder)
    if nested:
        leaves = read_tree(folder).leaves
        inside = [leaf.folder / name for leaf in leaves for name in leaf.pictures]
    elif not loose and not named:
        _refuse_without_pictures(folder, paths)
    match = NAMED_FOLDER.fullmatch(place.name)
    options: dict[str, Any] = {"train_data_dir": place.as_posix()}
    if len(loose) > len(inside) and not nested:
        repeats = max(1, int(match[1])) if match else 1
        options = {"image_dir": place.as_posix(), "num_repeats": repeats}
    return options | _caption_ending(loose if "image_dir" in options else inside)


def options_for_deep(folder: Path) -> dict[str, Any]:
    """Return the options for a folder as ``options_for`` does, or for nested folders as subsets.

    Training reads nested folders only where a multiply.txt says that they are meant; who looks at
    a data set wants to see them all.

    Raises:
        DataError: as for ``options_for``.
    """
    tree = read_tree(folder)
    if not tree.is_nested or has_multiply(folder) or len(tree.leaves) == 1:
        return options_for(folder)
    pictures = [leaf.folder / name for leaf in tree.leaves for name in leaf.pictures]
    subsets = [
        {"image_dir": str(leaf.folder), "class_tokens": leaf.folder.name} for leaf in tree.leaves
    ]
    return {"subsets": subsets} | _caption_ending(pictures)


def _caption_ending(pictures: Sequence[Path]) -> dict[str, Any]:
    """Return the option caption_extension if most captions have another ending than its default."""
    endings = count_endings(pictures)
    most = max(endings, key=lambda ending: endings[ending])  # the first of equal ones, the default
    return {} if most == next(iter(endings)) else {"caption_extension": most}


def _refuse_without_pictures(folder: Path, paths: list[Path]) -> None:
    """Refuse a folder with pictures neither in it nor in the folders in it; say where some lie."""
    if any(map(is_picture, (inside for path in paths for inside in list_folder(path)[0]))):
        return
    what, fix = "there is no picture in this folder", f"put pictures there ({PICTURE_ENDINGS})"
    others = [path.name for path in paths if path.suffix.lower() in OTHER_PICTURE_SUFFIXES]
    deeper = sorted({path.parent for path in folder.glob("*/*/*") if is_picture(path)})
    if others:
        what += f" in a format that is read; there are {and_more(others)}"
        fix = "save them as PNG or JPEG"
    elif deeper:
        what += f", but in {and_more(path.relative_to(folder).as_posix() for path in deeper)}"
        parent = deeper[0].parent if NAMED_FOLDER.fullmatch(deeper[0].name) else deeper[0]
        fix = f"name the folder {parent}"
    raise DataError(what, where=str(folder), fix=fix)


def find_roots(config: DataConfig) -> tuple[Root, ...]:
    """Find all folders that a config names; folders of regularisation pictures come last.

    Args:
        config: train_data_dir, image_dir, in_json, reg_data_dir and subsets are read.

    Raises:
        ConfigError: no folder of training pictures is given.
        DataError: a multiply.txt holds no number; all such files are told.
    """
    training, regular = [], []
    if config.in_json:
        training.append(_folder("in_json", _named_by_json(config)))
    elif config.train_data_dir:
        training.append(_parent(config, "train_data_dir", config.train_data_dir, is_reg=False))
    elif config.image_dir:
        name = expanded(config.image_dir).name.strip()
        subset = Subset.of(config, image_dir=config.image_dir, class_tokens=name)
        training.append(_folder("image_dir", subset))
    if config.reg_data_dir:
        regular.append(_parent(config, "reg_data_dir", config.reg_data_dir, is_reg=True))
    for subset in config.own_subsets:
        option = "image_dir of subsets" if subset.image_dir else "metadata_file of subsets"
        (regular if subset.is_reg else training).append(_folder(option, subset))
    if not training:
        raise ConfigError(
            "no pictures are given",
            where="train_data_dir",
            fix='set train_data_dir to the folder that holds your "10_name" folders, or image_dir '
            "to one folder of pictures",
        )
    return (*training, *regular)


def _folder(option: str, subset: Subset) -> Root:
    """Return the root of a single folder; its multiply.txt counts unless the config says more."""
    place = subset.place
    if subset.image_dir and subset.multiply == 1:
        multiply = read_multiply(place)
        if not multiply:
            return Root(option, place, switched_off=(place,))
        subset = replace(subset, multiply=float(multiply))
    return Root(option, place, (subset,))


def _named_by_json(config: DataConfig) -> Subset:
    folder = config.train_data_dir or config.image_dir
    name = expanded(folder).name.strip()
    return Subset.of(config, image_dir=folder, metadata_file=config.in_json, class_tokens=name)


def _parent(config: DataConfig, option: str, folder: str, *, is_reg: bool) -> Root:
    path = expanded(folder)
    paths, fault = list_folder(path)
    if not fault and has_multiply(path):
        return _nested(config, option, path, is_reg=is_reg)
    subsets, loose, unnamed, switched_off = [], [], [], []
    for entry in paths:
        match = NAMED_FOLDER.fullmatch(entry.name)
        if not entry.is_dir():
            loose += [entry] if is_picture(entry) else []
        elif not match:
            unnamed += [entry] if any(map(is_picture, list_folder(entry)[0])) else []
        elif int(match[1]) == 0:
            switched_off.append(entry)
        else:
            own = {"num_repeats": int(match[1]), "class_tokens": match[2].strip()}
            subsets.append(Subset.of(config, image_dir=str(entry), is_reg=is_reg, **own))
    return Root(
        option,
        path,
        tuple(subsets),
        is_parent=True,
        fault=fault,
        loose=tuple(loose),
        unnamed=tuple(unnamed),
        switched_off=tuple(switched_off),
    )


def _nested(config: DataConfig, option: str, path: Path, *, is_reg: bool) -> Root:
    leaves = read_tree(path).leaves
    subsets = [
        Subset.of(
            config,
            image_dir=str(leaf.folder),
            is_reg=is_reg,
            num_repeats=1,
            multiply=float(leaf.repeats),
            class_tokens=leaf.folder.name.strip(),
        )
        for leaf in leaves
        if leaf.repeats
    ]
    off = tuple(leaf.folder for leaf in leaves if not leaf.repeats)
    return Root(option, path, tuple(subsets), is_nested=True, switched_off=off)
