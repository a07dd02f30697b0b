"""Everything that describes a run, put together from the options of each part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lycoris_ext.data import DataConfig, SubsetEntry
from lycoris_ext.diffusion import LossConfig
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.models import ModelConfig
from lycoris_ext.network import LayerOverride, NetworkConfig
from lycoris_ext.options import Section
from lycoris_ext.training.optimizers import OptimizerConfig
from lycoris_ext.training.run_config import RunConfig
from lycoris_ext.training.sample_config import SampleConfig
from lycoris_ext.training.schedules import ScheduleConfig
from lycoris_ext.training.start_config import StartConfig

PATH_OPTIONS = frozenset(
    {
        "pretrained_model_name_or_path",
        "vae",
        "train_data_dir",
        "image_dir",
        "subsets",
        "network_weights",
        "base_weights",
        "reg_data_dir",
        "cache_dir",
        "output_dir",
        "logging_dir",
    }
)
"""Options that hold a place on the user's disk: never written into a file that is passed on."""

WHERE_IT_WENT = frozenset({"output_dir", "logging_dir", "cache_dir"})
"""Options that say nothing about a result at all."""

FREE_ON_RESUME = frozenset(
    {
        *PATH_OPTIONS,  # what lies there is compared instead
        "allow_missing_captions",
        "max_data_loader_n_workers",
        "cache_latents_to_disk",
        "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk",
        "sample_every_n_steps",
        "sample_every_n_epochs",
        "sample_at_first",
        "sample_prompts",
        "sample_sampler",
        "log_with",
        "output_name",
        "save_precision",
        "save_every_n_steps",
        "save_every_n_epochs",
        "save_state_every_n_steps",
        "save_state_every_n_seconds",
        "device",
        "overwrite",
    }
)
"""Options that may change when a run is continued: they do not touch what is learned."""

LENGTH_OPTIONS = frozenset({"max_train_steps", "max_train_epochs"})

TAKEN_FROM_WEIGHTS = frozenset(
    {"algo", "network_dim", "network_alpha", "conv_dim", "conv_alpha", "use_tucker", "rs_lora"}
)
"""Options that dim_from_weights reads from network_weights, whose content is compared instead."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. Field names are unique over the sections, so a file may be flat.

    Args:
        model: the frozen base.
        network: what is trained.
        data: pictures and captions.
        start: what it starts from.
        optimizer: how it is updated.
        schedule: how the learning rate changes.
        loss: what is minimized.
        sample: pictures drawn on the way.
        run: length, precision, output.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    start: StartConfig = field(default_factory=StartConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        option = self.data.text_cache_option
        if self.data.caches_text and not self.effective_network.network_train_unet_only:
            raise ConfigError(
                f"{option} keeps one encoding of each caption, and the text encoder, which changes "
                "it, is trained (network_train_unet_only = false)",
                where=option,
                fix=f"set network_train_unet_only = true, or remove {option}",
            )

    def sections(self) -> dict[str, dict[str, Any]]:
        """Section name -> option -> value as TOML holds it, in the order of the fields."""
        parts = {section.name: getattr(self, section.name) for section in fields(self)}
        return {
            name: {option: _plain(value) for option, value in _values(part).items()}
            for name, part in parts.items()
        }

    def flat(self) -> dict[str, Any]:
        """Option -> value over all sections."""
        return {
            name: value for section in self.sections().values() for name, value in section.items()
        }

    @property
    def effective_network(self) -> NetworkConfig:
        """The network as it is built: a part with learning rate 0 gets no adapter at all."""
        network = self.network
        if self.optimizer.effective_text_encoder_lr == 0.0:
            network = replace(network, network_train_unet_only=True)
        if self.optimizer.effective_unet_lr == 0.0:
            network = replace(network, network_train_text_encoder_only=True)
        return network

    def changed_since(self, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Options that decide the result and differ: name -> (saved, now).

        Args:
            saved: flat() of the run that is to be continued, as read from JSON.

        Returns:
            Empty when the run may go on. A different length is allowed where no learning rate
            depends on it.
        """
        free = FREE_ON_RESUME
        if not self.schedule.depends_on_length:
            free = free | LENGTH_OPTIONS
        if self.start.dim_from_weights:
            free = free | TAKEN_FROM_WEIGHTS
        now = json.loads(json.dumps(self.flat()))
        return {
            name: (saved.get(name), value)
            for name, value in now.items()
            if name not in free and name in saved and saved[name] != value
        }


def dump_toml(config: TrainConfig, *, for_sharing: bool = False) -> str:
    """The config as TOML, one table a section; unset options are left out.

    Args:
        config: all options, resolved.
        for_sharing: keep only the last part of paths and leave out where the output went, as for
            the metadata of a file that others will see.
    """
    blocks = []
    for section, options in config.sections().items():
        lines = [f"[{section}]"]
        for name, value in options.items():
            if value is None or name == "overwrite" or (for_sharing and name in WHERE_IT_WENT):
                continue
            if for_sharing and (name in PATH_OPTIONS or name == "preset"):
                value = _last_parts(value)
            lines.append(f"{name} = {toml_value(value)}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _values(section: Any) -> dict[str, Any]:
    if isinstance(section, Section):
        return section.values()
    return {option.name: getattr(section, option.name) for option in fields(section)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and any(
        isinstance(item, (LayerOverride, SubsetEntry)) for item in value
    ):
        return tuple(table.as_table() for table in value)
    return value


def _last_parts(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_last_parts(path) for path in value)
    if isinstance(value, Mapping):
        return {name: _last_parts(v) if name in PATH_OPTIONS else v for name, v in value.items()}
    return Path(str(value).replace("\\", "/")).name
