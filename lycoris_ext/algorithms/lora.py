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

from lycoris_ext.algorithms.base import Algorithm, Plan, register
from lycoris_ext.algorithms.dora import DoraOptions
from lycoris_ext.algorithms.parts import Core, Factor, Part, Product, TuckerOptions, kaiming
from lycoris_ext.errors import ConfigError
from lycoris_ext.functional import Delta, FrozenLayer, LayerSpec, LowRank
from lycoris_ext.options import Section, option

_UP = Factor("lora_up.weight", "out rank 1k", kaiming, zero=True)
_DOWN = Factor("lora_down.weight", "rank in k", kaiming)


@dataclass(frozen=True, init=False)
class LoRAOptions(DoraOptions, TuckerOptions):
    """Options of LoRA."""


@register
class LoRA(Algorithm):
    """On convolutions this is LoCon; the two differ only in which layers are given a rank."""

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
    """Options of DyLoRA. A Tucker core has no ranks that could be cut off one after the other."""

    block_size: int = option(
        4,
        "How many ranks make a block: a training step draws a block, trains it, and leaves the "
        "ranks behind it out. It must divide the rank.",
        low=1,
    )


@register
class DyLoRA(LoRA):
    """A LoRA that works with its first ranks alone, in steps of ``block_size``.

    Each training step and layer draws a number of blocks: those take part, and the last of them
    learns. A finished file is a LoRA whose ranks may be cut off from the end.
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
        return replace(super().choose(layer, rank, alpha, options), own=(("block", size),))

    @classmethod
    def in_training(cls, tensors: Mapping[str, Tensor], plan: Plan) -> Mapping[str, Tensor]:
        """All at the scale that the file states: what is cut off later leaves the rest as it was
        trained."""
        size = dict(plan.own)["block"]
        up, down = tensors[_UP.key], tensors[_DOWN.key]
        blocks = torch.arange(plan.rank, device=up.device) // size
        last = torch.randint(plan.rank // size, (), device=up.device)
        learns, earlier = (blocks == last), (blocks < last)
        columns, rows = (-1, *[1] * (up.ndim - 2)), (-1, *[1] * (down.ndim - 1))
        up = torch.where(learns.reshape(columns), up, up.detach() * earlier.reshape(columns))
        down = torch.where(learns.reshape(rows), down, down.detach())
        return {**tensors, _UP.key: up, _DOWN.key: down}
