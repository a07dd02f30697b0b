"""Encoded captions for the U-Net: computed once where they cannot change, anew where they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lycoris_ext.models import Conditioning

MAX_KEPT = 4096
"""Captions kept at most: shuffled ones hardly ever come back."""


class TextStates:
    """Encodes captions, with gradients where the text encoder has an adapter.

    Args:
        encode: captions -> what the U-Net is told of them.
        trained: whether the text encoder is adapted; without, results are remembered.
    """

    def __init__(self, encode: Callable[[list[str]], Conditioning], *, trained: bool) -> None:
        self._encode = encode
        self._trained = trained
        self._kept: dict[str, Conditioning] = {}

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """Encode a batch of captions, on the text encoder's device."""
        if self._trained:
            return self._encode(list(captions))
        if len(self._kept) > MAX_KEPT:
            self._kept.clear()
        for caption in captions:
            if caption not in self._kept:
                # One at a time: what a caption is encoded to must not depend on its neighbours.
                with torch.no_grad():
                    self._kept[caption] = self._encode([caption])
        return Conditioning.join([self._kept[caption] for caption in captions])
