"""Tags that EveryDream2 reads for whole folders, from their local.yaml and global.yaml.

The tags of ``local.yaml`` belong to the pictures beside it, those of ``global.yaml`` to the
pictures in folders below it, too. They come behind those of the caption, the nearest file's first.

Source: EveryDream2trainer, data/dataset.py (ImageConfig.merge) and doc/DATA.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.config.imports.yaml_text import parse_yaml
from lycoris_ext.data.tag_changes import Captioned
from lycoris_ext.data.tag_edits import Add, Place, Sections
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.files import read_text_within
from lycoris_ext.os_errors import reason, remedy_for_reading

LOCAL = ("local.yaml", "local.yml")
GLOBAL = ("global.yaml", "global.yml")


@dataclass(frozen=True)
class AddOfFolders:
    """Adds the tags of folders at the end, where they are not there.

    Args:
        tags: folder -> tags, in their order.
    """

    tags: Mapping[Path, Sequence[str]]

    def __call__(self, sections: Sections, place: Place) -> Sections:
        for tag in self.tags.get(place.folder, ()):
            sections = Add(tag)(sections, place)
        return sections


def tags_of_folders(pictures: Sequence[Captioned], top: Path) -> AddOfFolders:
    """Read the files for the folders of pictures.

    Args:
        pictures: in these folders.
        top: the highest folder whose file counts; for pictures elsewhere it is their root.

    Raises:
        ConfigError: a file cannot be read, there are tags in it that are none, or there is no file.
    """
    places = {
        one.folder: top if one.folder.is_relative_to(top) else one.picture.root for one in pictures
    }
    read: dict[Path, list[str]] = {}
    faults = Faults()
    for file in dict.fromkeys(file for pair in places.items() for file in _files(*pair)):
        if file.exists():
            with faults:
                read[file] = _tags(file)
    faults.raise_all()
    if not read:
        raise ConfigError(
            "there is no local.yaml and no global.yaml in these folders",
            where=str(top),
            fix="leave --everydream out, or write such a file",
        )
    return AddOfFolders(
        {
            folder: [tag for file in _files(folder, root) for tag in read.get(file, ())]
            for folder, root in places.items()
        }
    )


def _files(folder: Path, top: Path) -> Iterator[Path]:
    """Yield the files that concern pictures of a folder, whether they exist or not."""
    yield from (folder / name for name in LOCAL)
    for place in (folder, *folder.parents):
        yield from (place / name for name in GLOBAL)
        if place == top:
            return


def _tags(file: Path) -> list[str]:
    try:
        content = parse_yaml(read_text_within(file), str(file))
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({reason(error)})", where=str(file), fix=remedy_for_reading(error)
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8", where=str(file), fix="save it as UTF-8") from error
    rows = content.get("tags") if isinstance(content, Mapping) else None
    found = rows if isinstance(rows, list) else [] if rows is None else [rows]
    tags = [row["tag"] if isinstance(row, Mapping) and "tag" in row else row for row in found]
    if not all(map(_is_tag, tags)):
        raise ConfigError(
            f"tags are {rows!r:.100}, expected a list of tags",
            where=str(file),
            fix='write them as in tags: ["long hair", "smile"]',
        )
    return [" ".join(str(tag).split()) for tag in tags]


def _is_tag(tag: object) -> bool:
    return isinstance(tag, (str, int, float)) and bool(str(tag).strip()) and "\0" not in str(tag)
