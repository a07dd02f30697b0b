"""Rewrite caption files of other encodings as UTF-8, and keep the originals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from lycoris_ext.data.caption_files import ForeignCaption, read_bytes
from lycoris_ext.data.encodings import Guess, guess_as
from lycoris_ext.data.scan import Scan
from lycoris_ext.errors import DataError, LycorisExtError
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import remove_leftovers


@dataclass(frozen=True)
class Rewritten:
    """What became of a caption file that was not UTF-8.

    Args:
        path: the file.
        says: what it was, or why it was not rewritten.
        kept: the copy of the original; None if the file was not rewritten.
        fix: what the user should do; "" if nothing.
    """

    path: Path
    says: str
    kept: Path | None = None
    fix: str = ""


def rewrite_captions(scan: Scan, encoding: str = "") -> Iterator[Rewritten]:
    """Rewrite all caption files of a data set that are not UTF-8, one after the other.

    The original is copied before the file is replaced in one step. So a process that is killed at
    any time leaves the whole original under its own name or under that of the copy.

    Args:
        scan: as it was found; a file that changed since is left alone.
        encoding: of all files that do not say it themselves; "": as it was guessed. Files of
            which the encoding is not clear are then left alone.

    Raises:
        ConfigError: there is no such encoding.
    """
    foreign = {file.path.resolve(): file for found in scan.folders for file in found.foreign}
    for path, file in foreign.items():
        certain = file.guess.certain or not encoding
        guess = file.guess if certain else guess_as(file.raw, encoding)
        if not guess.encoding:
            fix = "save the file as UTF-8, or name its encoding with --encoding"
            yield Rewritten(path, guess.says, fix=fix)
            continue
        try:
            yield _rewrite(path, file, guess)
        except LycorisExtError as error:
            yield Rewritten(path, error.what, fix=error.fix or "")


def _rewrite(path: Path, file: ForeignCaption, guess: Guess) -> Rewritten:
    if read_bytes(path) != file.raw:
        raise DataError("changed in the meantime", fix="run the same command again")
    remove_leftovers(path.parent, escape(path.name))  # of a killed process, the copy's as well
    kept = _keep(path, file.raw, guess.encoding)
    atomic_write(path, guess.text.removeprefix("\ufeff").encode("utf-8"))
    return Rewritten(path, guess.says, kept)


def _keep(path: Path, raw: bytes, encoding: str) -> Path:
    """Copy the original beside the file, unless an earlier, killed process has done so."""
    number = 1
    while True:
        again = f".{number}" if number > 1 else ""
        kept = path.with_name(f"{path.name}.{encoding}{again}.bak")
        if not kept.exists():
            atomic_write(kept, raw)
            return kept
        if kept.is_file() and read_bytes(kept) == raw:
            return kept
        number += 1
