"""The config of a whole run, made of one section of options for each part."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from lycoris_ext.data import DataConfig
from lycoris_ext.diffusion import LossConfig
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.models import ModelConfig
from lycoris_ext.network import NetworkConfig
from lycoris_ext.options import MayChange, Option, Section
from lycoris_ext.training.description_config import DescriptionConfig
from lycoris_ext.training.optimizers import OptimizerConfig, several_rates
from lycoris_ext.training.run_config import RunConfig
from lycoris_ext.training.sample_config import SampleConfig
from lycoris_ext.training.schedules import ScheduleConfig
from lycoris_ext.training.start_config import StartConfig
from lycoris_ext.training.validation_config import ValidationConfig


@dataclass(frozen=True)
class TrainConfig:
    """All options of a training run.

    The name of an option is unique over all sections, so a config file needs no tables.

    Args:
        model: the base model.
        network: the adapter.
        data: pictures and captions.
        start: adapters that training starts from.
        optimizer: optimizer and learning rates.
        schedule: how the learning rates change over the run.
        loss: noise and loss.
        sample: pictures that are drawn during training.
        validation: the loss on pictures that are held out.
        run: length, precision, output files.
        description: texts about the adapter for whoever gets its file.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    start: StartConfig = field(default_factory=StartConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    run: RunConfig = field(default_factory=RunConfig)
    description: DescriptionConfig = field(default_factory=DescriptionConfig)

    def __post_init__(self) -> None:
        self._check_one_rate()
        if (
            self.optimizer.stop_text_encoder_training
            and self.effective_network.network_train_text_encoder_only
        ):
            raise ConfigError(
                "stop_text_encoder_training ends the training of the text encoder, and nothing "
                "else is trained",
                where="stop_text_encoder_training",
                fix="remove it, and set max_train_steps",
            )
        chosen = self.optimizer
        if self.schedule.lr_scheduler == "adafactor" and not chosen.kind.sets_rate(
            chosen.optimizer_args
        ):
            raise ConfigError(
                'lr_scheduler = "adafactor" leaves the rate to the optimizer Adafactor, and '
                f'optimizer_type is "{chosen.optimizer_type}" with optimizer_args '
                f"{list(chosen.optimizer_args)}",
                where="lr_scheduler",
                fix='set optimizer_type = "Adafactor" without relative_step=False, or another '
                "lr_scheduler",
            )
        option = self.data.text_cache_option
        if self.data.caches_text and not self.effective_network.network_train_unet_only:
            raise ConfigError(
                f"{option} keeps one encoding of each caption, and the text encoder, which changes "
                "it, is trained (network_train_unet_only = false)",
                where=option,
                fix=f"set network_train_unet_only = true, or remove {option}",
            )

    def _check_one_rate(self) -> None:
        """Refuse several rates for an optimizer that takes one, before anything is encoded."""
        network, optimizer = self.effective_network, self.optimizer
        rates = {"learning_rate": optimizer.learning_rate}
        if not network.network_train_text_encoder_only:
            rates["unet_lr"] = optimizer.effective_unet_lr
        if not network.network_train_unet_only:
            numbers = enumerate(filter(None, optimizer.text_encoder_rates), start=1)
            rates |= {f"text_encoder_lr {number}": rate for number, rate in numbers}
        if len(rates) > 1:
            del rates["learning_rate"]
        if optimizer.kind.one_rate and len(set(rates.values())) > 1:
            raise several_rates(optimizer.optimizer_type, rates)

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return section -> option -> value, with values as a TOML file holds them.

        A table, such as one of the overrides, becomes a dict of the options that it sets.
        """
        sections = {section.name: getattr(self, section.name) for section in fields(self)}
        return {
            name: {option: _as_toml(value) for option, value in section.values().items()}
            for name, section in sections.items()
        }

    def flat(self) -> dict[str, Any]:
        """Return option -> value for all sections together, with values as in ``sections``."""
        return {
            name: value for section in self.sections().values() for name, value in section.items()
        }

    @property
    def effective_network(self) -> NetworkConfig:
        """The options of the network, where a model with learning rate 0 gets no adapter."""
        network = self.network
        if not self.optimizer.trains_text_encoder:
            network = replace(network, network_train_unet_only=True)
        if self.optimizer.effective_unet_lr == 0.0:
            network = replace(network, network_train_text_encoder_only=True)
        return network

    def changed_since(self, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Find the options that forbid to continue a saved run with this config.

        Args:
            saved: ``flat()`` of the run that is to be continued, as read from JSON; an option
                that is not in it, because it is newer than the run, had its default.

        Returns:
            Option -> (value in the saved run, value now) for options that affect the result and
            differ; empty if the run can be continued.
        """
        allowed: dict[MayChange, bool] = {
            "never": False,
            "always": True,
            "if no rate follows the length": not (
                self.schedule.depends_on_length
                or self.data.follows_length
                or 0 < (self.optimizer.stop_text_encoder_training or 0) < 1
            ),
            "if dim_from_weights": self.start.dim_from_weights,  # the file's content is compared
        }
        now, options = json.loads(json.dumps(self.flat())), all_options()
        defaults = {name: _as_toml(option.default) for name, option in options.items()}
        before = json.loads(json.dumps(defaults)) | saved
        return {
            name: (before[name], value)
            for name, value in now.items()
            if before[name] != value and not allowed[options[name].may_change]
        }


def section_types() -> dict[str, type[Section]]:
    """Return section name -> class of the section, in order."""
    return get_type_hints(TrainConfig)


def all_options() -> dict[str, Option]:
    """Return name -> declaration of every option of a run, in the order of the sections.

    Options of algorithms, optimizers and so on that were registered by now are among them.

    Raises:
        TypeError: two sections have an option of the same name.
    """
    found: dict[str, Option] = {}
    for section in section_types().values():
        for name, known in section.options().items():
            if found.setdefault(name, known) is not known:
                raise TypeError(f"two sections have an option {name}")
    return found


def dump_toml(config: TrainConfig, *, for_sharing: bool = False) -> str:
    """Write a config as TOML, with a table for each section; options that are None are left out.

    Args:
        config: of a run.
        for_sharing: shorten paths to their last part and leave out the output folders, for the
            metadata of a file that others will see.
    """
    left_out = ("nowhere", "in the run's own files") if for_sharing else ("nowhere",)
    blocks = []
    for section, kind in section_types().items():
        lines, known = [f"[{section}]"], kind.options()
        for name, value in getattr(config, section).values().items():
            if value is None or known[name].recorded in left_out:
                continue
            shown = _without_folders(value, known[name]) if for_sharing else value
            lines.append(f"{name} = {toml_value(_as_toml(shown))}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _as_toml(value: Any) -> Any:
    """Turn the sections in an option's value into dicts of the options that they set."""
    if isinstance(value, tuple):
        return tuple(_as_toml(item) for item in value)
    return value.changed() if isinstance(value, Section) else value


def _without_folders(value: Any, known: Option) -> Any:
    """Shorten each path in an option's value to its last part."""
    if isinstance(value, tuple):
        return tuple(_without_folders(item, known) for item in value)
    if isinstance(value, Section):
        options = value.options()
        return {n: _without_folders(v, options[n]) for n, v in value.changed().items()}
    return Path(str(value).replace("\\", "/")).name if known.is_path else value
