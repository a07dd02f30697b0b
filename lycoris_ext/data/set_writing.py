"""Write captions into a caption set, and take that back.

Beside the captions of a set, a hidden file keeps what was there before each of the last writings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from lycoris_ext.data.caption_sets import SETS, check_set_name
from lycoris_ext.errors import DataError, Faults
from lycoris_ext.files import read_bytes, read_within
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import make_folder, remove
from lycoris_ext.os_errors import reason, remedy_for_reading

JOURNAL = ".undo.json"
JOURNAL_BYTES = 500_000_000
KEPT = 10
"""Number of writings into one folder that can be taken back."""


def write_captions(captions: Mapping[Path, str], name: str) -> int:
    """Write captions into a set; originals are not touched.

    What was there before is kept first, so that a process that is killed at any time leaves a set
    that ``take_back`` restores.

    Args:
        captions: file of the set, see ``caption_sets.set_file`` -> caption, of one line or several.
        name: of the set.

    Returns:
        The number of files.

    Raises:
        ConfigError: the set cannot have this name.
        DataError: the folder of the set is a link, or what is there cannot be read.
        EnvironmentFault: a file cannot be written.
    """
    check_set_name(name, "--set")
    folders: dict[Path, dict[Path, str]] = {}
    for file, caption in captions.items():
        folders.setdefault(file.parent, {})[file] = caption
    faults = Faults()
    for folder in folders:
        with faults:
            _check_place(folder)
    faults.raise_all()
    writing = f"{datetime.now(timezone.utc).isoformat()} {uuid4().hex}"
    for folder, files in folders.items():
        make_folder(folder, "caption set")
        raws = {file: f"{caption}\n".encode() for file, caption in files.items()}
        step = {
            "id": writing,
            "before": {file.name: _text(_bytes(file)) for file in files},
            "after": {file.name: _digest(raw) for file, raw in raws.items()},
        }
        _save(folder, [*_steps(folder), step][-KEPT:])
        for file, raw in raws.items():
            atomic_write(file, raw)
    return len(captions)


def take_back(folders: Iterable[Path], name: str) -> int:
    """Restore a set as it was before the last writing.

    Args:
        folders: of pictures, of which the last writing concerned at least one.
        name: of the set.

    Returns:
        The number of captions that were restored.

    Raises:
        DataError: nothing was written, or a caption was changed by another program since.
    """
    check_set_name(name, "--set")
    places = [folder / SETS / name for folder in dict.fromkeys(folders)]
    journals = {place: steps for place in places if (steps := _steps(place))}
    if not journals:
        raise DataError(
            f"nothing was written into the caption set {name!r} that could be taken back",
            where="--undo",
            fix="name the folder and the --set of the command that wrote it",
        )
    last = max(steps[-1]["id"] for steps in journals.values())
    journals = {place: steps for place, steps in journals.items() if steps[-1]["id"] == last}
    changed = [
        file
        for place, steps in journals.items()
        for file, then in steps[-1]["before"].items()
        if _is_strange(_bytes(place / file), then, steps[-1]["after"][file])
    ]
    if changed:
        raise DataError(
            f"captions of the set were changed since they were written: {', '.join(changed[:5])}",
            where="--undo",
            fix="nothing was taken back, so that these changes are not lost; move these files away",
        )
    for place, steps in journals.items():
        _check_place(place)
        for file, text in steps[-1]["before"].items():
            if text is None:
                remove(place / file)
            else:
                atomic_write(place / file, text.encode("utf-8", "surrogateescape"))
        _save(place, steps[:-1])
    return sum(len(steps[-1]["before"]) for steps in journals.values())


def _check_place(folder: Path) -> None:
    """Refuse a folder of a set that is a link: the originals may lie at its end."""
    for place in (folder.parent, folder):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise DataError(
                "is a link or a file, and captions are only written into folders of their own",
                where=str(place),
                fix="choose another --set",
            )


def _steps(folder: Path) -> list[dict[str, Any]]:
    """Return what the journal of a set holds, the latest writing last."""
    file = folder / JOURNAL
    try:
        steps = json.loads(read_within(file, JOURNAL_BYTES))
        for step in steps:
            names = {str(name) for name in step["before"]}
            if names != set(step["after"]) or any(Path(name).name != name for name in names):
                raise ValueError("names of files are wrong")
            str(step["id"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = reason(error) if isinstance(error, OSError) else "it is damaged"
        fix = remedy_for_reading(error) if isinstance(error, OSError) else "delete it"
        raise DataError(
            f"cannot be read ({told})",
            where=str(file),
            fix=f"{fix}; without it, earlier writings cannot be taken back",
        ) from error
    return list(steps)


def _save(folder: Path, steps: list[dict[str, Any]]) -> None:
    """Write the journal; without steps remove it, and folders that are empty then."""
    if steps:
        atomic_write(folder / JOURNAL, json.dumps(steps).encode("ascii"))
        return
    remove(folder / JOURNAL)
    with suppress(OSError):  # not empty
        folder.rmdir()
        folder.parent.rmdir()


def _bytes(file: Path) -> bytes | None:
    try:
        return read_bytes(file)
    except FileNotFoundError:
        return None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "surrogateescape")


def _is_strange(raw: bytes | None, then: str | None, after: str) -> bool:
    """Tell whether a file is neither as it was written nor as it was before."""
    return _text(raw) != then and (raw is None or _digest(raw) != after)


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
