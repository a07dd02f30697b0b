"""Find out whether the pictures and captions of a folder have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.caption_files import CAPTION_SUFFIXES
from lycoris_ext.data.picture_files import list_folder
from lycoris_ext.errors import LycorisExtError

from .places import picture_folder


def fingerprint(folder: str) -> str:
    """Hash what may be read of a folder: the texts of captions, sizes and times of other files.

    A caption file may have any ending, which another node chooses and this one is not told.

    Args:
        folder: as the user wrote it.

    Returns:
        32 hexadecimal digits; "" if there is no such folder.
    """
    try:
        root = picture_folder(folder)
    except LycorisExtError:
        return ""  # running the node reports the reason
    digest = hashlib.blake2b(digest_size=16)
    for path in _files_below(root):
        if path.name.endswith(CAPTION_SUFFIXES):
            known = path.read_bytes()
        else:
            state = path.stat()
            known = f"{state.st_size}:{state.st_mtime_ns}".encode()
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogatepass")
        digest.update(b"%s:%d:%s\n" % (name, len(known), known))
    return digest.hexdigest()


def _files_below(folder: Path, levels: int = 4) -> Iterator[Path]:
    """Return the files below a folder, without hidden ones and those of operating systems.

    Args:
        folder: in which links may lead to other folders, and even back to it.
        levels: how many folders deep files are looked for.
    """
    paths, _ = list_folder(folder)
    for path in paths:
        if not path.is_dir():
            yield path
        elif levels > 1:
            yield from _files_below(path, levels - 1)
