"""A network of adapters: injected, removed, merged, saved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isclose
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.functional import Delta, FrozenLayer
from lycoris_ext.functional.merge import add_delta
from lycoris_ext.modules import AdapterLayer, Attachment, attach, detach
from lycoris_ext.network.checks import check_mergeable
from lycoris_ext.network.param_groups import Groups, param_groups
from lycoris_ext.network.selection import LayerRate
from lycoris_ext.network.sites import (
    DENOISERS,
    Site,
    place_layers,
    stored_by_key,
)


class Network(nn.Module):
    """One ``AdapterLayer`` per adapted layer, under its key in a file.

    ``state_dict`` holds the raw training parameters (what a resume needs); ``adapter_state`` is
    what a file holds.

    Attributes:
        models: names of the models that were handed over, adapted or not.
    """

    def __init__(
        self,
        layers: Mapping[str, AdapterLayer],
        sites: Mapping[str, Site],
        rates: Mapping[str, LayerRate] | None = None,
        models: Collection[str] = (),
    ) -> None:
        super().__init__()
        for key, layer in layers.items():
            self.add_module(_module_name(key), layer)
        self.sites = dict(sites)
        self.rates = dict(rates or {})
        self.models = tuple(models) or self.targets
        self._attachments: dict[str, Attachment] = {}
        self._kept: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._merged = False

    @property
    def layers(self) -> dict[str, AdapterLayer]:
        """Adapter layers by key prefix."""
        return {key: self._modules[_module_name(key)] for key in self.sites}  # type: ignore[misc]

    @property
    def targets(self) -> tuple[str, ...]:
        """The models that are adapted, each once."""
        return tuple(dict.fromkeys(site.target for site in self.sites.values()))

    @property
    def multiplier(self) -> float:
        """The user's strength: every layer computes W + multiplier * delta."""
        return next(iter(self.layers.values())).multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        for layer in self.layers.values():
            layer.multiplier = float(value)

    @property
    def is_injected(self) -> bool:
        return bool(self._attachments)

    def leave_out(self, targets: Collection[str]) -> None:
        """Drop the layers of these models, before ``inject``.

        Raises:
            ConfigError: no other layer is left, or the network is injected.
        """
        dropped = [key for key, site in self.sites.items() if site.target in targets]
        if dropped and self.is_injected:
            raise ConfigError("the network is injected already", fix="remove it first")
        if len(dropped) == len(self.sites):
            raise ConfigError(
                f"no layer is left to train: the network adapts {', '.join(self.targets)} alone",
                where="preset",
                fix="train this model, or choose a preset with layers of the other one",
            )
        for key in dropped:
            del self.sites[key]
            self.rates.pop(key, None)
            del self._modules[_module_name(key)]

    def inject(self) -> None:
        """Take part in the forward of every adapted layer.

        Raises:
            ConfigError: it does already.
        """
        if self.is_injected:
            raise ConfigError("the network is injected already", fix="remove it first")
        for key, layer in self.layers.items():
            self._attachments[key] = attach(self.sites[key].module, layer)

    def remove(self) -> None:
        """Leave every forward as it was found; does nothing where nothing is injected."""
        layers = self.layers
        for key, attachment in self._attachments.items():
            detach(attachment, layers[key])
        self._attachments.clear()

    @contextmanager
    def injected(self) -> Iterator[Network]:
        """Injected inside the ``with``, removed after it, whatever happens."""
        self.inject()
        try:
            yield self
        finally:
            self.remove()

    @torch.no_grad()
    def merge(self, multiplier: float = 1.0, keep: bool = True) -> None:
        """Add the update to the base weights, in float32 with one cast back.

        Args:
            multiplier: strength.
            keep: keep a copy of the old weights, so that ``unmerge`` gives them back bit for bit.
                Without it no memory is needed, and the model stays as it is then.

        Raises:
            ConfigError: merged or injected already, so that the update would count twice; the
                model is quantised; or a bias has an update and the layer has none.
        """
        if self._merged or self.is_injected:
            raise ConfigError(
                "the network is merged or injected already", fix="unmerge or remove it first"
            )
        check_mergeable(list(self.sites.values()))
        deltas = {
            key: self._delta(layer, self.sites[key]).scaled(multiplier)
            for key, layer in self.layers.items()
        }
        for key, delta in deltas.items():
            if delta.bias() is not None and self.sites[key].bias is None:
                raise ConfigError(
                    "the adapter has an update of the bias, the layer has no bias to add it to",
                    where=self.sites[key].name,
                    fix="inject the network instead of merging it",
                )
        self._merged = True
        for key, delta in deltas.items():
            weight, bias = self.sites[key].weight, self.sites[key].bias
            of_bias = delta.bias()
            if keep:
                changed = None if bias is None or of_bias is None else bias.detach().clone()
                self._kept[key] = weight.detach().clone(), changed
            add_delta(weight, delta)
            if bias is not None and of_bias is not None:
                bias.copy_((bias.float() + of_bias.float()).to(bias.dtype))

    @staticmethod
    def _delta(layer: AdapterLayer, site: Site) -> Delta:
        """The update of one layer at full strength, on the device of its base."""
        device = site.weight.device
        scalar = None if layer.scalar is None else layer.scalar.item()
        tensors = {name: tensor.to(device) for name, tensor in layer.tensors().items()}
        base = FrozenLayer.of(site.module, layer.plan.layer)
        return layer.plan.delta(tensors, layer.informed(base), scalar)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Give the base weights back as they were before ``merge``.

        Raises:
            ConfigError: it kept none of them.
        """
        if self._merged and not self._kept:
            raise ConfigError(
                "the old weights were not kept", fix="load the model again, or merge with keep=True"
            )
        for key, (weight, bias) in self._kept.items():
            self.sites[key].weight.copy_(weight)
            if bias is not None:
                self.sites[key].module.bias.copy_(bias)  # type: ignore[operator]
        self._kept.clear()
        self._merged = False

    def forget_merge(self) -> None:
        """The host has given the old weights back itself; the network may be merged again."""
        self._kept.clear()
        self._merged = False

    def set_timesteps(self, timesteps: Tensor | None) -> None:
        """Tell the layers that take them the timesteps (batch,) of the samples to come, until the
        next call; those of the text encoders see no noise."""
        for key, layer in self.layers.items():
            if layer.plan.algorithm.takes_timesteps:
                known = self.sites[key].target not in TEXT_ENCODERS
                layer.timesteps = timesteps if known else None

    def adapter_state(
        self, metadata: Mapping[str, str] | None = None, dtype: torch.dtype | None = torch.float16
    ) -> AdapterState:
        """What a file holds, tensors on the CPU in ``dtype`` (None: as they are)."""
        tensors = {
            f"{key}.{name}": tensor.cpu()
            for key, layer in self.layers.items()
            for name, tensor in layer.stored(dtype).items()
        }
        return AdapterState(tensors, dict(metadata or {}))

    def load_adapter_state(
        self, state: AdapterState, partly: bool = False
    ) -> tuple[list[str], list[str]]:
        """Take over a file's tensors; nothing is changed unless all of it fits.

        Args:
            partly: the file may lack layers, which stay as they are, and may have more models.

        Returns:
            Keys of the layers that the file lacks, and its layers for models not adapted here.

        Raises:
            FormatError: layers are missing or left over, or shapes or alphas differ.
        """
        layers = state.layers()
        own = state.only(self.targets).layers() if partly else layers
        stored = stored_by_key(own, self.sites, all_of_them=not partly)
        for key, tensors in stored.items():
            plan, alpha = self.layers[key].plan, detect(tensors, key, self.sites[key].spec).alpha
            if plan.algorithm.stores_alpha and not isclose(alpha, plan.alpha, rel_tol=0.01):
                raise FormatError(
                    f"its alpha is {alpha:g} in the file and {plan.alpha:g} in the network, which "
                    "would change its strength",
                    where=key,
                    fix="build the network with the file's alpha",
                )
            self.layers[key].check_stored(tensors, key)
        for key, tensors in stored.items():
            self.layers[key].load_stored(tensors, key)
        return (
            [key for key in self.sites if key not in stored],
            [layer for layer in layers if layer not in own],
        )

    def as_own(self, state: AdapterState) -> dict[str, Tensor]:
        """A file's tensors under the names and in the shapes of ``state_dict``. Layers without a
        place keep theirs; an alpha that the file does not tell is this network's."""
        own, layers = self.state_dict(), state.layers()
        placed = place_layers(layers, self.sites)
        named: dict[str, Tensor] = {}
        for layer, tensors in layers.items():
            key = _module_name(placed[layer].key) if layer in placed else layer
            alpha = {"alpha": own[f"{key}.alpha"]} if f"{key}.alpha" in own else {}
            for name, tensor in (alpha | tensors).items():
                expected = own.get(f"{key}.{name}", tensor)
                same = expected.numel() == tensor.numel()
                named[f"{key}.{name}"] = tensor.reshape(expected.shape) if same else tensor
        return named

    def param_groups(
        self,
        learning_rate: float,
        unet_lr: float | None = None,
        text_encoder_lr: float | Sequence[float] | None = None,
        loraplus_lr_ratio: float | None = None,
        loraplus_unet_lr_ratio: float | None = None,
        loraplus_text_encoder_lr_ratio: float | None = None,
    ) -> Groups:
        """Optimizer groups {"params", "lr", "name"}, one per target, rate and role of a factor.

        A layer whose rate is 0 is left out and its parameters are frozen.

        Args:
            text_encoder_lr: of all text encoders, or of each of ``models`` that is one, in order,
                adapted or not; the last rate is for all after it, too.

        Raises:
            ConfigError: nothing is left to train, or no factor has the role that a ratio is for.
        """
        encoders = [name for name in TEXT_ENCODERS if name in self.models]

        def by_target(all_of_them: Any, unet: Any, text: Any) -> dict[str, Any]:
            rates = list(text) if isinstance(text, Sequence) else [text]
            rates += [rates[-1] if rates else None] * len(encoders)
            own = {**dict.fromkeys(DENOISERS, unet), **dict(zip(encoders, rates, strict=False))}
            found = {target: own.get(target) for target in self.targets}
            return {target: all_of_them if v is None else v for target, v in found.items()}

        return param_groups(
            self.layers,
            self.sites,
            self.rates,
            by_target(learning_rate, unet_lr, text_encoder_lr),
            by_target(loraplus_lr_ratio, loraplus_unet_lr_ratio, loraplus_text_encoder_lr_ratio),
        )

    def norms(self) -> Tensor:
        """Frobenius norm of each layer's update, in the order of ``layers``."""
        bases = {key: FrozenLayer.of(site.module, site.spec) for key, site in self.sites.items()}
        norms = [layer.norm(bases[key]) for key, layer in self.layers.items()]
        return torch.stack([norm.to(norms[0].device) for norm in norms])

    def check_norms_have_limits(self) -> None:
        """Whether ``limit_norms`` can work, without doing anything.

        Raises:
            ConfigError: a layer's update is not proportional to its tensors.
        """
        for layer in self.layers.values():
            layer.norm_degree()

    def limit_norms(self, max_norm: float) -> tuple[int, Tensor]:
        """Scale every layer's update down to this Frobenius norm (max-norm regularization).

        The device is waited for once, not for each layer.

        Returns:
            How many layers were longer, and each layer's norm after it (layers,), on the CPU.

        Raises:
            ConfigError: as ``check_norms_have_limits``.
        """
        self.check_norms_have_limits()
        norms = self.norms().cpu()
        longer = 0
        for layer, norm in zip(self.layers.values(), norms.tolist(), strict=True):
            if norm > max_norm:
                layer.shrink(max_norm / norm)
                longer += 1
        return longer, norms.clamp(max=max_norm)

    def parameter_count(self) -> int:
        """Numbers that a file holds, alphas excluded."""
        return sum(
            tensor.numel() for layer in self.layers.values() for tensor in layer.tensors().values()
        )


def _module_name(key: str) -> str:
    """A layer's key as the name of a module, which may have no dots."""
    return key.replace(".", ":")
