"""LoRA, LoCon and DyLoRA: delta = up @ down; docs/algorithms/lora.md.

Source: LoRA, Hu et al. 2021, arXiv:2106.09685; on convolutions (LoCon) and with a Tucker core
LyCORIS, Yeh et al. 2023, arXiv:2309.14859; DyLoRA, Valipour et al. 2022, arXiv:2210.07558.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.dora import DoraOptions
from lycoris_ext.algorithms.parts import Core, Factor, Part, Product, TuckerOptions, kaiming
from lycoris_ext.algorithms.registry import register
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import Delta, FrozenLayer, LayerSpec, LowRank
from lycoris_ext.options import Section, option

_UP = Factor("lora_up.weight", "out rank 1k", kaiming, zero=True)
_DOWN = Factor("lora_down.weight", "rank in k", kaiming)


@dataclass(frozen=True, init=False)
class LoRAOptions(DoraOptions, TuckerOptions):
    """The options of LoRA."""


@register
class LoRA(Algorithm):
    """LoRA; on convolutions larger than 1x1 it is called LoCon, with the same formula and files."""

    name = "lora"
    Options: ClassVar[type[Section]] = LoRAOptions
    parts: ClassVar = {
        "w": (
            Product(_UP, _DOWN),
            Core(
                _UP,
                Factor("lora_mid.weight", "rank rank k", kaiming),
                Factor("lora_down.weight", "rank in 1k", kaiming),
            ),
        ),
    }

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        weight = parts["w"]
        assert isinstance(weight, LowRank)
        return weight.scaled(plan.scale)


@dataclass(frozen=True, init=False)
class DyLoRAOptions(DoraOptions):
    """The options of DyLoRA.

    use_tucker is not among them: ranks cannot be cut off one by one from a Tucker core.
    """

    block_size: int = option(
        4,
        "Number of ranks in a block of DyLoRA, a divisor of the rank. In each batch each layer "
        "draws a block at random and trains it; the ranks before it are used unchanged, those "
        "after it are switched off.",
        low=1,
    )


@register
class DyLoRA(LoRA):
    """DyLoRA: trains a LoRA that also works if its last ranks are cut off, block by block.

    In each training step each layer draws a number of blocks of ``block_size`` ranks: these are
    used, and the last of them is trained. The file is an ordinary LoRA.
    """

    name = "dylora"
    trains = "lora"
    Options = DyLoRAOptions

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: DyLoRAOptions) -> Plan:
        size = options.block_size
        if rank % size:
            divisors = [number for number in range(1, rank + 1) if rank % number == 0]
            raise ConfigError(
                f"blocks of {size} ranks do not fill rank {rank}",
                where="block_size",
                fix=f"use one of {divisors}, or a rank that is a multiple of {size}",
            )
        return replace(super().choose(layer, rank, alpha, options), extra_axes=(("block", size),))

    @classmethod
    def in_training(cls, tensors: Mapping[str, Tensor], plan: Plan) -> Mapping[str, Tensor]:
        """Return the factors with a random number of blocks switched off and one block trained.

        The scale is always alpha / rank of the full rank, so that a file from which ranks are cut
        off later computes what was trained.
        """
        size = dict(plan.extra_axes)["block"]
        up, down = tensors[_UP.key], tensors[_DOWN.key]
        blocks = torch.arange(plan.rank, device=up.device) // size
        last = torch.randint(plan.rank // size, (), device=up.device)
        learns, earlier = (blocks == last), (blocks < last)
        columns, rows = (-1, *[1] * (up.ndim - 2)), (-1, *[1] * (down.ndim - 1))
        up = torch.where(learns.reshape(columns), up, up.detach() * earlier.reshape(columns))
        down = torch.where(learns.reshape(rows), down, down.detach())
        return {**tensors, _UP.key: up, _DOWN.key: down}
