"""gen_img.py's regions: each network works in a part of the picture and for one of the prompts.

The prompts of a picture are drawn side by side: behind the batch of the negative prompt come, for
each picture, its sub-prompts. A network sees the text of its own sub-prompt alone, its updates in
the U-Net are multiplied with its mask, and behind each cross-attention the sub-prompts are mixed
into one picture again. The last network stands outermost and does what is to be done once.

Source: sd-scripts 48d368f, networks/lora.py, LoRAInfModule; names in ``shared`` are as there, so
that its networks and ours may stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.sites import Site

_LEVELS = 4  # a U-Net of SD halves a picture three times
_LATENT = 8  # pixels of a latent


class Region:
    """Where one network works.

    Args:
        index: of its sub-prompt.
        is_last: whether no other network comes after it.
        mask: (height, width), 0 to 1; nothing but zeros: all of the picture.
    """

    def __init__(self, index: int, is_last: bool, mask: Tensor) -> None:
        self.index = index
        self.is_last = is_last
        self.mask = mask if mask.max() > 0 else torch.ones_like(mask)
        self.batch = self.prompts = 1
        self.shared: dict[str, Any] = {}
        self._masks: dict[int, Tensor] = {}

    def start(
        self,
        batch: int,
        prompts: int,
        size: tuple[int, int],
        shared: dict[str, Any],
        ds_ratio: float | None,
    ) -> None:
        """Before a batch of pictures: its masks at every size that a U-Net has inside.

        Args:
            batch: pictures.
            prompts: sub-prompts of each.
            size: (height, width) in pixels.
            shared: what all networks of the run write to.
            ds_ratio: gen_img.py's "deep shrink" of the inner levels.
        """
        self.batch, self.prompts, self.shared = batch, prompts, shared
        self._masks = {}
        height, width = (side // _LATENT for side in size)
        for _ in range(_LEVELS):
            sizes = {(height, width), (height + height % 2, width + width % 2)}
            if ds_ratio is not None:
                sizes.add((int(height * ds_ratio), int(width * ds_ratio)))
            for level in sizes:
                mask = F.interpolate(self.mask[None, None].float(), level, mode="bilinear")
                self._masks[level[0] * level[1]] = mask
            height, width = (height + 1) // 2, (width + 1) // 2

    def mask_for(self, x: Tensor) -> Tensor:
        """The mask, broadcastable over (batch, channels, h, w) or (batch, tokens, channels); where
        there are no positions, or of another number, an equal share for each sub-prompt."""
        tokens = x.shape[2] * x.shape[3] if x.ndim == 4 else x.shape[1] if x.ndim == 3 else 0
        mask = self._masks.get(tokens)
        if mask is None:
            shape = (1, tokens, 1) if x.ndim == 3 else (1,) * x.ndim
            return x.new_full(shape, 1 / self.prompts)
        mask = mask.to(x.device, x.dtype)
        return mask.reshape(1, -1, 1) if x.ndim == 3 else mask


class RegionalForward:
    """Stands in for the original forward of a layer, with the update of one network.

    Args:
        region: of the network.
        adapter: of the layer, which no longer takes part itself.
        site: of the layer.
        original: what was called before: the layer, or another network's.
    """

    def __init__(
        self,
        region: Region,
        adapter: AdapterLayer,
        site: Site,
        original: Callable[..., Tensor],
    ) -> None:
        self.region = region
        self.adapter = adapter
        self.key = site.key
        self.module: Any = site.module
        self.original = original
        name = site.place.name
        self.of_text = site.target in TEXT_ENCODERS
        if self.of_text or "attn2_to_k" in name or "attn2_to_v" in name:
            self.way = self._for_its_prompt
        elif "time_emb" in name:
            self.way = self._everywhere
        elif "attn2_to_out" in name:
            self.way = self._mixed
        else:
            self.way = self._in_its_region
        self.splits = "attn2_to_q" in name

    def __call__(self, x: Tensor) -> Tensor:
        return self.way(x)

    def update(self, x: Tensor) -> Tensor:
        layer = self.adapter.plan.layer
        delta = self.adapter.delta(FrozenLayer.of(self.module, layer, self.original))
        padded = layer.pad(x)
        path = self.adapter.path(delta, layer.tokens(padded), can_merge=False)
        return delta.apply(padded, None, path)

    def _everywhere(self, x: Tensor) -> Tensor:
        return self.original(x) + self.update(x)

    def _in_its_region(self, x: Tensor) -> Tensor:
        update = self.update(x)
        out = self.original(x) + update * self.region.mask_for(update)
        return self._repeated(out) if self.splits and self.region.is_last else out

    def _repeated(self, x: Tensor) -> Tensor:
        """The queries of a picture, once for each of its sub-prompts."""
        batch = self.region.batch
        negative, positive, rest = x[:batch], x[batch : 2 * batch], x[2 * batch :]
        return torch.cat([negative, positive.repeat_interleave(self.region.prompts, 0), rest])

    def _for_its_prompt(self, x: Tensor) -> Tensor:
        out = self.original(x)
        if x.shape[0] == self.region.batch:  # the negative prompt in the text encoder
            return out
        rows = self._rows(behind_negative=not self.of_text)
        out = out.clone()
        out[rows] += self.update(x[rows])
        return out

    def _mixed(self, x: Tensor) -> Tensor:
        region, shared = self.region, self.region.shared
        part = self.update(x[self._rows(behind_negative=True)])
        if region.is_last:
            zeros = part.new_zeros((region.prompts * region.batch, *part.shape[1:]))
            shared[self.key] = zeros, [None] * region.prompts
        updates, masks = shared[self.key]
        updates[region.index :: region.prompts] += part
        masks[region.index] = region.mask_for(part)
        out = self.original(x)
        if not region.is_last:
            return out
        del shared[self.key]
        share = torch.cat(
            [torch.zeros_like(masks[region.index]) if m is None else m for m in masks]
        )
        of_each = (region.batch, region.prompts)
        behind = region.batch * (region.prompts + 1)
        positive = out[region.batch : behind].unflatten(0, of_each)
        mixed = (positive * share).sum(1) / (share.sum(0) + 1e-4)
        mixed = mixed + (updates.unflatten(0, of_each) * share).sum(1)
        return torch.cat([out[: region.batch], mixed, out[behind:]])

    def _rows(self, behind_negative: bool) -> slice:
        """Those of its sub-prompt, one for each picture."""
        start = self.region.index + (self.region.batch if behind_negative else 0)
        return slice(start, None, self.region.prompts)
