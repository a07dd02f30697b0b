"""Rules about folders: missing, not laid out as expected, or only partly read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.findings import Code, Finding, Location
from lycoris_ext.data.folders import NAMED_FOLDER, Root
from lycoris_ext.data.picture_files import NOT_THERE, PICTURE_ENDINGS
from lycoris_ext.data.rules.registry import rule
from lycoris_ext.data.scan import Scan
from lycoris_ext.words import count

UNREADABLE = Code("LX001", "error", "A folder does not exist, is a file, or cannot be read.")
LOOSE = Code(
    "LX002",
    "error",
    "Pictures lie directly in a folder that should hold folders named `<repeats>_<name>`; only a "
    "warning if such folders hold as many pictures.",
)
UNNAMED = Code(
    "LX003", "error", "A folder with pictures has no number of repeats at the start of its name."
)
NO_FOLDER = Code("LX004", "error", "A folder holds no folder named `<repeats>_<name>`.")
NO_PICTURE = Code("LX005", "error", "There is no picture in a folder.")
SWITCHED_OFF = Code(
    "LX006", "note", "A folder is left out because its name or multiply.txt asks for 0 repeats."
)
DEEP = Code("LX007", "warning", "Pictures in sub-folders are left out.")
OTHER_FORMAT = Code(
    "LX008", "warning", "Picture files are left out because their format is not supported."
)


@rule(UNREADABLE)
def unreadable_folders(scan: Scan) -> Iterator[Finding]:
    faults = [(root, root.path, root.fault) for root in scan.roots]
    faults += [(found.root, found.subset.place, found.fault) for found in scan.folders]
    for root, path, fault in faults:
        if fault:
            yield UNREADABLE.finding(
                [path],
                f"the folder {fault}",
                f"check {root.option}; on Windows write / or single quotes: 'C:\\pictures'"
                if fault in NOT_THERE
                else "correct the permissions of the folder, and see that its disk is connected",
            )


@rule(LOOSE)
def loose_pictures(scan: Scan) -> Iterator[Finding]:
    for root in scan.roots:
        if not root.loose:
            continue
        inside = sum(len(found.pictures) for found in scan.folders if found.root is root)
        if inside < len(root.loose):
            number = count(len(root.loose), "picture lies", "pictures lie")
            yield LOOSE.finding(
                root.loose, f"{number} directly in {root.path}", _fix_for_loose_pictures(root)
            )
        else:
            left_out = count(len(root.loose), "picture is", "pictures are")
            yield LOOSE.finding(
                root.loose,
                f"{left_out} left out, because only folders named <repeats>_<name> are read in "
                f"{root.path}",
                f'move them into such a folder, such as "{Path(root.subsets[0].image_dir).name}"',
                "warning",
            )


def _fix_for_loose_pictures(root: Root) -> str:
    if NAMED_FOLDER.fullmatch(root.path.name):
        return f"{root.option} is the PARENT folder: set it to {root.path.resolve().parent}"
    move = (
        f'{root.option} is the PARENT of "<repeats>_<name>" folders: move the pictures to '
        f"{root.path / ('10_' + root.path.name)}"
    )
    if root.option != "train_data_dir":
        return move
    return move + ", or give this folder as image_dir and set num_repeats = 10"


@rule(UNNAMED)
def folders_without_repeats(scan: Scan) -> Iterator[Finding]:
    for root in scan.roots:
        if root.unnamed:
            name = root.unnamed[0].name
            one = f"folder with pictures in {root.path} has no repeats in its name"
            many = f"folders with pictures in {root.path} have no repeats in their names"
            yield UNNAMED.finding(
                root.unnamed,
                count(len(root.unnamed), one, many),
                f'rename "{name}" to "10_{name}", which shows each picture 10 times in an epoch '
                f'("0_{name}" leaves it out)',
            )


@rule(NO_FOLDER)
def parents_without_folders(scan: Scan) -> Iterator[Finding]:
    for root in scan.roots:
        empty = not (root.subsets or root.loose or root.unnamed or root.fault)
        if root.is_parent and empty:
            yield NO_FOLDER.finding(
                [root.path],
                "there is no folder named <repeats>_<name> in this folder",
                f'put the pictures into a folder such as "{root.path.name}/10_mystyle", where 10 '
                "shows each picture 10 times in an epoch",
            )


@rule(NO_PICTURE)
def folders_without_pictures(scan: Scan) -> Iterator[Finding]:
    for root in scan.roots:
        inside = [found for found in scan.folders if found.root is root and not found.fault]
        named = any(found.subset.metadata_file for found in inside)
        if inside and not named and not any(found.pictures for found in inside):
            yield NO_PICTURE.finding(
                [found.subset.place for found in inside],
                f"there is no picture in the folders of {root.option}",
                f"put pictures there ({PICTURE_ENDINGS})",
            )


@rule(SWITCHED_OFF)
def folders_with_0_repeats(scan: Scan) -> Iterator[Finding]:
    paths = [path for root in scan.roots for path in root.switched_off]
    if paths:
        one = "folder is left out, because its name or multiply.txt asks for 0 repeats"
        many = "folders are left out, because their names or multiply.txt ask for 0 repeats"
        yield SWITCHED_OFF.finding(paths, count(len(paths), one, many))


@rule(DEEP)
def pictures_in_sub_folders(scan: Scan) -> Iterator[Finding]:
    # Sub-folders may be subsets themselves.
    read = Counter(above for picture in scan.pictures for above in picture.path.parents)
    deep = [
        (path, inside - read[path])
        for found in scan.folders
        for path, inside in found.deep
        if inside > read[path]
    ]
    if deep:
        number = count(sum(pictures for _, pictures in deep), "picture is", "pictures are")
        yield DEEP.finding(
            [Location(path, count(pictures, "picture", "pictures")) for path, pictures in deep],
            f"{number} left out, because sub-folders are not read",
            "move them up, or name the sub-folders as subsets",
        )


@rule(OTHER_FORMAT)
def files_of_other_formats(scan: Scan) -> Iterator[Finding]:
    paths = [path for found in scan.folders for path in found.other_formats]
    if paths:
        yield OTHER_FORMAT.finding(
            paths,
            f"{count(len(paths), 'file is', 'files are')} left out, because the format "
            "is not supported",
            "save them as PNG",
        )
