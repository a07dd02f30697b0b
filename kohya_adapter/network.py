"""The network that sd-scripts works with: our ``Network`` with the methods that it calls."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kohya_adapter import backup
from kohya_adapter.arguments import Arguments, without_spaces
from kohya_adapter.drawing import ForwardHooks
from kohya_adapter.gui_words import in_gui_words
from kohya_adapter.regions import Region, RegionalForward
from kohya_adapter.rehearsal import check_rates, rehearse
from kohya_adapter.resuming import check_same_network
from kohya_adapter.targets import TextEncoders
from kohya_adapter.type_errors import no_type_error
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import AdapterState, atomic_write, load_adapter, save_adapter
from lycoris_ext.formats.doubts import doubts
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.formats.summary import plans_of
from lycoris_ext.network import Network
from lycoris_ext.network.checks import is_packed

_SAFE = ".safetensors"

logger = logging.getLogger(__name__)


class KohyaNetwork(Network):
    """A network with the methods that sd-scripts' trainers and generation scripts call.

    Args:
        network: the adapters.
        models: names of all models that the script passed.
        arguments: what the user gave.
        network_args: options for the metadata, where the user gave none.
        measured: options for the metadata that hold whatever the user gave.

    Attributes:
        train_t5xxl: whether T5 is adapted; the trainers of FLUX and SD3 read it.
    """

    def __init__(
        self,
        network: Network,
        models: Sequence[str],
        arguments: Arguments,
        network_args: Mapping[str, str],
        measured: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(network.layers, network.sites, network.rates, models)
        self.skipped, self.notices = network.skipped, network.notices
        self.base_numbers = network.base_numbers
        self.embeddings = network.embeddings
        self.train_t5xxl = arguments.train_t5xxl
        self._ratios = dict(arguments.ratios)
        self._network_args, self._measured = dict(network_args), dict(measured or {})
        self._logs_norms = False
        self._grad_norms: Tensor | None = None
        self._region: Region | None = None
        self._hooks = ForwardHooks(self)
        self._args: Any = None

    # before training

    def prepare_network(self, args: Any) -> None:
        """Try what the trainer will do later, and note whether the run is logged.

        Norms are computed only for a log.

        Args:
            args: the trainer's options.

        Raises:
            ConfigError, EnvironmentFault: all that would end the run in its first step or at its
                first save; see ``rehearsal``.
        """
        with in_gui_words():
            rehearse(self, args)
        self._args = args
        self._logs_norms = bool(
            getattr(args, "logging_dir", None) or getattr(args, "log_with", None)
        )

    def set_multiplier(self, multiplier: float) -> None:
        self.multiplier = multiplier

    def apply_to(
        self,
        text_encoder: TextEncoders,
        unet: nn.Module,
        apply_text_encoder: bool = True,
        apply_unet: bool = True,
    ) -> None:
        """Inject the adapters into the models; layers of a model that is not trained are dropped.

        Args:
            text_encoder, unet: the models that ``create_network`` got.
            apply_text_encoder, apply_unet: whether the model is trained.

        Raises:
            ConfigError: no layer is left.
        """
        self.leave_out([*TEXT_ENCODERS] if not apply_text_encoder else [])
        self.leave_out(["unet"] if not apply_unet else [])
        self.inject()
        handed = [text_encoder] if isinstance(text_encoder, nn.Module) else text_encoder or ()
        adapted = not set(TEXT_ENCODERS).isdisjoint(self.targets)
        self._hooks.attach(unet, [one for one in handed if adapted and one is not None])

    def remove(self) -> None:
        super().remove()
        self._hooks.detach()

    def load_weights(self, file: str | Path) -> dict[str, list[str]]:
        """Load the weights of an adapter file, to continue its training (``--network_weights``).

        Returns:
            What the trainer prints: the network's layers that are not in the file ("start afresh"),
            and the file's layers whose model is not trained ("not trained").

        Raises:
            FormatError: the file has layers that the network does not adapt, or of other sizes.
        """
        state = load_adapter(file)
        missing, left_over = self.load_adapter_state(state, partly=True)
        for said in doubts(state, plans_of(state)):
            logger.warning(f"lycoris_ext: {state.source}: {said}")
        return {"start afresh": missing, "not trained": left_over}

    def enable_gradient_checkpointing(self) -> None:
        """Do nothing: when the models recompute their layers, they recompute the adapters, too."""

    # the optimizer

    @no_type_error
    def prepare_optimizer_params_with_multiple_te_lrs(
        self,
        text_encoder_lr: float | Sequence[float] | None,
        unet_lr: float | None,
        learning_rate: float | None = None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the optimizer's parameter groups, and their names for the log.

        Args:
            text_encoder_lr: learning rate of all text encoders, or a list with one for each; the
                last one also counts for further encoders.
            unet_lr: learning rate of the U-Net.
            learning_rate: used for those that are None.
        """
        groups = self.param_groups(
            learning_rate=0.0 if learning_rate is None else learning_rate,
            unet_lr=unet_lr,
            text_encoder_lr=text_encoder_lr,
            **self._ratios,
        )
        check_rates(groups, self._args)
        return groups, [self._description(group.pop("name")) for group in groups]

    @no_type_error
    def prepare_optimizer_params(
        self,
        text_encoder_lr: float | None = None,
        unet_lr: float | None = None,
        learning_rate: float | None = None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the optimizer's parameter groups, and their names for the log.

        Layers whose rate is 0 are left out and frozen.

        Args:
            text_encoder_lr, unet_lr: learning rate of all text encoders, and of the U-Net; None
                takes learning_rate.
            learning_rate: None counts as 0.
        """
        return self.prepare_optimizer_params_with_multiple_te_lrs(
            text_encoder_lr, unet_lr, learning_rate
        )

    def _description(self, name: str) -> str:
        """Turn our name of a parameter group into sd-scripts': "unet", "textencoder 2 plus"."""
        target, _, rest = name.partition(" ")
        encoders = [kind for kind in TEXT_ENCODERS if kind in self.targets]
        words = ["textencoder" if target in TEXT_ENCODERS else target]
        if target in encoders and len(encoders) > 1:
            words.append(str(TEXT_ENCODERS.index(target) + 1))
        return " ".join([*words, rest] if rest else words)

    def prepare_grad_etc(self, text_encoder: object, unet: object) -> None:
        """Do nothing: making the optimizer's groups has already frozen models with a rate of 0."""

    def get_trainable_params(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    # while training

    def on_epoch_start(self, text_encoder: object, unet: object) -> None:
        self.train()

    def on_step_start(self, text_encoder: object, unet: object) -> None:
        """Do nothing; the trainer calls this before each step."""

    def apply_max_norm_regularization(
        self, max_norm_value: float, device: object
    ) -> tuple[int, float, float]:
        """Scale updates down whose norm exceeds ``--scale_weight_norms``.

        Returns:
            The number of layers that were scaled, and the mean and largest norm afterwards.
        """
        longer, norms = self.limit_norms(max_norm_value)
        return longer, norms.mean().item(), norms.max().item()

    def update_norms(self) -> None:
        """Do nothing: ``weight_norms`` computes the norms when it is called."""

    @torch.no_grad()
    def update_grad_norms(self) -> None:
        """Compute the norms of the gradients now; the trainer reads them after it dropped these."""
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
        """Return the norm of each layer's update, (layers,), for the log.

        None if the run is not logged, or if an update depends on a quantised weight.
        """
        unread = any(
            layer.plan.needs_base and is_packed(self.sites[key])
            for key, layer in self.layers.items()
        )
        return self.norms() if self._logs_norms and not unread else None

    def grad_norms(self) -> Tensor | None:
        """Return the norm of each layer's gradients in the last step, (layers,), for the log.

        None if the run is not logged, or if there were no gradients.
        """
        return self._grad_norms

    def combined_weight_norms(self) -> Tensor | None:
        """Return None: norms of the weights with their updates are not computed."""
        return None

    # files

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state that ``state_dict`` returned, or the tensors of an adapter file.

        The keys of a file may have any tool's naming.

        Raises:
            ConfigError: with ``strict``, it is the state of a network with other options.
        """
        shapes = {key: tensor.shape for key, tensor in self.state_dict().items()}
        if any(shapes.get(key) != tensor.shape for key, tensor in state_dict.items()):
            state_dict = self.as_state_dict(AdapterState(dict(state_dict)))
        if strict:
            check_same_network(shapes, state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def save_weights(
        self, file: str | Path, dtype: torch.dtype | None, metadata: Mapping[str, str] | None
    ) -> None:
        """Write an adapter file.

        Args:
            file: its path; an ending other than .safetensors makes it a file of torch.save.
            dtype: of the tensors in the file.
            metadata: the trainer's; only the network's own options are added.

        Raises:
            FormatError: a tensor holds NaN or infinity; nothing is written.
        """
        state = self.adapter_state(self._completed(metadata or {}), dtype)
        if Path(file).suffix == _SAFE:
            save_adapter(file, state)
        else:
            atomic_write(Path(file), lambda stream: torch.save(state.tensors, stream))

    def _completed(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """Add all options of the network to the metadata; the trainer knows only the given ones."""
        if "ss_network_module" not in metadata:
            return dict(metadata)
        given = without_spaces(json.loads(metadata.get("ss_network_args", "{}")))
        arguments = self._network_args | given | self._measured
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
        """Add the network's updates to the base weights for good: no copy is kept to undo it.

        Args:
            text_encoder, unet: not used: the network knows its layers.
            weights_sd: tensors of an adapter file to load first.
            dtype, device: not used: weights keep their dtype and device, sums are in float32.

        Raises:
            ConfigError: the network is injected already, or a weight is quantised.
        """
        if weights_sd is not None:
            self.load_state_dict(weights_sd, strict=False)
        self.merge(self.multiplier, keep=False)

    def backup_weights(self) -> None:
        """Copy the base weight and bias of every layer that this network adapts.

        Layers that another network of this run has copied are skipped.
        """
        backup.keep(self.sites.values())

    def restore_weights(self) -> None:
        """Restore the copied weights of this network's layers, without any network's update."""
        backup.restore(self.sites.values())
        self.forget_merge()

    def pre_calculation(self) -> None:
        """Merge the network into the base weights at its present strength, and stop injecting it.

        This makes the next pictures faster; ``restore_weights`` undoes it.
        """
        self.remove()
        self.merge(self.multiplier, keep=False)
        backup.mark_changed(self.sites.values())

    def set_region(self, sub_prompt_index: int, is_last_network: bool, mask: Tensor) -> None:
        """Apply this network only to a region of the picture and to one of its sub-prompts.

        Args:
            sub_prompt_index: which sub-prompt, counted from 0.
            is_last_network: whether no other network is set after this one.
            mask: (height, width), 0 to 1; all zeros stand for the whole picture.
        """
        self._region = Region(sub_prompt_index, is_last_network, mask)
        layers = self.layers
        for key, attachment in self._attachments.items():
            # It wraps what is called now, so that the network that is set last is the outermost.
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
        """Tell the region of this network about the next batch of pictures.

        Args:
            batch_size: number of pictures.
            num_sub_prompts: number of sub-prompts of each picture.
            width, height: of the pictures, in pixels.
            shared: a dict that all networks of the run read and write.
            ds_ratio: gen_img.py's factor for the size of inner levels ("deep shrink"), or None.
        """
        if self._region is None:
            raise ConfigError(
                "set_region was not called before set_current_generation", fix="call it first"
            )
        self._region.start(batch_size, num_sub_prompts, (height, width), shared, ds_ratio)
