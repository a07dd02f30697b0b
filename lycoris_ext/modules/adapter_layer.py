"""The parameters of one adapted layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import Plan
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.functional import Delta, FrozenLayer


@dataclass(frozen=True)
class Dropouts:
    """Probabilities, each in [0, 1).

    Attributes:
        dropout: each element of the update's output.
        rank_dropout: each output row of the update, as LyCORIS does for all its algorithms.
        module_dropout: the whole update of a layer.
        rank_dropout_scale: make up for the rows that rank_dropout took: divide the others by the
            share that is left.
    """

    dropout: float = 0.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    rank_dropout_scale: bool = False

    def __post_init__(self) -> None:
        for name in ("dropout", "rank_dropout", "module_dropout"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ConfigError(f"is {value}", where=name, fix="use a probability in [0, 1)")


class AdapterLayer(nn.Module):
    """Parameters of one layer under their names in a file, and the update that they make.

    ``state_dict`` keys are the file's (``lora_up.weight``, ``hada_w1_a``), plus ``alpha`` as a
    buffer and, with ``use_scalar``, a trained ``scalar`` that a file never holds: it is folded
    into a factor on saving. What follows from the frozen weight (``plan.origin``) is in neither.

    Attributes:
        timesteps: (batch,) of the samples of the step at hand, for algorithms that take them; they
            count in training alone.
    """

    alpha: Tensor

    def __init__(
        self,
        plan: Plan,
        tensors: Mapping[str, Tensor],
        dropouts: Dropouts | None = None,
        use_scalar: bool = False,
        origin: Mapping[str, Tensor] | None = None,
        bypass_mode: bool = False,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.dropouts = dropouts or Dropouts()
        self.bypass_mode = bypass_mode
        self.multiplier = 1.0
        self._places: dict[str, tuple[nn.Module, str]] = {}
        constant = {factor.key for factor in plan.factors() if factor.constant is not None}
        for key, tensor in tensors.items():
            owner: nn.Module = self
            *parents, name = key.split(".")  # lora_up.weight needs a submodule: no dots in names
            for parent in parents:
                if parent not in owner._modules:
                    owner.add_module(parent, nn.Module())
                owner = getattr(owner, parent)
            if key in constant:
                owner.register_buffer(name, tensor)
            else:
                owner.register_parameter(name, nn.Parameter(tensor))
            self._places[key] = (owner, name)
        self._origin = {key: f"origin_{key.replace('.', '_')}" for key in origin or {}}
        for key, name in self._origin.items():
            assert origin is not None
            self.register_buffer(name, origin[key].detach().clone(), persistent=False)
        self.timesteps: Tensor | None = None
        device = next(iter(tensors.values())).device
        self.register_buffer("alpha", torch.tensor(float(plan.alpha), device=device))
        self.scalar = nn.Parameter(torch.zeros((), device=device)) if use_scalar else None
        self.precomputed: tuple[Tensor, ...] = ()  # a bank's, see network/banks.py

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors by their names in a file, without alpha and scalar."""
        return {key: getattr(owner, name) for key, (owner, name) in self._places.items()}

    def delta(self, base: FrozenLayer | None = None) -> Delta:
        """The update as the next forward applies it: multiplier, scalar and dropouts included.

        Args:
            base: the frozen layer, where ``plan.needs_base``.
        """
        tensors: Mapping[str, Tensor] = self.tensors()
        base = self.with_origin(base)
        if self.training:
            if base is not None and self.timesteps is not None:
                base = replace(base, timesteps=self.timesteps)
            tensors = self.plan.algorithm.in_training(tensors, self.plan)
        delta = self.plan.delta(tensors, base, self.scalar)
        if self.precomputed:
            delta = delta.with_built(self.precomputed)
        if self.multiplier != 1.0:
            delta = delta.scaled(self.multiplier)
        if self.training:
            delta = self._drop(delta)
        return delta

    def with_origin(self, base: FrozenLayer | None) -> FrozenLayer | None:
        """The frozen layer, with what this adapter alone knows of it, if it does."""
        if base is None or not self._origin:
            return base
        device = base.stored.device
        origin = {key: getattr(self, name).to(device) for key, name in self._origin.items()}
        return replace(base, origin=origin)

    def path(self, delta: Delta, tokens: int, can_merge: bool) -> str:
        """How ``delta`` is applied to so many positions: the cheapest way, or, with
        ``bypass_mode``, always through thin activations."""
        return "chain" if self.bypass_mode else delta.cheapest(tokens, can_merge)

    def _drop(self, delta: Delta) -> Delta:
        """Masks are drawn on the device and multiplied in: no branch on their values, so no
        synchronisation, and the same graph whatever is dropped."""
        device = self.alpha.device
        if self.dropouts.rank_dropout:
            draws = torch.rand(self.plan.layer.out_features, device=device)
            kept = (draws >= self.dropouts.rank_dropout).float()
            if self.dropouts.rank_dropout_scale:
                kept = kept / kept.mean().clamp_min(1 / kept.numel())  # none left: 0, not NaN
            delta = delta.scaled(kept)
        if self.dropouts.module_dropout:
            draw = torch.rand((), device=device)
            delta = delta.scaled((draw >= self.dropouts.module_dropout).float())
        return delta

    def norm_degree(self) -> int:
        """The power of a common factor of the stored tensors with which the update grows.

        Raises:
            ConfigError: it is proportional to no power of them, so its norm cannot be limited.
        """
        degree = self.plan.norm_degree
        if degree is None:
            raise ConfigError(
                f"a norm cannot be limited for {self.plan.algorithm.name}: its update is not "
                "proportional to its tensors",
                where="scale_weight_norms",
                fix="leave it out, or use another algorithm",
            )
        return degree

    @torch.no_grad()
    def norm(self, base: FrozenLayer | None = None) -> Tensor:
        """Frobenius norm of the weight's update before DoRA, at strength 1 and without dropouts; a
        scalar on the device.

        Args:
            base: the frozen layer, where the algorithm needs it.
        """
        return self.plan.without_dora.delta(
            self.tensors(), self.with_origin(base), self.scalar
        ).norm()

    @torch.no_grad()
    def shrink(self, share: float) -> None:
        """Scale the update before DoRA by this number, each factor by the same share of it.

        Raises:
            ConfigError: as ``norm_degree``.
        """
        tensors, degree = self.tensors(), self.norm_degree()
        for factor in self.plan.without_dora.factors():
            tensors[factor.key].mul_(share ** (1.0 / degree))

    @torch.no_grad()
    def stored(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """What a file holds of this layer: factors with the scalar folded in, and alpha."""
        stored = {key: tensor.detach().clone() for key, tensor in self.tensors().items()}
        if self.scalar is not None:
            for factor in self.plan.factors():
                if factor.zero:
                    stored[factor.key] *= self.scalar
        if self.plan.algorithm.stores_alpha:
            stored["alpha"] = self.alpha.detach().clone()
        constant = {factor.key for factor in self.plan.factors() if factor.constant is not None}
        return {
            key: tensor.long() if key in constant else tensor.to(dtype or tensor.dtype)
            for key, tensor in stored.items()
        }

    def check_stored(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Whether ``load_stored`` would take a file's tensors.

        Raises:
            FormatError: names or sizes are not this layer's.
        """
        expected = self.plan.shapes()
        found = {key for key in tensors if key != "alpha"}
        if found != set(expected):
            raise FormatError(f"has {sorted(found)}, the layer {sorted(expected)}", where=where)
        for key, parameter in self.tensors().items():
            if tensors[key].numel() != parameter.numel():
                raise FormatError(
                    f"{key} has shape {tuple(tensors[key].shape)}, the layer {expected[key]}",
                    where=where,
                    fix="build the network with the file's dimensions",
                )

    @torch.no_grad()
    def load_stored(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Take over a file's tensors of this layer; nothing is changed unless all of them fit.

        Raises:
            FormatError: as ``check_stored``.
        """
        self.check_stored(tensors, where)
        for key, parameter in self.tensors().items():
            parameter.copy_(tensors[key].reshape(parameter.shape))
        if self.scalar is not None:
            self.scalar.fill_(1.0)
