"""Encoded captions: computed once where they cannot change, anew where they can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import torch

from lycoris_ext.data.store import TensorStore, cache_key, fetch
from lycoris_ext.training.base_model import BaseModel
from lycoris_ext.training.step import Text

MAX_KEPT = 4096
"""Captions kept in memory where they change: shuffled ones hardly ever come back."""


class TextCache(Generic[Text]):
    """Encodes the captions of batches, and remembers them.

    Args:
        base: whose text encoders read them.
        limit: captions kept in memory at most (None: all); when it is reached, they are given up.
        disk: where they are kept instead.
        encoder: a hash of these text encoders, for what is kept on disk.
    """

    def __init__(
        self,
        base: BaseModel[Text],
        limit: int | None = MAX_KEPT,
        disk: TensorStore | None = None,
        encoder: str = "",
    ) -> None:
        self._base, self._limit, self._disk, self._encoder = base, limit, disk, encoder
        self._memory: dict[str, Text] = {}
        self.encoded = 0
        """How many captions were encoded one by one so far."""

    def __call__(self, captions: Sequence[str], *, gradients: bool) -> Text:
        """Encode a batch of captions.

        Args:
            captions: one for each sample.
            gradients: a text encoder is adapted: encode anew, all together.
        """
        if gradients:
            return self._base.encode_text(captions)
        return self._base.join([self.one(caption) for caption in captions])

    def one(self, caption: str) -> Text:
        """Encode one caption without gradients, or find it."""
        if self._disk is not None:
            key = cache_key(kind="caption", caption=caption, encoder=self._encoder)
            kept = fetch(self._disk, key, lambda: self._base.to_tensors(self._compute(caption)))
            return self._base.from_tensors(kept)
        if caption not in self._memory:
            if self._limit is not None and len(self._memory) >= self._limit:
                self._memory.clear()
            self._memory[caption] = self._compute(caption)
        return self._memory[caption]

    @torch.no_grad()
    def _compute(self, caption: str) -> Text:
        self.encoded += 1
        # One at a time: what a caption is encoded to must not depend on its neighbours.
        return self._base.encode_text([caption])
