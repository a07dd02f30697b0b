"""Find the pictures and captions of a data set, and say exactly what is wrong with it.

The layout is sd-scripts': a parent folder with folders named ``<repeats>_<name>``, each holding
pictures and, beside each picture, a caption file of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lycoris_ext.data.captions import fix_for_missing_captions, read_caption
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.regularisation import match_repeats
from lycoris_ext.errors import ConfigError, DataError

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"})
OTHER_PICTURE_SUFFIXES = frozenset({".gif", ".jxl", ".heic", ".tif", ".tiff", ".psd"})
IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
NAMED_FOLDER = re.compile(r"(\d+)_(.*)")
LISTED = 10
"""How many files an error message names before it only counts."""


@dataclass(frozen=True)
class Picture:
    """One picture file of a data set.

    Args:
        path: the file, below `root`.
        root: train_data_dir, image_dir or reg_data_dir.
        caption: of its caption file, or its folder's name.
        repeats: how often an epoch shows it.
        folder: name of the folder it lies in.
        is_reg: whether it only keeps the model's knowledge of a class (reg_data_dir).
        has_caption_file: whether the caption was read from a file.
    """

    path: Path
    root: Path
    caption: str
    repeats: int
    folder: str
    is_reg: bool = False
    has_caption_file: bool = True


@dataclass(frozen=True)
class Scan:
    """What a data set's folders hold, and what the user should know about them."""

    pictures: tuple[Picture, ...]
    without_caption: int
    warnings: tuple[str, ...]


@dataclass
class _Findings:
    root: Path
    option: str
    pictures: list[Picture] = field(default_factory=list)
    uncaptioned: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    several_lines: list[Path] = field(default_factory=list)
    other_formats: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def scan_folders(config: DataConfig) -> Scan:
    """List every picture of the data set in a stable order.

    Args:
        config: train_data_dir or image_dir, reg_data_dir, and the caption options.

    Returns:
        Pictures ordered by folder and file name, so that a sample id means the same picture every
        time; those of reg_data_dir come last, repeated until they match the others.

    Raises:
        ConfigError: neither train_data_dir nor image_dir is given.
        DataError: a folder is missing or not laid out as expected, there is no picture, or captions
            are missing, empty or not UTF-8; the message names the files.
    """
    if not config.train_data_dir and not config.image_dir:
        raise ConfigError(
            "no pictures are given",
            where="train_data_dir",
            fix='set train_data_dir to the folder that holds your "10_name" folders',
        )
    if config.image_dir:
        found = _start("image_dir", config.image_dir)
        folders = [(found.root, config.num_repeats, found.root.name)]
    else:
        found = _start("train_data_dir", config.train_data_dir)
        folders = _named_folders(found)
    _scan_all(folders, config, found)
    _check_captions(found, config)
    regular = _scan_regularisation(config, sum(picture.repeats for picture in found.pictures))
    return Scan(
        tuple(found.pictures + regular.pictures),
        len(found.uncaptioned),
        tuple(found.warnings + regular.warnings),
    )


def _scan_regularisation(config: DataConfig, wanted: int) -> _Findings:
    """The pictures of reg_data_dir, repeated to match so many training pictures of an epoch."""
    if not config.reg_data_dir:
        return _Findings(Path(), "reg_data_dir")
    found = _start("reg_data_dir", config.reg_data_dir)
    _scan_all(_named_folders(found), config, found)
    _note(found)
    repeats = match_repeats([picture.repeats for picture in found.pictures], wanted)
    unused = len(found.pictures) - len(repeats)
    if unused:
        found.warnings.append(
            f"{unused} of {len(found.pictures)} regularisation pictures are not used: "
            f"those before them match the {wanted} training pictures of an epoch"
        )
    found.pictures = [
        replace(picture, repeats=count, is_reg=True)
        for picture, count in zip(found.pictures, repeats, strict=False)
    ]
    return found


def _start(option: str, folder: str) -> _Findings:
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"the folder {what}",
            where=str(root),
            fix=f"check {option}; on Windows write / or single quotes: 'C:\\pictures'",
        )
    return _Findings(root, option)


def _scan_all(
    folders: Sequence[tuple[Path, int, str]], config: DataConfig, found: _Findings
) -> None:
    for folder, repeats, name in folders:
        _scan_one(folder, repeats, name, config, found)
    if found.unreadable:
        raise DataError(
            f"{len(found.unreadable)} captions cannot be read:\n  " + "\n  ".join(found.unreadable),
            fix="save these files as UTF-8",
        )
    if not found.pictures:
        raise DataError(
            f"no picture in {and_more([folder for folder, _, _ in folders])}",
            where=str(found.root),
            fix=f"put pictures there ({', '.join(sorted(PICTURE_SUFFIXES))})",
        )


