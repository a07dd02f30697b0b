"""gen_img.py's regions: each network changes one part of the picture, for one sub-prompt.

In the batch of a cross-attention the rows of the negative prompt come first; then come, for each
picture, the rows of its sub-prompts. A network changes only the text of its own sub-prompt, and its
updates in the U-Net are multiplied by its mask. After each cross-attention the sub-prompts are
mixed into one picture again. What has to be done once for all networks is done by the last one,
whose forward is the outermost.

Source: sd-scripts 48d368f, networks/lora.py, LoRAInfModule. The keys of ``shared`` are the same, so
that sd-scripts' networks and ours can be used together.
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
_LATENT = 8  # pixels for each latent, along one side


class Region:
    """The part of the picture and the sub-prompt to which one network is restricted.

    Args:
        index: of the sub-prompt, from 0.
        is_last: whether no other network of this run comes after this one.
        mask: (height, width), 0 to 1; all zeros stand for the whole picture.
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
        """Prepare for a batch of pictures: scale the mask to every size that the U-Net has inside.

        Args:
            batch: number of pictures.
            prompts: number of sub-prompts of each picture.
            size: (height, width) of the pictures in pixels.
            shared: a dict that all networks of the run read and write.
            ds_ratio: gen_img.py's factor for the size of inner levels ("deep shrink"), or None.
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
        """Return the mask, shaped to broadcast over an activation.

        If the activation's positions fit no size of the mask, each sub-prompt gets an equal share.

        Args:
            x: (batch, channels, h, w), (batch, tokens, channels), or without positions.
        """
        tokens = x.shape[2] * x.shape[3] if x.ndim == 4 else x.shape[1] if x.ndim == 3 else 0
        mask = self._masks.get(tokens)
        if mask is None:
            shape = (1, tokens, 1) if x.ndim == 3 else (1,) * x.ndim
            return x.new_full(shape, 1 / self.prompts)
        mask = mask.to(x.device, x.dtype)
        return mask.reshape(1, -1, 1) if x.ndim == 3 else mask


class RegionalForward:
    """Replaces the forward of a layer; adds one network's update inside the network's region.

    Args:
        region: the network's region.
        adapter: the network's adapter of this layer, which is no longer injected itself.
        site: the layer.
        original: the forward before: the layer's own, or another network's RegionalForward.
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
        """Return the adapter's update alone for the layer's input x."""
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
        """Repeat the queries of each picture for each of its sub-prompts."""
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
        """Return the rows of a batch that belong to this network's sub-prompt."""
        start = self.region.index + (self.region.batch if behind_negative else 0)
        return slice(start, None, self.region.prompts)
