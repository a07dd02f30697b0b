"""Textual inversions inside an adapter file: new words of the text encoder, trained with it.

OneTrainer bundles them under ``bundle_emb.WORD.ENCODER``, which AUTOMATIC1111 reads. They are no
part of any layer: here they are named, and kept when the adapter is saved again.
"""

from __future__ import annotations

from collections.abc import Iterable

_START = "bundle_emb."
_ENCODER = "clip_l"


def is_embedding(key: str) -> bool:
    """Return True if a key of an adapter file is that of a bundled textual inversion."""
    return key.startswith(_START)


def embedding_key(word: str) -> str:
    """Return the key of a textual inversion of this word for the first text encoder."""
    return f"{_START}{word}.{_ENCODER}"


def embedded_words(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the words of the textual inversions among a file's keys, sorted."""
    names = (key.removeprefix(_START) for key in keys if is_embedding(key))
    return tuple(sorted({name.removesuffix(".*").rpartition(".")[0] or name for name in names}))
