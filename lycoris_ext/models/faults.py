"""Errors that every way of reading a model shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.words import and_more, count


def does_not_fill(weights: Path, missing: Sequence[str], mismatched: Sequence[object]) -> DataError:
    """Some weights of a model would have stayed random."""
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


def unreadable(place: Path, error: Exception) -> DataError:
    """A library could not read this."""
    # Several lines of advice may follow that fit other programs.
    text = " ".join(str(error).split())[:240] or type(error).__name__
    return DataError(
        f"cannot be read: {text}",
        where=str(place),
        fix="the files are damaged or of another model; download them again",
    )
