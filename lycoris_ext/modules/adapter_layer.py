"""The trained parameters of the adapter of one layer."""

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
    """Dropouts of an adapter in training: probabilities in [0, 1) that something is set to 0.

    Attributes:
        dropout: each element of the adapter's output.
        rank_dropout: each row (output channel) of the update, as in LyCORIS.
        module_dropout: the whole update of a layer.
        rank_dropout_scale: divide the rows that remain by the share of rows that remain.
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
    """The adapter of one layer: its trained parameters, from which it computes the update.

    The keys of ``state_dict`` are those of the file (``lora_up.weight``, ``hada_w1_a``), plus
    ``alpha`` as a buffer and, with ``use_scalar``, a trained ``scalar``. Files have no scalar: it
    is multiplied into a factor when the adapter is saved. Initial values that follow from the
    frozen weight (``plan.origin``) are in neither.

    Args:
        plan: which tensors are stored, and the formula of the update.
        tensors: key -> initial value of each stored tensor.
        dropouts: applied in training mode; None: none.
        use_scalar: multiply the update by a trained number that starts at 0.
        origin: the result of ``plan.origin``; None or {} if it is to be computed at every use.
        bypass_mode: always compute the output as up(down(x)).

    Attributes:
        multiplier: strength of the adapter.
        timesteps: (batch,), timesteps of the samples of the current training step, for algorithms
            that depend on them; ignored in eval mode.
        precomputed: factors that ``network.Banks`` has computed for several batches, or ().
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
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        fixed = {factor.key for factor in plan.factors() if not factor.trained}
        for key, tensor in tensors.items():
            owner: nn.Module = self
            *parents, name = key.split(".")  # lora_up.weight needs a submodule: no dots in names
            for parent in parents:
                if parent not in owner._modules:
                    owner.add_module(parent, nn.Module())
                owner = getattr(owner, parent)
            if key in fixed:
                owner.register_buffer(name, tensor)
            else:
                owner.register_parameter(name, nn.Parameter(tensor))
            self._owners[key] = (owner, name)
        self._origin = {key: f"origin_{key.replace('.', '_')}" for key in origin or {}}
        for key, name in self._origin.items():
            assert origin is not None
            self.register_buffer(name, origin[key].detach().clone(), persistent=False)
        self.timesteps: Tensor | None = None
        device = next(iter(tensors.values())).device
        self.register_buffer("alpha", torch.tensor(float(plan.alpha), device=device))
        self.scalar = nn.Parameter(torch.zeros((), device=device)) if use_scalar else None
        self.precomputed: tuple[Tensor, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """Return key -> stored tensor, with the keys of the file; without alpha and scalar."""
        return {key: getattr(owner, name) for key, (owner, name) in self._owners.items()}

    def delta(self, base: FrozenLayer | None = None) -> Delta:
        """Return the update for the next forward, with multiplier, scalar and dropouts applied.

        Args:
            base: the frozen layer, required if ``plan.needs_base``.
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
        """Return the frozen layer with the initial values (``origin``) that this adapter keeps.

        Unchanged if the adapter keeps none.
        """
        if base is None or not self._origin:
            return base
        device = base.stored.device
        return replace(base, origin={key: t.to(device) for key, t in self.origin().items()})

    def origin(self) -> dict[str, Tensor]:
        """Return the initial values that this adapter keeps, by key; {} if it keeps none."""
        return {key: getattr(self, name) for key, name in self._origin.items()}

    def path(self, delta: Delta, tokens: int, can_merge: bool) -> str:
        """Choose how to compute the output: "chain", "dense" or "merged", whichever is cheapest.

        With ``bypass_mode`` it is always "chain", up(down(x)), without a matrix like the weight.

        Args:
            delta: the update.
            tokens: number of positions that the layer's input has, over the whole batch.
            can_merge: whether "merged", one product with W + update, is allowed.
        """
        return "chain" if self.bypass_mode else delta.cheapest(tokens, can_merge)

    def _drop(self, delta: Delta) -> Delta:
        """Apply rank_dropout and module_dropout to an update.

        Masks are drawn on the device and multiplied in. There is no branch on their values, so the
        device is not synchronised, and the graph is the same whatever is dropped.
        """
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
        """Return d such that the update grows by s**d if all stored tensors are multiplied by s.

        Raises:
            ConfigError: there is no such d, so the norm of the update cannot be limited.
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
        """Return the Frobenius norm of the weight's update, a scalar on the device.

        It is taken before DoRA, at strength 1 and without dropouts.

        Args:
            base: the frozen layer, required if the algorithm reads it.
        """
        return self.plan.without_dora.delta(
            self.tensors(), self.with_origin(base), self.scalar
        ).norm()

    @torch.no_grad()
    def shrink(self, share: float) -> None:
        """Multiply the update (before DoRA) by ``share``, by scaling all stored tensors equally.

        Raises:
            ConfigError: the update cannot be scaled so, see ``norm_degree``.
        """
        tensors, degree = self.tensors(), self.norm_degree()
        for factor in self.plan.without_dora.factors():
            tensors[factor.key].mul_(share ** (1.0 / degree))

    @torch.no_grad()
    def stored(self) -> dict[str, Tensor]:
        """Return key -> tensor as a file holds them: copies, the scalar multiplied in, with alpha.

        Alpha is in float32, also where the layer is in half precision.
        """
        stored = {key: tensor.detach().clone() for key, tensor in self.tensors().items()}
        for factor in self.plan.factors():
            if factor.zero and self.scalar is not None:
                stored[factor.key] *= self.scalar
            if not factor.trained:
                stored[factor.key] = stored[factor.key].long()
        if self.plan.algorithm.stores_alpha:
            stored["alpha"] = torch.tensor(float(self.plan.alpha))
        return stored

    def check_stored(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Check that a file's tensors can be loaded into this adapter; nothing is changed.

        Args:
            tensors: key -> tensor of this layer in the file.
            where: the layer's name, for messages.

        Raises:
            FormatError: keys or sizes differ from this adapter's.
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
        """Copy a file's tensors of this layer into the parameters.

        Args:
            tensors: key -> tensor of this layer in the file.
            where: the layer's name, for messages.

        Raises:
            FormatError: keys or sizes differ from this adapter's; nothing has been changed then.
        """
        self.check_stored(tensors, where)
        for key, parameter in self.tensors().items():
            parameter.copy_(tensors[key].reshape(parameter.shape))
        if self.scalar is not None:
            self.scalar.fill_(1.0)
