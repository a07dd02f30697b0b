"""How often each timestep is trained: a table of chances for each value of timestep_distribution.

Timesteps are meant as shares here: 0 is the first one of the range that is trained, 1 the end of
that range. Some distributions are given by the chance of all shares below x, others by the weight
of the share x; either way the chance of each timestep comes out, and one random number chooses.

Sources: logit-normal, heavy tail (there: mode sampling), cosine map and the shift of Esser et al.
2024, arXiv:2403.03206, section 3.1; the names, weights and biases are OneTrainer's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError

Formula = Callable[[Tensor, float, float], Tensor]

UNIFORM = "uniform"
STEEPEST_TAIL = 1.75
"""Largest noising_weight of heavy_tail; from 2 / (pi - 2) on, its formula turns back."""
_HALVINGS = 60


@dataclass(frozen=True)
class Distribution:
    """A distribution of timesteps, whose formula gets shares, noising_weight and noising_bias.

    Attributes:
        formula: returns, for float64 shares from 0 to 1, the chance of a smaller share; or, if
            ``is_density``, the logarithm of the weight of the share.
        reads: the options that change it, besides timestep_shift.
        is_density: what the formula returns.
    """

    formula: Formula
    reads: tuple[str, ...] = ()
    is_density: bool = False


def _uniform(share: Tensor, weight: float, bias: float) -> Tensor:
    return share


def _logit_normal(share: Tensor, weight: float, bias: float) -> Tensor:
    return torch.special.ndtr((share.logit() - bias) / (1.0 + weight))


def _heavy_tail(share: Tensor, weight: float, bias: float) -> Tensor:
    """Solve share = v - weight * (sin^2(pi v / 2) - v), which grows with v, by halving."""
    low, high = torch.zeros_like(share), torch.ones_like(share)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = middle - weight * (torch.sin(math.pi / 2 * middle).square() - middle)
        low, high = (
            torch.where(found < share, middle, low),
            torch.where(found < share, high, middle),
        )
    return torch.where(share < 1.0, low, 1.0)


def _beta(share: Tensor, weight: float, bias: float) -> Tensor:
    return share**weight if bias == 1.0 else 1.0 - (1.0 - share) ** bias


def _cos_map(share: Tensor, weight: float, bias: float) -> Tensor:
    return -torch.log(1.0 - 2.0 * share + 2.0 * share.square())


def _sigmoid(share: Tensor, weight: float, bias: float) -> Tensor:
    return torch.nn.functional.logsigmoid(weight * (share - 0.5 - bias))


def _inverted_parabola(share: Tensor, weight: float, bias: float) -> Tensor:
    return torch.log((2.0 - weight * (share - 0.5 - bias).square()).clamp(min=0.0))


_BOTH = ("noising_weight", "noising_bias")
DISTRIBUTIONS: dict[str, Distribution] = {
    UNIFORM: Distribution(_uniform),
    "sigmoid": Distribution(_sigmoid, _BOTH, is_density=True),
    "logit_normal": Distribution(_logit_normal, _BOTH),
    "heavy_tail": Distribution(_heavy_tail, ("noising_weight",)),
    "cos_map": Distribution(_cos_map, is_density=True),
    "inverted_parabola": Distribution(_inverted_parabola, _BOTH, is_density=True),
    "beta": Distribution(_beta, _BOTH),
}


def shift(share: Tensor, strength: float) -> Tensor:
    """Return where shares of timesteps are moved to: s x / (1 + (s - 1) x), for a strength s."""
    return strength * share / (strength * share + (1.0 - share))  # exactly 1 at the end


def fault_of(name: str, weight: float, bias: float) -> str:
    """Return which noising_weight or noising_bias a distribution needs, or "" if these will do."""
    if name == "logit_normal" and weight <= -1.0:
        return f"logit_normal needs a noising_weight above -1, and it is {weight:g}"
    if name == "heavy_tail" and not -1.0 <= weight <= STEEPEST_TAIL:
        return f"heavy_tail needs a noising_weight from -1 to {STEEPEST_TAIL}, and it is {weight:g}"
    if name == "beta" and (min(weight, bias) <= 0.0 or 1.0 not in (weight, bias)):
        return (
            "beta needs a noising_weight and a noising_bias above 0, of which one is 1, and they "
            f"are {weight:g} and {bias:g}"
        )
    return ""


@lru_cache(maxsize=16)
def chances(name: str, steps: int, weight: float, bias: float, strength: float) -> Tensor:
    """Return the chance of each timestep.

    Args:
        name: of the distribution.
        steps: number of timesteps in the range that is trained, 1 or more.
        weight, bias: noising_weight and noising_bias.
        strength: timestep_shift.

    Returns:
        float64 [steps], with the sum 1. It is kept: change nothing in it.

    Raises:
        ConfigError: no timestep has a chance.
    """
    distribution = DISTRIBUTIONS[name]
    if not distribution.is_density:
        edges = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
        sums = distribution.formula(shift(edges, 1.0 / strength), weight, bias)
        return sums.diff().clamp(min=0.0)
    shares = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)
    # The width that each share had before the shift, up to a factor.
    widths = -2.0 * torch.log(strength + (1.0 - strength) * shares)
    logarithms = distribution.formula(shift(shares, 1.0 / strength), weight, bias) + widths
    if not bool(logarithms.isfinite().any()):
        raise ConfigError(
            f"with noising_weight {weight:g} and noising_bias {bias:g} no timestep has a chance",
            where="timestep_distribution",
            fix="choose numbers nearer to 0",
        )
    return logarithms.softmax(0)


def draw(table: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one timestep; int64 [1], counted from the first one of the range.

    Args:
        table: the result of ``chances``.
        generator: gives one random number.
    """
    sums = table.cumsum(0)
    found = torch.rand((1,), generator=generator, dtype=torch.float64) * sums[-1]
    return torch.searchsorted(sums, found, right=True).clamp(max=len(table) - 1)
