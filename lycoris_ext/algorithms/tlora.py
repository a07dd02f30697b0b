"""T-LoRA: trains the first singular vectors and values of the weight; docs/algorithms/tlora.md.

    delta = P diag(l) Q - P0 diag(l0) Q0        P0 diag(l0) Q0: the first r terms of W's SVD

Source: T-LoRA, Soboleva et al. 2025, arXiv:2507.05964; the layout is LyCORIS's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris_ext.algorithms.base import Algorithm, Plan
from lycoris_ext.algorithms.parts import Factor, Part, Raw
from lycoris_ext.algorithms.registry import register
from lycoris_ext.functional import Delta, FrozenLayer, Gated, LowRank

_Q, _P, _LAMBDA = "q_layer.weight", "p_layer.weight", "lambda_layer"


@register
class TLoRA(Algorithm):
    """T-LoRA; in training, fewer ranks are used for a sample the more noise it has."""

    name = "tlora"
    needs_base = True
    needs_base_weight = True
    takes_timesteps = True
    # LyCORIS's options of T-LoRA at the only values supported here: start from the largest singular
    # values, with one rule for the ranks of all layers.
    fixed: ClassVar = {"sig_type": "principal", "use_data_init": True, "mask_group_id": 0}
    parts: ClassVar = {
        "q": (Raw(Factor(_Q, "rank in k")),),
        "p": (Raw(Factor(_P, "out rank 1k")),),
        "lambda": (Raw(Factor(_LAMBDA, "1 rank")),),
    }

    @classmethod
    def useful_rank(cls, plan: Plan) -> int:
        return min(plan.layer.out_features, plan.layer.fan_in)

    @classmethod
    def origin(cls, plan: Plan, weight: Tensor) -> dict[str, Tensor]:
        """Return P, l and Q of the ``rank`` largest terms P diag(l) Q of the weight's SVD.

        Training starts from them, and the update is the difference from them, so they are computed
        again from the weight when a file is loaded. They are computed in float32 as in LyCORIS, so
        that both programs get the same bits on one machine. If the rank is higher than the
        weight's, P and Q of the remaining terms are 0: these terms get no gradient and stay 0.
        """
        left, values, right = torch.linalg.svd(weight.float().flatten(1), full_matrices=False)
        shapes, missing = plan.shapes(), max(0, plan.rank - len(values))
        values = F.pad(values[: plan.rank], (0, missing), value=1e-6)
        tensors = {
            _Q: F.pad(right[: plan.rank], (0, 0, 0, missing)),
            _P: F.pad(left[:, : plan.rank], (0, missing)),
            _LAMBDA: values,
        }
        return {key: tensor.reshape(shapes[key]).contiguous() for key, tensor in tensors.items()}

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        """Return the update as (P l - P0 l0) Q + P0 l0 (Q - Q0).

        So differences are taken between parameters, in their precision, and not between products
        that a half-precision layer has rounded.
        """
        assert base is not None
        origin = base.origin or cls.origin(plan, base.weight)
        q, p, values = (parts[name] for name in cls.parts)
        assert isinstance(q, Tensor) and isinstance(p, Tensor) and isinstance(values, Tensor)
        first = origin[_P].flatten(1) * origin[_LAMBDA]
        up = torch.cat([p.flatten(1) * values - first, first], 1)
        shape = (-1, plan.layer.in_features, *plan.layer.kernel)
        down = torch.cat([q, q - origin[_Q]]).reshape(shape)
        if base.timesteps is None:
            return LowRank(plan.layer, plan.scale, up, down)
        gates = ranks_at(base.timesteps, plan.rank).repeat(1, 2)
        return Gated(plan.layer, plan.scale, up, down, gates)


# As in LyCORIS: the number of timesteps, and the lowest number of ranks.
_TIMESTEPS, _LEAST = 1000, 1


def ranks_at(timesteps: Annotated[Tensor, "batch"], rank: int) -> Annotated[Tensor, "batch {rank}"]:
    """Return which ranks are used for each sample: all of them without noise, one for pure noise.

    Args:
        timesteps: (batch,), whole numbers from 0 (least noise) to 1000.
        rank: of the adapter.

    Returns:
        (batch, rank): 1 for a rank that is used, 0 for one that is not.
    """
    steps = timesteps.long().clamp(0, _TIMESTEPS)
    count = (_TIMESTEPS - steps) * (rank - _LEAST) // _TIMESTEPS + _LEAST
    ranks = torch.arange(rank, device=timesteps.device)
    return (ranks < count.unsqueeze(1)).float()
