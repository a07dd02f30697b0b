"""Factors that a network computes from its parameters, computed once for several batches.

A LoHa multiplies its input by thin matrices that are products of its trained tensors. They do not
depend on the input, so with gradient accumulation they need to be computed once for all batches of
a step, and so does the backward pass through that computation:

    on entering     parameters -> factors, for all layers of one shape in a few kernels
    in each batch   the factors are detached: forward and backward end at them, and their gradients
                    add up
    on leaving      the sums -> gradients of the parameters; exact, because backward is linear in
                    the gradients of the factors

The last step is autograd's own backward through the first. The multiplier, the trained scalar and
the dropouts are applied in each batch as without banks. If a batch applies an update in another way
than through these factors, its gradients go to the parameters directly.

The layers of a group are stacked in the network's order, so that query, key and value of an
attention are neighbours in one tensor and a single product can read all three without a copy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lycoris_ext.algorithms import Plan
from lycoris_ext.errors import ConfigError
from lycoris_ext.modules import AdapterLayer

# Factors are precomputed if multiplying by them is the cheapest path for this many positions (as a
# small picture has in a U-Net). If it is not the cheapest here, it loses by more with more of them.
_TOKENS = 256


class Banks:
    """The layers of a network, in groups of one shape, whose factors are precomputed together.

    Args:
        layers: adapter layers; those with no factors to precompute are left out. If none remain,
            ``precomputed_once`` does nothing.
    """

    def __init__(self, layers: Iterable[AdapterLayer]) -> None:
        alike: dict[Hashable, list[AdapterLayer]] = {}
        for layer in layers:
            first = next(iter(layer.tensors().values()))
            alike.setdefault((layer.plan, first.device, first.dtype), []).append(layer)
        self.groups = [Group(group) for group in alike.values() if _pays(group[0].plan)]

    @contextmanager
    def precomputed_once(self) -> Iterator[None]:
        """Compute the factors on entering the ``with``, and the parameters' gradients on leaving.

        Inside, run forward and backward any number of times, in training mode or not, and do not
        change the parameters; their ``grad`` is complete only after the ``with``. After an error
        inside, the gradients that were gathered on the factors are dropped.

        Raises:
            ConfigError: the factors are precomputed already, or a parameter was changed inside.
        """
        if any(layer.precomputed for group in self.groups for layer in group.layers):
            raise ConfigError("factors are precomputed already", fix="leave precomputed_once first")
        try:
            for group in self.groups:
                group.precompute()
            yield
            for group in self.groups:
                group.backward()
        finally:
            for group in self.groups:
                group.clear()


class Group:
    """Layers with equal plans; their factors are slices of tensors of shape (layers, ...)."""

    def __init__(self, layers: list[AdapterLayer]) -> None:
        self.layers = layers
        self._factors: list[tuple[Tensor, ...]] = []  # of each layer, with their autograd graph
        self._versions: list[int] = []

    def precompute(self) -> None:
        """Compute the factors and give each layer its own, detached from the parameters."""
        tensors = [layer.tensors() for layer in self.layers]
        with torch.enable_grad():
            stacks = {key: torch.stack([each[key] for each in tensors]) for key in tensors[0]}
            for stack in stacks.values():
                if stack.requires_grad:  # else autograd would lay out each layer's part by itself
                    stack.register_hook(Tensor.contiguous)
            factors = [stack.unbind() for stack in _factors(self.layers[0].plan, stacks)]
        self._factors = list(zip(*factors, strict=True))
        self._versions = self._count_changes()
        for layer, slices in zip(self.layers, self._factors, strict=True):
            trained = any(parameter.requires_grad for parameter in layer.tensors().values())
            layer.precomputed = tuple(part.detach().requires_grad_(trained) for part in slices)

    def backward(self) -> None:
        """Turn the gradients of the factors into gradients of the parameters, and add them there.

        Raises:
            ConfigError: the parameters have changed since the factors were computed.
        """
        if self._count_changes() != self._versions:
            raise ConfigError(
                "parameters changed inside precomputed_once",
                fix="step the optimizer after leaving it",
            )
        roots, grads, parameters = [], [], []
        for layer, slices in zip(self.layers, self._factors, strict=True):
            used = [
                (part, detached.grad)
                for part, detached in zip(slices, layer.precomputed, strict=True)
                if detached.grad is not None
            ]
            if used:  # a layer that no batch went through keeps its grad, which may be None
                roots += [part for part, _ in used]
                grads += [grad for _, grad in used]
                parameters += [t for t in layer.tensors().values() if t.requires_grad]
        if roots:
            torch.autograd.backward(roots, grads, inputs=parameters)

    def clear(self) -> None:
        """Drop the factors: each layer computes its own again, in every batch."""
        self._factors, self._versions = [], []
        for layer in self.layers:
            layer.precomputed = ()

    def _count_changes(self) -> list[int]:
        return [t._version for layer in self.layers for t in layer.tensors().values()]


def _pays(plan: Plan) -> bool:
    """Whether precomputing saves work for layers with this plan.

    It does if the update has factors to precompute and multiplying by them is the cheapest path.
    Otherwise batches use the dense update, and keeping that and its gradient would take twice the
    memory of the weight.
    """
    if plan.needs_base or not plan.layer.has_op:
        return False  # the factors depend on the frozen layer, too; or are not multiplied by
    shapes = plan.shapes().items()
    delta = plan.delta({key: torch.empty(shape, device="meta") for key, shape in shapes})
    return bool(delta.built()) and delta.cheapest(_TOKENS, can_merge=True) == "chain"


def _factors(plan: Plan, stacks: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Compute the factors of all layers, each (layers, ...), from their stacked trained tensors."""

    def of_one_layer(*tensors: Tensor) -> tuple[Tensor, ...]:
        return plan.delta(dict(zip(stacks, tensors, strict=True))).built()

    factors: tuple[Tensor, ...] = torch.vmap(of_one_layer)(*stacks.values())
    return factors