def _named_folders(found: _Findings) -> list[tuple[Path, int, str]]:
    """The ``<repeats>_<name>`` folders of the parent, or an error that says how to arrange them."""
    root = found.root
    named: list[tuple[Path, int, str]] = []
    unnamed: list[Path] = []
    for folder in _visible(root):
        match = NAMED_FOLDER.fullmatch(folder.name) if folder.is_dir() else None
        if match and int(match[1]) > 0:
            named.append((folder, int(match[1]), match[2]))
        elif match:
            found.warnings.append(f"{folder} is left out: its name asks for 0 repeats")
        elif folder.is_dir():
            unnamed.append(folder)
    loose = [path for path in _visible(root) if _is_picture(path)]
    if loose:
        raise DataError(
            f"{len(loose)} pictures lie directly in this folder ({and_more(loose)})",
            where=str(root),
            fix=_fix_for_loose_pictures(found),
        )
    with_pictures = [folder for folder in unnamed if any(_is_picture(p) for p in _visible(folder))]
    if with_pictures:
        example = with_pictures[0]
        raise DataError(
            f"folders with pictures but without repeats in their name: {and_more(with_pictures)}",
            where=str(root),
            fix=f'rename "{example.name}" to "10_{example.name}": each picture 10 times per epoch '
            f'("0_{example.name}" leaves it out)',
        )
    if not named:
        raise DataError(
            "no folder named <repeats>_<name> in here",
            where=str(root),
            fix=f'put the pictures into a folder such as "{root.name}/10_mystyle"; '
            "10 means each picture 10 times per epoch",
        )
    return named


def _fix_for_loose_pictures(found: _Findings) -> str:
    root, option = found.root, found.option
    if NAMED_FOLDER.fullmatch(root.name):
        return f"{option} is the PARENT folder: set it to {root.resolve().parent}"
    move = (
        f'{option} is the PARENT of "<repeats>_<name>" folders: move the pictures to '
        f"{root / ('10_' + root.name)}"
    )
    if option == "reg_data_dir":
        return move
    return move + ", or give this folder as image_dir and set num_repeats = 10"


def _scan_one(folder: Path, repeats: int, name: str, config: DataConfig, found: _Findings) -> None:
    for path in _visible(folder):
        if path.is_dir():
            inside = [p for p in path.rglob("*") if _is_picture(p)]
            if inside:
                found.warnings.append(
                    f"{len(inside)} pictures in {path} are left out: sub-folders are not read"
                )
            continue
        if path.suffix.lower() in OTHER_PICTURE_SUFFIXES:
            found.other_formats.append(path)
        if not _is_picture(path):
            continue
        caption_file = path.with_suffix(config.caption_extension)
        caption = ""
        if caption_file.is_file():
            try:
                caption, several = read_caption(caption_file, all_lines=config.enable_wildcard)
            except DataError as error:
                found.unreadable.append(f"{caption_file}: {error.what}")
                continue
            if several:
                found.several_lines.append(caption_file)
        captioned = bool(caption)
        if not captioned:
            found.uncaptioned.append(path)
            caption = name.strip()
        found.pictures.append(
            Picture(path, found.root, caption, repeats, folder.name, has_caption_file=captioned)
        )


def _check_captions(found: _Findings, config: DataConfig) -> None:
    """Training pictures need captions; those of a regularisation folder have its name."""
    missing = found.uncaptioned
    if missing and not config.allow_missing_captions:
        listed = "\n  ".join(str(path) for path in missing[:LISTED])
        more = f"\n  and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise DataError(
            f"{len(missing)} of {len(found.pictures)} pictures have no caption "
            f"(no {config.caption_extension} file, or an empty one):\n  {listed}{more}",
            fix=fix_for_missing_captions(missing, config.caption_extension),
        )
    if missing:
        found.warnings.append(
            f"{len(missing)} of {len(found.pictures)} pictures have no caption and are trained on "
            "their folder's name"
        )
    _note(found)


def _note(found: _Findings) -> None:
    if found.several_lines:
        found.warnings.append(
            f"{len(found.several_lines)} captions have several lines, only the first is used: "
            f"{and_more(found.several_lines)}"
        )
    if found.other_formats:
        found.warnings.append(
            f"{len(found.other_formats)} files are left out, their format is not supported: "
            f"{and_more(found.other_formats)}"
        )


def _visible(folder: Path) -> list[Path]:
    """Entries in a stable order, without what operating systems leave behind."""
    return sorted(
        (
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name.lower() not in IGNORED_NAMES
        ),
        key=lambda path: path.name,
    )


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in PICTURE_SUFFIXES and not hidden and path.is_file()


def and_more(paths: Iterable[Path], limit: int = 3) -> str:
    """The first few names, and how many more there are."""
    names = [path.name for path in paths]
    return ", ".join(names[:limit]) + (
        f" and {len(names) - limit} more" if len(names) > limit else ""
    )
