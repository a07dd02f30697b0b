"""Read captions and tags from the metadata JSON of sd-scripts' fine-tuning method.

Its tools write one object: the key of a picture -> {"caption": ..., "tags": ...}. The key is a
path, or a file name with or without its ending. A .jsonl file has one object a line, with the key
as "image_path". Sizes, and latents that sd-scripts keeps beside the pictures, are not read.

Source: sd-scripts, FineTuningDataset in library/train_util.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lycoris_ext.data.caption_files import CAPTION_BYTES, decode_utf8, read_bytes
from lycoris_ext.data.encodings import guess_encodings
from lycoris_ext.data.picture_files import is_picture, list_folder
from lycoris_ext.errors import DataError
from lycoris_ext.formats.json_text import parse_json

METADATA_BYTES = 200_000_000
"""The largest metadata file that is read: captions and tags of half a million pictures."""
_TIMES = 4
"""So many times as much as other JSON may it hold outside of captions and tags."""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and no file of text can."""


def read_metadata(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read a metadata file.

    Returns:
        The key of each picture, as it is written -> "caption" and "tags", each a text if it is
        there.

    Raises:
        DataError: the file cannot be read, or is not of this kind.
    """
    raw = read_bytes(path, METADATA_BYTES)
    text = decode_utf8(raw)
    if text is None:
        (guess,) = guess_encodings([raw])
        raise DataError(f"is not UTF-8: it {guess.says}", where=str(path))
    try:
        if path.suffix.lower() == ".jsonl":
            rows = [parse_json(line) for line in text.splitlines() if line.strip()]
            content = {row["image_path"]: row for row in rows}
        else:
            content = parse_json(text, _TIMES)
    except ValueError as error:
        raise DataError(f"is no JSON ({error})", where=str(path)) from error
    except (KeyError, TypeError) as error:
        raise DataError('has a line without "image_path"', where=str(path)) from error
    if not isinstance(content, dict) or not content:
        raise DataError("names no pictures", where=str(path))
    for key, entry in content.items():
        if not isinstance(key, str) or not _is_entry(entry):
            raise DataError(
                f'has no {{"caption": "...", "tags": "..."}} for {key!r:.80}', where=str(path)
            )
        longest = max(len(entry.get(name) or "") for name in ("caption", "tags"))
        if longest > CAPTION_BYTES:
            raise DataError(
                f"has a text of {longest:,} characters for {key!r:.80}, and at most "
                f"{CAPTION_BYTES:,} are read",
                where=str(path),
            )
    return content


def _is_entry(entry: object) -> bool:
    """Tell whether an entry has texts as caption and tags; either may be missing or null."""
    if not isinstance(entry, dict):
        return False
    texts = [entry[name] for name in ("caption", "tags") if entry.get(name) is not None]
    return all(isinstance(text, str) and not _SURROGATE.search(text) for text in texts)


def joined(entry: Mapping[str, Any], separator: str, *, all_lines: bool) -> str:
    """Join the caption and the tags of a picture, as sd-scripts does it.

    With all_lines sd-scripts of 2026 drops tags that stand without a caption, and adds a separator
    before empty tags; these two faults are not repeated.

    Args:
        entry: of ``read_metadata``.
        separator: stands between them, caption_separator.
        all_lines: add the tags to each line of the caption (for enable_wildcard), not to the end.
    """
    caption, tags = entry.get("caption") or "", entry.get("tags") or ""
    if not all_lines:
        return separator.join(part for part in (caption, tags) if part)
    tags = tags.replace("\n", separator)
    lines = [line for line in caption.split("\n") if line.strip()] or [""]
    return "\n".join(separator.join(part for part in (line, tags) if part) for line in lines)


@dataclass
class PictureFinder:
    """Finds the pictures that keys of a metadata file name.

    Args:
        folder: image_dir; None if only whole paths are given.
    """

    folder: Path | None
    _listed: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def find(self, key: str) -> Path | None:
        """Return the picture file of a key, or None.

        Of a path that does not exist here, such as one on another computer, the file of that name
        in the folder is taken.
        """
        place, name = self._place(key), _name(key)
        for folder in dict.fromkeys((place.parent, self.folder)):
            if folder is not None and name in (listed := self._list(folder)):
                return listed[name]
        return None

    def why_not(self, key: str) -> str:
        """Say why no picture was found for a key."""
        place = self._place(key)
        if any(os.path.isfile(f"{start}.npz") for start in (place, os.path.splitext(place)[0])):
            return "only its latents (.npz) are there, which sd-scripts made"
        if os.path.isfile(place):
            return "its format is not supported"
        if self.folder is None and not place.is_absolute():
            return "its path is not a whole one, and image_dir is not set"
        return "there is no such picture"

    def others(self, used: Iterable[Path]) -> list[Path]:
        """Return the pictures directly in the folder that are not among ``used``."""
        listed = {} if self.folder is None else self._list(self.folder)
        taken = set(used)
        return sorted(set(listed.values()) - taken)

    def _place(self, key: str) -> Path:
        path = Path(key.replace("\\", "/"))
        return path if self.folder is None else self.folder / path

    def _list(self, folder: Path) -> dict[str, Path]:
        """Return the pictures in a folder by their names, and by their names without ending."""
        if folder not in self._listed:
            there = list_folder(folder)[0] if os.path.isdir(folder) else []
            found = [path for path in there if is_picture(path)]
            stems = {path.stem: path for path in reversed(found)}
            self._listed[folder] = stems | {path.name: path for path in found}
        return self._listed[folder]


def _name(key: str) -> str:
    return key.replace("\\", "/").rpartition("/")[2]
