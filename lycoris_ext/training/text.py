"""Encoded captions for the U-Net: computed once where they cannot change, anew where they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lycoris_ext.data.store import MemoryStore, Tensors, TensorStore, cache_key, fetch
from lycoris_ext.models import Conditioning

MAX_KEPT = 4096
"""Captions kept at most where they change: shuffled ones hardly ever come back."""


class TextStates:
    """Encodes captions, with gradients where a text encoder has an adapter.

    Args:
        encode: captions -> what the U-Net is told of them.
        trained: whether a text encoder is adapted; without, results are remembered.
        device: where the U-Net wants them.
        store: where they are remembered (unset: in memory).
        encoder: what tells these text encoders from all others, in a store that outlives the run.
    """

    def __init__(
        self,
        encode: Callable[[list[str]], Conditioning],
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

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """Encode a batch of captions, on the U-Net's device."""
        if self._trained:
            return self._encode(list(captions))
        return Conditioning.join([self.states(caption) for caption in captions])

    def states(self, caption: str) -> Conditioning:
        """One caption without gradients, from the store where it is there."""
        key = cache_key(kind="caption", caption=caption, encoder=self._encoder)
        kept = fetch(self.store, key, lambda: self._compute(caption))
        pooled = kept.get("pooled")
        return Conditioning(
            kept["states"].to(self._device), None if pooled is None else pooled.to(self._device)
        )

    @torch.no_grad()
    def _compute(self, caption: str) -> Tensors:
        self.encoded += 1
        # One at a time: what a caption is encoded to must not depend on its neighbours.
        encoded = self._encode([caption])
        pooled = {} if encoded.pooled is None else {"pooled": encoded.pooled}
        return {"states": encoded.states, **pooled}
