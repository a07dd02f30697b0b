"""Find out whether the pictures and captions of a folder have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data.caption_files import CAPTION_SUFFIXES
from lycoris_ext.data.picture_files import is_picture, list_folder
from lycoris_ext.errors import LycorisExtError

from .places import picture_folder


def fingerprint(folder: str, caption_extension: str | None = None) -> str:
    """Hash what is read of a folder: sizes and times of pictures, and the texts of captions.

    Args:
        folder: as the user wrote it.
        caption_extension: ending of caption files; None: any that captioning tools use.

    Returns:
        32 hexadecimal digits; "" if there is no such folder.
    """
    try:
        root = picture_folder(folder)
    except LycorisExtError:
        return ""  # running the node reports the reason
    digest = hashlib.blake2b(digest_size=16)
    endings = (caption_extension,) if caption_extension else CAPTION_SUFFIXES
    for path in _files_below(root):
        if is_picture(path):
            state = path.stat()
            known = f"{state.st_size}:{state.st_mtime_ns}".encode()
        elif path.name.endswith(endings):
            known = path.read_bytes()
        else:
            continue
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
