"""The law that ties alpha to the learning rate, for the layers of two networks.

An update s F(a_1, ..., a_N), with the scale s = alpha / rank, in which every factor stands once,
equals F(c a_1, ..., c a_N) with c = s ** (1 / N). Adam divides every gradient by its own size, so
that a step of the rate eta moves a_i by eta u and c a_i by c eta u, with the same u. Training with
(s, initial factors a, eta) and with (1, c a, c eta) therefore gives the same updates in all steps.
For two scales: the rate and the initial factors are multiplied by (s_1 / s_2) ** (1 / N).

N is 2 for LoRA (3 with a Tucker core), 4 for LoHa (6 with cores), 2 to 5 for LoKr; use_scalar adds
one. docs/training.md says what is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris_ext.algorithms import Plan
from lycoris_ext.network.selection import SelectedLayer

Planned = Sequence[tuple[SelectedLayer, Plan]]
"""What ``network.build.plan_layers`` returns."""

_DRAWS = 8
"""Random gradients whose first steps are averaged; their mean is then within a few percent."""


@dataclass(frozen=True)
class Side:
    """How one of the two settings adapts a layer."""

    plan: Plan
    use_scalar: bool

    @property
    def factors(self) -> int | None:
        """N of the law; None if the update is no product in which every factor stands once."""
        degree = self.plan.norm_degree
        return None if degree is None else degree + self.use_scalar

    @property
    def words(self) -> str:
        """The algorithm, the rank and the scale, for the user."""
        plan = self.plan
        rank = f" rank {plan.rank}, alpha {plan.alpha:.6g}" if plan.uses_alpha else ""
        tucker = " with Tucker core" if plan.uses_core else ""
        return f"{plan.algorithm.name}{tucker}{rank}"

    def first_step(self) -> float | None:
        """Return how fast a new adapter changes the loss in its first step of Adam.

        It is the sum of the absolute gradients of all trained numbers, because each of them moves
        by the rate. The gradient of the weight is drawn at random with rank 1, as one token gives
        it. None if this would need the values of the frozen layer.
        """
        if self.plan.needs_base:
            return None
        total = 0.0
        generator = torch.Generator().manual_seed(0)
        for _ in range(_DRAWS):
            tensors = self.plan.initial(generator, self.use_scalar, torch.device("cpu"))
            trained = {
                f.key: tensors[f.key].requires_grad_() for f in self.plan.factors() if f.trained
            }
            scalar = torch.zeros((), requires_grad=True) if self.use_scalar else None
            delta = self.plan.delta({**tensors, **trained}, scalar=scalar).dense()
            rows = torch.randn(len(delta), generator=generator)
            columns = torch.randn(delta[0].numel(), generator=generator)
            change = rows @ delta.flatten(1) @ columns
            change.backward()
            leaves: list[Tensor] = [*trained.values(), *([] if scalar is None else [scalar])]
            total += sum(float(t.grad.abs().sum()) for t in leaves if t.grad is not None)
        return total / _DRAWS


@dataclass
class Equivalence:
    """How the rates of two settings compare in layers that both of them adapt alike.

    Attributes:
        kind: of the layers, in words.
        layers: number of these layers.
        before, after: the two settings.
        factor: the rate of ``after`` is that of ``before`` times this, and so are the initial
            factors; None if the law says nothing.
        first: the factor at which the first steps change the loss as fast, with initial factors as
            each setting draws them; None if it is not known.
        why: why the factor is missing or only approximate; empty if it is exact.
    """

    kind: str
    layers: int
    before: Side
    after: Side
    factor: float | None = None
    first: float | None = None
    why: str = ""

    @property
    def exact(self) -> bool:
        """Whether the law holds exactly, under its conditions on the optimizer."""
        return self.factor is not None and not self.why


def compare(before: Planned, after: Planned) -> tuple[list[Equivalence], int]:
    """Compare two settings of an adapter for one model, layer by layer.

    Args:
        before, after: the planned layers of the two networks.

    Returns:
        The groups of layers, the largest first, and the number of layers that only one of the two
        settings adapts.
    """
    mine, others = _sides(before), _sides(after)
    groups: dict[tuple[str, str, str], list[str]] = {}
    for key in mine.keys() & others.keys():
        pair = (mine[key], others[key])
        look = (_kind(pair[0].plan), _look(pair[0]), _look(pair[1]))
        groups.setdefault(look, []).append(key)
    found = []
    for look, keys in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        smallest = min(keys, key=lambda key: (_size(mine[key].plan), key))
        made = Equivalence(look[0], len(keys), mine[smallest], others[smallest])
        _fill(made)
        found.append(made)
    return found, len(mine.keys() ^ others.keys())


def _fill(made: Equivalence) -> None:
    """Apply the law to a group of layers."""
    before, after = made.before, made.after
    starts = (before.first_step(), after.first_step())
    if starts[0] and starts[1]:
        made.first = starts[0] / starts[1]
    if before == after:
        made.factor = made.first = 1.0
        return
    number = before.factors
    if before.plan.algorithm is not after.plan.algorithm or number != after.factors:
        made.why = "another algorithm or form: the law compares equal products only"
    elif before.plan.shapes() != after.plan.shapes():
        made.why = "another rank: the law compares equal shapes only"
    elif number is None:
        made.why = f"{before.plan.algorithm.name} is no product that alpha scales"
    else:
        made.factor = float((before.plan.scale / after.plan.scale) ** (1 / number))
        if before.plan.dora is not None:
            made.why = "DoRA's magnitudes are not scaled by alpha, and would have to keep the rate"


def _sides(planned: Planned) -> dict[str, Side]:
    return {layer.site.key: Side(plan, layer.options.use_scalar) for layer, plan in planned}


def _kind(plan: Plan) -> str:
    if plan.layer.is_norm:
        return "normalisations"
    kernel = plan.layer.kernel
    if plan.layer.is_spatial:
        return f"convolutions {'x'.join(map(str, kernel))}"
    return "Linear layers and 1x1 convolutions"


def _look(side: Side) -> str:
    """What layers of one group have in common."""
    plan = side.plan
    dora = plan.dora is not None
    return repr((side.words, plan.chosen, plan.rank, plan.alpha, side.use_scalar, dora))


def _size(plan: Plan) -> int:
    return plan.layer.out_features * plan.layer.fan_in


def common_factor(groups: Iterable[Equivalence], name: str) -> float | None:
    """Return the number that all groups have as their "factor" or "first"; None if they differ."""
    found = {None if (value := getattr(g, name)) is None else round(value, 9) for g in groups}
    return found.pop() if len(found) == 1 else None
