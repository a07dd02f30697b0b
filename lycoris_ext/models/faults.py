"""Errors that the readers of folders and of single files have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as brief

from lycoris_ext.errors import DataError, FormatError, LycorisExtError
from lycoris_ext.files import open_file, read_within
from lycoris_ext.formats.json_text import MAX_BYTES, parse_json
from lycoris_ext.formats.strangers import LOOK, placeholder_of
from lycoris_ext.formats.weights import fault_of
from lycoris_ext.os_errors import reason, remedy_for_reading
from lycoris_ext.words import and_more, count, short

_RESTORE = "restore it from the model's source"


def does_not_fill(weights: Path, missing: Sequence[str], mismatched: Sequence[object]) -> DataError:
    """Make the error for a file whose weights do not fill its model, so that some stay random.

    Args:
        weights: the file.
        missing: names of weights that it lacks.
        mismatched: names of weights that have another shape than the model's.
    """
    faults = [
        f"{what} {count(len(names), 'weight')}: {and_more(names)}"
        for what, names in (
            ("lacks", missing),
            ("has another shape than the model's config says for", mismatched),
        )
        if names
    ]
    return DataError(
        "; ".join(faults),
        where=str(weights),
        fix="config and weights are of different models, or a part was left out; download the "
        "model again",
    )


def unreadable(path: Path, error: Exception) -> DataError:
    """Make the error for files that diffusers, transformers or safetensors could not read.

    Args:
        path: the file or folder.
        error: what the library raised.
    """
    if isinstance(error, OSError) and error.errno:  # libraries raise OSErrors of their own, too
        return DataError(
            f"cannot be read ({reason(error)})",
            where=str(error.filename or path),
            fix=remedy_for_reading(error),
        )
    fault = fault_in(path)
    if fault is not None:
        return fault
    # Libraries add several lines of advice that does not fit this program: cut them off.
    text = " ".join(str(error).split())[:240] or type(error).__name__
    return DataError(
        f"cannot be read: {text}",
        where=str(path),
        fix="the files are damaged or of another model; download them again",
    )


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn what a library raises about a file in a ``with`` block into a DataError.

    The errors of diffusers and transformers have no base in common, and tokenizers raises bare
    Exceptions. So let nothing but their reading of the file stand in the block.

    Args:
        path: the file or folder.
    """
    try:
        yield
    except (LycorisExtError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def fault_in(path: Path) -> FormatError | None:
    """Find out what is wrong with a file of a model before a library reads it.

    Args:
        path: the file, or a folder whose files are all looked at.

    Returns:
        The first fault: it is something else, cut off, no JSON, or over a bound; None if nothing is
        found.
    """
    if path.is_dir():
        return next(filter(None, map(fault_in, sorted(path.glob("*")))), None)
    if path.suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin"):
        return fault_of(path)
    if path.suffix not in (".json", ".txt"):
        return None
    try:
        with open_file(path) as file:
            start, size = file.read(LOOK), os.fstat(file.fileno()).st_size
        kind = placeholder_of(start, size)
        if kind is not None:
            return FormatError(f"this is {kind.name}", where=str(path), fix=kind.mend)
        text = read_within(path, MAX_BYTES)
        # diffusers takes a text in the place of an object for the name of a model, to download it.
        if path.suffix == ".json" and not isinstance(content := parse_json(text), dict):
            what = f"holds {short(brief(content), 40)}, and an object is expected"
            return FormatError(what, where=str(path), fix=_RESTORE)
    except OSError as error:
        return FormatError(
            f"cannot be read ({reason(error)})", where=str(path), fix=remedy_for_reading(error)
        )
    except ValueError as error:
        return FormatError(f"is not valid JSON: {error}", where=str(path), fix=_RESTORE)
    return None
