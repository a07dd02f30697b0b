"""A cache of encoded captions, for training with a frozen text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import torch

from lycoris_ext.data.store import TensorStore, cache_key, fetch
from lycoris_ext.training.base_model import BaseModel
from lycoris_ext.training.step import Text

MAX_KEPT = 4096
"""Captions kept in memory if they change from epoch to epoch: shuffled ones rarely repeat."""


class TextCache(Generic[Text]):
    """Encodes the captions of batches, and caches the results unless a text encoder is trained.

    Args:
        base: the base model that encodes.
        limit: largest number of captions kept in memory; when it is reached, all are dropped.
            None: no limit.
        disk: cache in files to use instead of memory.
        encoder: hash of the text encoders, part of the keys in ``disk``.
    """

    def __init__(
        self,
        base: BaseModel[Text],
        limit: int | None = MAX_KEPT,
        disk: TensorStore | None = None,
        encoder: str = "",
    ) -> None:
        self._base, self._limit, self.disk, self._encoder = base, limit, disk, encoder
        self._memory: dict[str, Text] = {}
        self.encoded = 0
        """How many captions were encoded so far because the cache did not have them."""

    def __call__(self, captions: Sequence[str], *, gradients: bool) -> Text:
        """Encode a batch of captions.

        Args:
            captions: one for each sample.
            gradients: True if a text encoder is adapted: encode without the cache, as one batch.
        """
        if gradients:
            return self._base.encode_text(captions)
        return self._base.join([self.one(caption) for caption in captions])

    def one(self, caption: str) -> Text:
        """Return the encoding of one caption, without gradients, from the cache if possible."""
        if self.disk is not None:
            key = cache_key(kind="caption", caption=caption, encoder=self._encoder)
            kept = fetch(self.disk, key, lambda: self._base.to_tensors(self._compute(caption)))
            return self._base.from_tensors(kept)
        if caption not in self._memory:
            if self._limit is not None and len(self._memory) >= self._limit:
                self._memory.clear()
            self._memory[caption] = self._compute(caption)
        return self._memory[caption]

    @torch.no_grad()
    def _compute(self, caption: str) -> Text:
        self.encoded += 1
        # One at a time, so that the result does not depend on other captions in a batch.
        return self._base.encode_text([caption])
