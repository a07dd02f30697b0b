"""Encoded captions for the U-Net: computed once where they cannot change, anew where they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lycoris_ext.data.store import MemoryStore, Tensors, TensorStore, cache_key, fetch

MAX_KEPT = 4096
"""Captions kept at most where they change: shuffled ones hardly ever come back."""


class TextStates:
    """Encodes captions, with gradients where the text encoder has an adapter.

    Args:
        encode: captions -> [B, L, D].
        trained: whether the text encoder is adapted; without, results are remembered.
        device: where the U-Net wants them.
        store: where they are remembered (unset: in memory).
        encoder: what tells this text encoder from all others, in a store that outlives the run.
    """

    def __init__(
        self,
        encode: Callable[[list[str]], Tensor],
        *,
        trained: bool,
        device: torch.device,
        store: TensorStore | None = None,
        encoder: str = "",
    ) -> None:
        self._encode = encode
        self._trained = trained
        self._device = device
        self._encoder = encoder
        self.store = store or MemoryStore(MAX_KEPT)
        self.encoded = 0
        """How many captions were encoded one by one so far."""

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Encode a batch of captions -> [B, L, D] on the U-Net's device."""
        if self._trained:
            return self._encode(list(captions))
        return torch.cat([self.states(caption) for caption in captions])

    def states(self, caption: str) -> Tensor:
        """One caption without gradients, [1, L, D], from the store where it is there."""
        key = cache_key(kind="caption", caption=caption, encoder=self._encoder)
        return fetch(self.store, key, lambda: self._compute(caption))["states"].to(self._device)

    @torch.no_grad()
    def _compute(self, caption: str) -> Tensors:
        self.encoded += 1
        # One at a time: what a caption is encoded to must not depend on its neighbours.
        return {"states": self._encode([caption])}
