"""The adapters of a whole model: inject, remove, merge, save and load them together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import RLock
from types import MappingProxyType

import torch
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import AdapterState, in_precision, save_adapter
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.modules import AdapterLayer, Attachment, attach, detach
from lycoris_ext.network.arguments import check_ending
from lycoris_ext.network.merge import Merge
from lycoris_ext.network.norms import limit_norms, update_norms
from lycoris_ext.network.param_groups import Groups, param_groups, rates_by_target
from lycoris_ext.network.selection import LayerRate
from lycoris_ext.network.sites import Site
from lycoris_ext.network.stored import as_state_dict, load_state, module_name
from lycoris_ext.network.summary import described, summary

# Threads (a host's jobs) inject and merge one after the other: networks share their base layers.
_ONE_AT_A_TIME = RLock()


class Network(nn.Module):
    """The adapters of one or several models: an ``AdapterLayer`` for each adapted layer.

    ``state_dict`` holds the trained parameters as they are, for resuming a run; ``adapter_state``
    returns what an adapter file holds.

    Attributes:
        sites: the adapted layers of the models, by their key in a file.
        rates: key -> learning rate of a layer, for layers that an override may concern.
        models: names of the models that the network was built for; some may have no adapted layer.
        skipped: name of each layer of the models that is of no kind that presets select, and that
            gets no adapter -> why.
        notices: what to know about the choice of layers, or about the numbers of the file that
            the network was loaded from, one sentence each.
        base_numbers: how many numbers the parameters of the models hold; 0: not known.
        embeddings: key -> tensor of the textual inversions in the file it was loaded from; they are
            saved with it again.
    """

    skipped: Mapping[str, str] = MappingProxyType({})
    notices: tuple[str, ...] = ()
    base_numbers: int = 0

    def __init__(
        self,
        layers: Mapping[str, AdapterLayer],
        sites: Mapping[str, Site],
        rates: Mapping[str, LayerRate] | None = None,
        models: Collection[str] = (),
    ) -> None:
        super().__init__()
        for key, layer in layers.items():
            self.add_module(module_name(key), layer)
        self.sites = dict(sites)
        self.rates = dict(rates or {})
        self.models = tuple(models) or self.targets
        self.embeddings: dict[str, Tensor] = {}
        self._attachments: dict[str, Attachment] = {}
        self._merge: Merge | None = None

    @property
    def layers(self) -> dict[str, AdapterLayer]:
        """Key -> adapter of each adapted layer; the key is the prefix of its tensors in files."""
        return {key: self._modules[module_name(key)] for key in self.sites}  # type: ignore[misc]

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

    @property
    def is_merged(self) -> bool:
        """Whether the updates are in the weights of their layers."""
        return self._merge is not None

    def leave_out(self, targets: Collection[str]) -> None:
        """Remove the adapters of the named models from the network; call it before ``inject``.

        Raises:
            ConfigError: no layer would be left, or the network is injected or merged.
        """
        dropped = [key for key, site in self.sites.items() if site.target in targets]
        if dropped:
            self._check_is_off()
        if len(dropped) == len(self.sites):
            raise ConfigError(
                f"no layer is left to train: the network adapts only {', '.join(self.targets)}",
                where="preset",
                fix="train this model, or choose a preset that adapts another model, too",
            )
        for key in dropped:
            del self.sites[key]
            self.rates.pop(key, None)
            del self._modules[module_name(key)]

    def inject(self) -> None:
        """Put the adapters into the forward of their layers, by replacing ``module.forward``.

        Several networks may be injected, in any order, and into a model that others are merged
        into: its weights are then the merged ones.

        Raises:
            ConfigError: the network is injected or merged already, so that its update would count
                twice; nothing is changed.
        """
        with _ONE_AT_A_TIME:
            self._check_is_off()
            with ExitStack() as after_an_error:
                after_an_error.callback(self.remove)
                for key, layer in self.layers.items():
                    site = self.sites[key]
                    self._attachments[key] = attach(site.module, layer, site.fused)
                after_an_error.pop_all()

    def remove(self) -> None:
        """Undo ``inject``: every layer gets its own forward back. Allowed if not injected."""
        with _ONE_AT_A_TIME:
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
    def merge(self, multiplier: float | None = None, keep: bool = True) -> None:
        """Add the update to the base weights in place; computed in float32, then cast back once.

        Several networks may be merged, and unmerged in any order.

        Args:
            multiplier: strength; None: the network's own ``multiplier``.
            keep: keep a copy of the old weights (one for all networks) and of the adapter, so that
                ``unmerge`` can put the old weights back bit for bit. False saves that memory; then
                the merge cannot be undone.

        Raises:
            ConfigError: the network is merged or injected already, so that the update would count
                twice; a weight is quantised, computed from others, not in memory or shared with
                another layer; or the adapter updates a bias that the layer lacks. Nothing is
                changed.
        """
        with _ONE_AT_A_TIME:
            self._check_is_off()
            merge = Merge(self.layers, self.sites, multiplier, keep)
            if not keep:  # an error on the way would leave some of the layers merged for good
                self._merge = merge
            merge.apply()
            self._merge = merge

    def unmerge(self) -> None:
        """Take the update out of the base weights again. Allowed if not merged.

        When no network is merged any longer, the weights are as they were before, bit for bit;
        until then they are as if only the others had been merged.

        Raises:
            ConfigError: the network was merged with keep=False, or weights have been replaced
                since; nothing is changed.
        """
        with _ONE_AT_A_TIME:
            if self._merge is not None:
                self._merge.undo()
                self._merge = None

    def forget_merge(self) -> None:
        """Note that a host has put the old weights back itself: the network may be merged again."""
        with _ONE_AT_A_TIME:
            if self._merge is not None:
                self._merge.forget()
                self._merge = None

    def _check_is_off(self) -> None:
        """Raise ConfigError if the network is injected or merged."""
        if self.is_injected:
            raise ConfigError("the network is injected already", fix="remove it first")
        if self._merge is not None:
            undo = "unmerge it first" if self._merge.keep else "load the model again to undo that"
            raise ConfigError(
                "the network is merged into the weights already: its update would count twice",
                fix=undo,
            )

    def set_timesteps(self, timesteps: Tensor | float | None) -> None:
        """Set the timesteps for the following forward calls, for algorithms that depend on them.

        Adapters of text encoders get none, because text encoders see no noise.

        Args:
            timesteps: (batch,); or one for all samples, as a number or a tensor of any device with
                one element; or None.
        """
        steps = None if timesteps is None else torch.as_tensor(timesteps).reshape(-1)
        for key, layer in self.layers.items():
            if layer.plan.algorithm.takes_timesteps:
                sees_noise = self.sites[key].target not in TEXT_ENCODERS
                told = steps if sees_noise else None
                layer.timesteps = None if told is None else told.to(layer.alpha.device)

    def adapter_state(
        self, metadata: Mapping[str, str] | None = None, dtype: torch.dtype | None = torch.float16
    ) -> AdapterState:
        """Return what an adapter file holds, with copies of the tensors on the CPU.

        Args:
            metadata: texts for the file's header.
            dtype: of the tensors; None keeps that of the parameters.
        """
        tensors = {
            f"{key}.{name}": in_precision(dtype, name, tensor).cpu()
            for key, layer in self.layers.items()
            for name, tensor in layer.stored().items()
        }
        tensors |= {key: tensor.cpu().clone() for key, tensor in self.embeddings.items()}
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
        missing, left_over = load_state(self.layers, self.sites, state, partly)
        self.embeddings = {key: tensor.clone() for key, tensor in state.embeddings().items()}
        return missing, left_over

    def as_state_dict(self, state: AdapterState) -> dict[str, Tensor]:
        """Rename and reshape a file's tensors so that ``load_state_dict`` accepts them.

        Layers that the network does not have keep their names. If the file has no alpha for a
        layer, the network's alpha is added.
        """
        return as_state_dict(state, self.sites, self.state_dict())

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
        ratios = (
            loraplus_lr_ratio,
            loraplus_unet_lr_ratio,
            loraplus_text_encoder_lr_ratio,
        )
        return param_groups(
            self.layers,
            self.sites,
            self.rates,
            rates_by_target(self.targets, self.models, learning_rate, unet_lr, text_encoder_lr),
            rates_by_target(self.targets, self.models, *ratios),
        )

    def norms(self) -> Tensor:
        """Return the Frobenius norm of each update, (layers,), in the order of ``layers``."""
        return update_norms(self.layers, self.sites)

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
        return limit_norms(self.layers, self.sites, max_norm)

    def save(
        self,
        path: Path | str,
        metadata: Mapping[str, str] | None = None,
        dtype: torch.dtype | None = torch.float16,
    ) -> None:
        """Write the adapter as a safetensors file that hosts load; an older file is replaced.

        Args:
            path: the file; its name ends in .safetensors.
            metadata: texts for the file's header.
            dtype: of the tensors in the file; None keeps that of the parameters, float32.

        Raises:
            ConfigError: the name has another ending.
            FormatError: a tensor holds NaN or infinity; nothing is written.
            EnvironmentFault: the disk is full or not writable; an older file is unharmed.
        """
        check_ending(path)
        save_adapter(path, self.adapter_state(metadata, dtype))

    def print_summary(self) -> None:
        """Print algorithm, layers, sizes, trained numbers and notices, in a few lines."""
        print(summary(self.layers, self.sites, self.base_numbers, self.notices))

    def __repr__(self) -> str:
        """Return one line; the layers are in ``layers``."""
        state = "injected" if self.is_injected else "merged" if self.is_merged else "off"
        return f"<{type(self).__name__}: {described(self.layers, self.sites)}, {state}>"

    def parameter_count(self) -> int:
        """Return how many numbers the adapter's file holds, not counting alphas."""
        return sum(
            tensor.numel() for layer in self.layers.values() for tensor in layer.tensors().values()
        )
