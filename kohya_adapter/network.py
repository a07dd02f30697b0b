"""What ``create_network`` returns: the core's network under the names that sd-scripts calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kohya_adapter import backup
from kohya_adapter.arguments import Arguments
from kohya_adapter.regions import Region, RegionalForward
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import AdapterState, atomic_write, load_adapter, save_adapter
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.formats.weights import load_weights
from lycoris_ext.network import Network
from lycoris_ext.network.checks import is_packed

_SAFE = ".safetensors"

Method = TypeVar("Method", bound=Callable[..., Any])


def read_adapter(path: str | Path) -> AdapterState:
    """An adapter file, whatever its ending.

    Raises:
        DataError: there is no such file.
        FormatError: it is damaged, or no adapter.
    """
    path = Path(path)
    if path.suffix == _SAFE:
        return load_adapter(path)
    return AdapterState(dict(load_weights(path).tensors))


def _no_type_error(method: Method) -> Method:
    """The trainer takes any TypeError for "has another signature" and tries again without a
    learning rate: one of ours has to look different."""

    @wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except TypeError as error:
            raise RuntimeError(f"lycoris_ext failed: {error}") from error

    return called  # type: ignore[return-value]


class KohyaNetwork(Network):
    """A network as sd-scripts' trainers and generation scripts use it.

    Attributes:
        train_t5xxl: FLUX's and SD3's trainers read it.
    """

    def __init__(
        self,
        network: Network,
        models: Sequence[str],
        arguments: Arguments,
        network_args: Mapping[str, str],
    ) -> None:
        super().__init__(network.layers, network.sites, network.rates, models)
        self.train_t5xxl = arguments.train_t5xxl
        self._ratios = dict(arguments.ratios)
        self._network_args = dict(network_args)
        self._logs_norms = False
        self._grad_norms: Tensor | None = None
        self._region: Region | None = None

    # before training

    def prepare_network(self, args: Any) -> None:
        """Norms are computed where somebody reads them: in a run that is logged."""
        self._logs_norms = bool(
            getattr(args, "logging_dir", None) or getattr(args, "log_with", None)
        )

    def set_multiplier(self, multiplier: float) -> None:
        self.multiplier = multiplier

    def apply_to(
        self,
        text_encoder: object,
        unet: nn.Module,
        apply_text_encoder: bool = True,
        apply_unet: bool = True,
    ) -> None:
        """Take part in the models' forward; layers of a model that is not trained are dropped.

        Raises:
            ConfigError: no layer is left.
        """
        self.leave_out([*TEXT_ENCODERS] if not apply_text_encoder else [])
        self.leave_out(["unet"] if not apply_unet else [])
        self.inject()
        if any(layer.plan.algorithm.takes_timesteps for layer in self.layers.values()):
            unet.register_forward_pre_hook(self._see_timesteps)

    def load_weights(self, file: str | Path) -> dict[str, list[str]]:
        """Continue from a file; what the trainer prints is returned.

        Returns:
            Layers that start afresh, and those of the file whose model is not trained.

        Raises:
            FormatError: the file has layers that the network leaves alone, or of other sizes.
        """
        state = read_adapter(file)
        missing, left_over = self.load_adapter_state(state, partly=True)
        return {"start afresh": missing, "not trained": left_over}

    def enable_gradient_checkpointing(self) -> None:
        """Nothing to do: the models recompute, and the adapters inside them with them."""

    # the optimizer

    @_no_type_error
    def prepare_optimizer_params_with_multiple_te_lrs(
        self,
        text_encoder_lr: float | Sequence[float] | None,
        unet_lr: float | None,
        learning_rate: float | None = None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """(groups, their names in the log).

        Args:
            text_encoder_lr: of all text encoders, or of each; the last one is for those after it.
            unet_lr: of the U-Net.
            learning_rate: where these are None.
        """
        groups = self.param_groups(
            learning_rate=0.0 if learning_rate is None else learning_rate,
            unet_lr=unet_lr,
            text_encoder_lr=text_encoder_lr,
            **self._ratios,
        )
        return groups, [self._description(group.pop("name")) for group in groups]

    @_no_type_error
    def prepare_optimizer_params(
        self,
        text_encoder_lr: float | None = None,
        unet_lr: float | None = None,
        learning_rate: float | None = None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        return self.prepare_optimizer_params_with_multiple_te_lrs(
            text_encoder_lr, unet_lr, learning_rate
        )

    def _description(self, name: str) -> str:
        """sd-scripts' names of groups: "unet", "textencoder 2 plus"."""
        target, _, rest = name.partition(" ")
        encoders = [kind for kind in TEXT_ENCODERS if kind in self.targets]
        words = ["textencoder" if target in TEXT_ENCODERS else target]
        if target in encoders and len(encoders) > 1:
            words.append(str(TEXT_ENCODERS.index(target) + 1))
        return " ".join([*words, rest] if rest else words)

    def prepare_grad_etc(self, text_encoder: object, unet: object) -> None:
        """What trains was decided with the optimizer's groups: a rate of 0 is frozen."""

    def get_trainable_params(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    # while training

    def on_epoch_start(self, text_encoder: object, unet: object) -> None:
        self.train()

    def on_step_start(self, text_encoder: object, unet: object) -> None:
        """Nothing to do."""

    def apply_max_norm_regularization(
        self, max_norm_value: float, device: object
    ) -> tuple[int, float, float]:
        """``--scale_weight_norms``: (layers that were longer, mean and largest norm after it)."""
        longer, norms = self.limit_norms(max_norm_value)
        return longer, norms.mean().item(), norms.max().item()

    def update_norms(self) -> None:
        """Nothing to do: ``weight_norms`` are taken when they are asked for."""

    @torch.no_grad()
    def update_grad_norms(self) -> None:
        """Keep the gradients' norms; the trainer asks after it has dropped the gradients."""
        if not self._logs_norms:
            return
        own = [
            [
                parameter.grad.norm()
                for parameter in layer.parameters()
                if parameter.grad is not None
            ]
            for layer in self.layers.values()
        ]
        norms = [torch.stack(grads).norm() for grads in own if grads]
        self._grad_norms = torch.stack(norms) if norms else None

    def weight_norms(self) -> Tensor | None:
        """Norm of each layer's update, for the log; None where an update reads a packed weight."""
        unread = any(
            layer.plan.needs_base and is_packed(self.sites[key])
            for key, layer in self.layers.items()
        )
        return self.norms() if self._logs_norms and not unread else None

    def grad_norms(self) -> Tensor | None:
        """Norm of each layer's gradients in the last step, for the log."""
        return self._grad_norms

    def combined_weight_norms(self) -> Tensor | None:
        """Not measured: norms of weight and update together."""
        return None

    def _see_timesteps(self, unet: nn.Module, args: tuple[Any, ...]) -> None:
        self.set_timesteps(args[1] if self.training else None)

    # files

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """A state of its own, or a file's tensors in anybody's naming."""
        own = self.state_dict()
        shapes = {key: tensor.shape for key, tensor in own.items()}
        if any(shapes.get(key) != tensor.shape for key, tensor in state_dict.items()):
            state_dict = self.as_own(AdapterState(dict(state_dict)))
        return super().load_state_dict(state_dict, strict, assign)

    def save_weights(
        self, file: str | Path, dtype: torch.dtype | None, metadata: Mapping[str, str] | None
    ) -> None:
        """Write a file as the trainer names it; the trainer's metadata stay as they are.

        Raises:
            FormatError: a tensor holds NaN or infinity; nothing is written.
        """
        state = self.adapter_state(self._completed(metadata or {}), dtype)
        if Path(file).suffix == _SAFE:
            save_adapter(file, state)
        else:
            atomic_write(Path(file), lambda stream: torch.save(state.tensors, stream))

    def _completed(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """With all options of the network, which the trainer knows only where they were given."""
        if "ss_network_module" not in metadata:
            return dict(metadata)
        given = json.loads(metadata.get("ss_network_args", "{}"))
        arguments = self._network_args | given
        return {**metadata, "ss_network_args": json.dumps(arguments)}

    # generation

    def is_mergeable(self) -> bool:
        return True

    def merge_to(
        self,
        text_encoder: object,
        unet: object,
        weights_sd: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: object = None,
    ) -> None:
        """Add the update to the base weights, for good.

        Args:
            weights_sd: the file's tensors.
            dtype, device: not used: weights stay where and what they are, sums are in float32.

        Raises:
            ConfigError: the network is applied already, or a weight is quantised.
        """
        if weights_sd is not None:
            self.load_state_dict(weights_sd, strict=False)
        self.merge(self.multiplier, keep=False)

    def backup_weights(self) -> None:
        """Keep a copy of every weight, one for all networks of a run."""
        backup.keep(self.sites.values())

    def restore_weights(self) -> None:
        """Give the weights back as they were backed up, without any network's update."""
        backup.restore(self.sites.values())
        self.forget_merge()

    def pre_calculation(self) -> None:
        """Merge for the pictures to come, at the strength of now, instead of taking part."""
        self.remove()
        self.merge(self.multiplier, keep=False)
        backup.mark_changed(self.sites.values())

    def set_region(self, sub_prompt_index: int, is_last_network: bool, mask: Tensor) -> None:
        """Confine this network to a part of the picture and to one of its prompts."""
        self._region = Region(sub_prompt_index, is_last_network, mask)
        layers = self.layers
        for key, attachment in self._attachments.items():
            # Where it stands now: the last network has to stay outermost.
            attachment.adapters = [a for a in attachment.adapters if a is not layers[key]]
            attachment.original = RegionalForward(
                self._region, layers[key], self.sites[key], attachment.original
            )

    def set_current_generation(
        self,
        batch_size: int,
        num_sub_prompts: int,
        width: int,
        height: int,
        shared: dict[str, Any],
        ds_ratio: float | None = None,
    ) -> None:
        """The pictures to come, for ``set_region``."""
        if self._region is None:
            raise ConfigError(
                "set_region was not called before set_current_generation", fix="call it first"
            )
        self._region.start(batch_size, num_sub_prompts, (height, width), shared, ds_ratio)
