"""The adapters of a whole model: inject, remove, merge, save and load them together."""

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
    """The adapters of one or several models: an ``AdapterLayer`` for each adapted layer.

    ``state_dict`` holds the trained parameters as they are, for resuming a run; ``adapter_state``
    returns what an adapter file holds.

    Attributes:
        sites: the adapted layers of the models, by their key in a file.
        rates: key -> learning rate of a layer, for layers that an override may concern.
        models: names of the models that the network was built for; some may have no adapted layer.
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
        """Key -> adapter of each adapted layer; the key is the prefix of its tensors in files."""
        return {key: self._modules[_module_name(key)] for key in self.sites}  # type: ignore[misc]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the models that have adapted layers: ("unet", "text_encoder")."""
        return tuple(dict.fromkeys(site.target for site in self.sites.values()))

    @property
    def multiplier(self) -> float:
        """The strength of the adapter: every layer computes with W + multiplier * update."""
        return next(iter(self.layers.values())).multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        for layer in self.layers.values():
            layer.multiplier = float(value)

    @property
    def is_injected(self) -> bool:
        """Whether the adapters are in the forward of their layers."""
        return bool(self._attachments)

    def leave_out(self, targets: Collection[str]) -> None:
        """Remove the adapters of the named models from the network; call it before ``inject``.

        Raises:
            ConfigError: no layer would be left, or the network is injected.
        """
        dropped = [key for key, site in self.sites.items() if site.target in targets]
        if dropped and self.is_injected:
            raise ConfigError("the network is injected already", fix="remove it first")
        if len(dropped) == len(self.sites):
            raise ConfigError(
                f"no layer is left to train: the network adapts only {', '.join(self.targets)}",
                where="preset",
                fix="train this model, or choose a preset that adapts another model, too",
            )
        for key in dropped:
            del self.sites[key]
            self.rates.pop(key, None)
            del self._modules[_module_name(key)]

    def inject(self) -> None:
        """Put the adapters into the forward of their layers, by replacing ``module.forward``.

        Raises:
            ConfigError: the network is injected already.
        """
        if self.is_injected:
            raise ConfigError("the network is injected already", fix="remove it first")
        for key, layer in self.layers.items():
            self._attachments[key] = attach(self.sites[key].module, layer)

    def remove(self) -> None:
        """Undo ``inject``: every layer gets its own forward back. Allowed if not injected."""
        layers = self.layers
        for key, attachment in self._attachments.items():
            detach(attachment, layers[key])
        self._attachments.clear()

    @contextmanager
    def injected(self) -> Iterator[Network]:
        """Inject the network for a ``with`` block and remove it afterwards, even after an error."""
        self.inject()
        try:
            yield self
        finally:
            self.remove()

    @torch.no_grad()
    def merge(self, multiplier: float = 1.0, keep: bool = True) -> None:
        """Add the update to the base weights in place; computed in float32, then cast back once.

        Args:
            multiplier: strength.
            keep: keep a copy of the old weights, so that ``unmerge`` can put them back bit for bit.
                False saves that memory; then the merge cannot be undone.

        Raises:
            ConfigError: the network is merged or injected already, so that the update would count
                twice; a weight is quantised; or the adapter updates a bias that the layer lacks.
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
        """Return the update of one layer at strength 1, on the device of the layer's weight."""
        device = site.weight.device
        scalar = None if layer.scalar is None else layer.scalar.item()
        tensors = {name: tensor.to(device) for name, tensor in layer.tensors().items()}
        base = FrozenLayer.of(site.module, layer.plan.layer)
        return layer.plan.delta(tensors, layer.with_origin(base), scalar)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the base weights back as they were before ``merge``. Allowed if not merged.

        Raises:
            ConfigError: the network was merged with keep=False.
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
        """Note that a host has put the old weights back itself: the network may be merged again."""
        self._kept.clear()
        self._merged = False

    def set_timesteps(self, timesteps: Tensor | None) -> None:
        """Set the timesteps for the following forward calls, for algorithms that depend on them.

        Adapters of text encoders get none, because text encoders see no noise.

        Args:
            timesteps: (batch,), or None.
        """
        for key, layer in self.layers.items():
            if layer.plan.algorithm.takes_timesteps:
                sees_noise = self.sites[key].target not in TEXT_ENCODERS
                layer.timesteps = timesteps if sees_noise else None

    def adapter_state(
        self, metadata: Mapping[str, str] | None = None, dtype: torch.dtype | None = torch.float16
    ) -> AdapterState:
        """Return what an adapter file holds, with copies of the tensors on the CPU.

        Args:
            metadata: texts for the file's header.
            dtype: of the tensors; None keeps that of the parameters.
        """
        tensors = {
            f"{key}.{name}": tensor.cpu()
            for key, layer in self.layers.items()
            for name, tensor in layer.stored(dtype).items()
        }
        return AdapterState(tensors, dict(metadata or {}))

    def load_adapter_state(
        self, state: AdapterState, partly: bool = False
    ) -> tuple[list[str], list[str]]:
        """Copy the tensors of an adapter file into the network's parameters.

        Args:
            state: the file's content.
            partly: accept a file that lacks some of the network's layers, which then stay as they
                are, or that has layers for models that the network does not adapt.

        Returns:
            Keys of the network's layers that the file lacks, and names of the file's layers for
            models that the network does not adapt.

        Raises:
            FormatError: layers are missing or left over, or shapes or alphas differ; nothing has
                been changed then.
        """
        layers = state.layers()
        adapted = state.only(self.targets).layers() if partly else layers
        stored = stored_by_key(adapted, self.sites, all_of_them=not partly)
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
            [layer for layer in layers if layer not in adapted],
        )

    def as_state_dict(self, state: AdapterState) -> dict[str, Tensor]:
        """Rename and reshape a file's tensors so that ``load_state_dict`` accepts them.

        Layers that the network does not have keep their names. If the file has no alpha for a
        layer, the network's alpha is added.
        """
        expected, layers = self.state_dict(), state.layers()
        placed = place_layers(layers, self.sites)
        named: dict[str, Tensor] = {}
        for layer, tensors in layers.items():
            key = _module_name(placed[layer].key) if layer in placed else layer
            alpha = {"alpha": expected[f"{key}.alpha"]} if f"{key}.alpha" in expected else {}
            for name, tensor in (alpha | tensors).items():
                like = expected.get(f"{key}.{name}", tensor)
                same = like.numel() == tensor.numel()
                named[f"{key}.{name}"] = tensor.reshape(like.shape) if same else tensor
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
        """Return the optimizer's parameter groups: dicts with "params", "lr" and "name".

        There is one group for each model, learning rate and LoRA+ role. A layer whose rate is 0 is
        left out, and its parameters are frozen.

        Args:
            learning_rate: of models without a rate of their own.
            unet_lr: of the U-Net or another denoiser.
            text_encoder_lr: of all text encoders, or a list with a rate for each text encoder
                among ``models``, whether it is adapted or not; if the list is shorter, its last
                rate counts for the remaining ones.
            loraplus_lr_ratio: LoRA+: the factors on the output side ("up", "B") get this many times
                the rate of their layer; None: all factors get the same.
            loraplus_unet_lr_ratio, loraplus_text_encoder_lr_ratio: the LoRA+ ratio of one model.

        Raises:
            ConfigError: nothing is left to train, or a ratio is given and no adapter has factors
                on the output side.
        """
        encoders = [name for name in TEXT_ENCODERS if name in self.models]

        def by_target(all_of_them: Any, unet: Any, text: Any) -> dict[str, Any]:
            rates = list(text) if isinstance(text, Sequence) else [text]
            rates += [rates[-1] if rates else None] * len(encoders)
            given = {**dict.fromkeys(DENOISERS, unet), **dict(zip(encoders, rates, strict=False))}
            found = {target: given.get(target) for target in self.targets}
            return {target: all_of_them if v is None else v for target, v in found.items()}

        return param_groups(
            self.layers,
            self.sites,
            self.rates,
            by_target(learning_rate, unet_lr, text_encoder_lr),
            by_target(loraplus_lr_ratio, loraplus_unet_lr_ratio, loraplus_text_encoder_lr_ratio),
        )

    def norms(self) -> Tensor:
        """Return the Frobenius norm of each update, (layers,), in the order of ``layers``."""
        bases = {key: FrozenLayer.of(site.module, site.spec) for key, site in self.sites.items()}
        norms = [layer.norm(bases[key]) for key, layer in self.layers.items()]
        return torch.stack([norm.to(norms[0].device) for norm in norms])

    def check_norms_have_limits(self) -> None:
        """Check that ``limit_norms`` will work; nothing is changed.

        Raises:
            ConfigError: a layer's update cannot be scaled by scaling its stored tensors.
        """
        for layer in self.layers.values():
            layer.norm_degree()

    def limit_norms(self, max_norm: float) -> tuple[int, Tensor]:
        """Scale down every update whose Frobenius norm is larger (max-norm regularization).

        The device is synchronised once, not for each layer.

        Args:
            max_norm: the largest norm allowed.

        Returns:
            The number of layers that were scaled down, and the norm of each layer's update
            afterwards, (layers,), on the CPU.

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
        """Return how many numbers the adapter's file holds, not counting alphas."""
        return sum(
            tensor.numel() for layer in self.layers.values() for tensor in layer.tensors().values()
        )


def _module_name(key: str) -> str:
    """Turn a layer's key into a name for a submodule, which must not contain dots."""
    return key.replace(".", ":")
