"""What the layers of a network build from their parameters, built once for several batches.

A LoHa's chain is made of products of its factors that no input changes, and its gradients are
contracted to the factors' in a few passes over all of them. Between opening and closing the banks
both happen once, however many batches go through:

    open        parameters --build--> chains            all layers of one shape in a few kernels
    each batch  the chains' slices are leaves of their own: forward and backward end there, and
                their gradients add up
    close       the sums --contract--> gradients of the parameters; exact, since that is linear

The contraction is autograd's own, through the graph of the build. Whatever else a delta is made of
(multiplier, trained scalar, dropouts) is applied for each batch as ever, and so is a path that does
not go through the chain: its gradients reach the parameters directly.

The layers of a group lie in the network's order, so that the query, key and value of an attention
are neighbours in one tensor: a single product can read all three without a copy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lycoris_ext.algorithms import Plan
from lycoris_ext.errors import ConfigError
from lycoris_ext.modules import AdapterLayer

# Positions of a batch at which a chain that is kept must be the cheapest path: a small picture's in
# a U-Net. A chain that loses there loses by more where there are more positions.
_TOKENS = 256


class Banks:
    """Layers in groups of one shape.

    Args:
        layers: those with nothing to build are left out; no layers: a bank that does nothing.
    """

    def __init__(self, layers: Iterable[AdapterLayer]) -> None:
        alike: dict[Hashable, list[AdapterLayer]] = {}
        for layer in layers:
            first = next(iter(layer.tensors().values()))
            alike.setdefault((layer.plan, first.device, first.dtype), []).append(layer)
        self.groups = [Group(group) for group in alike.values() if _pays(group[0].plan)]

    @contextmanager
    def built_once(self) -> Iterator[None]:
        """Build now, and contract the gradients on leaving.

        Forward and backward as often as you like in between, in training or not. The parameters
        have to stay as they are, and their ``grad`` is complete after the ``with``. After an error
        inside of it nothing is contracted.

        Raises:
            ConfigError: the banks are open already, or a parameter was changed inside.
        """
        if any(layer.built for group in self.groups for layer in group.layers):
            raise ConfigError("the layers are built already", fix="leave built_once first")
        try:
            for group in self.groups:
                group.build()
            yield
            for group in self.groups:
                group.contract()
        finally:
            for group in self.groups:
                group.clear()


class Group:
    """Layers whose plans are equal; their chains are slices of tensors of [layers, ...]."""

    def __init__(self, layers: list[AdapterLayer]) -> None:
        self.layers = layers
        self._built: list[tuple[Tensor, ...]] = []  # of each layer, with the graph of the build
        self._versions: list[int] = []

    def build(self) -> None:
        """Give every layer its slices, as leaves."""
        tensors = [layer.tensors() for layer in self.layers]
        with torch.enable_grad():
            stacks = {key: torch.stack([own[key] for own in tensors]) for key in tensors[0]}
            for stack in stacks.values():
                if stack.requires_grad:  # else autograd would lay out each layer's part by itself
                    stack.register_hook(Tensor.contiguous)
            built = [stack.unbind() for stack in _build(self.layers[0].plan, stacks)]
        self._built = list(zip(*built, strict=True))
        self._versions = self._count_changes()
        for layer, slices in zip(self.layers, self._built, strict=True):
            trained = any(parameter.requires_grad for parameter in layer.tensors().values())
            layer.built = tuple(part.detach().requires_grad_(trained) for part in slices)

    def contract(self) -> None:
        """Add the slices' gradients to those of the parameters.

        Raises:
            ConfigError: the parameters are no longer those that the slices were built from.
        """
        if self._count_changes() != self._versions:
            raise ConfigError(
                "parameters changed inside built_once", fix="step the optimizer after leaving it"
            )
        roots, grads, parameters = [], [], []
        for layer, slices in zip(self.layers, self._built, strict=True):
            used = [
                (part, leaf.grad)
                for part, leaf in zip(slices, layer.built, strict=True)
                if leaf.grad is not None
            ]
            if used:  # a layer that no batch came through keeps its grad, perhaps None
                roots += [part for part, _ in used]
                grads += [grad for _, grad in used]
                parameters += [t for t in layer.tensors().values() if t.requires_grad]
        if roots:
            torch.autograd.backward(roots, grads, inputs=parameters)

    def clear(self) -> None:
        """Let the layers build for themselves again."""
        self._built, self._versions = [], []
        for layer in self.layers:
            layer.built = ()

    def _count_changes(self) -> list[int]:
        return [t._version for layer in self.layers for t in layer.tensors().values()]


def _pays(plan: Plan) -> bool:
    """Whether there is something to build and it is what the layer's batches go through. Else the
    update is built for every batch: what could be kept of it is as large as the weight, twice."""
    if plan.needs_base:
        return False  # what is built depends on the layer, too
    shapes = plan.shapes().items()
    delta = plan.delta({key: torch.empty(shape, device="meta") for key, shape in shapes})
    return bool(delta.built()) and delta.cheapest(_TOKENS, can_merge=True) == "chain"


def _build(plan: Plan, stacks: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """What the updates build, each [layers, ...], from the stacks of their tensors."""

    def build(*tensors: Tensor) -> tuple[Tensor, ...]:
        return plan.delta(dict(zip(stacks, tensors, strict=True))).built()

    built: tuple[Tensor, ...] = torch.vmap(build)(*stacks.values())
    return built
