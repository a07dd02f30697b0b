"""Write a config as a TOML file for sd-scripts' train_network.py and sdxl_train_network.py.

Most options have the same name and meaning there, so only those that differ are named here. The
network is trained by our own network module.

Source: sd-scripts 48d368f, the arguments of train_network.py and library/config_util.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from lycoris_ext.config.exports.exported import Exported, Target
from lycoris_ext.config.sd_scripts_options import DEFAULTS
from lycoris_ext.data.faces import face_range
from lycoris_ext.data.folder_tree import has_multiply
from lycoris_ext.data.subset import SubsetOptions
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.files import expanded
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.models.outline import picture_size_of
from lycoris_ext.network import NetworkConfig
from lycoris_ext.network.sd_scripts_names import OF_SCRIPTS, RATIOS, as_network_args
from lycoris_ext.sampling.samplers import SD_SCRIPTS, canonical_sampler
from lycoris_ext.training.config import TrainConfig, all_options
from lycoris_ext.training.door import with_resolution
from lycoris_ext.training.optimizer_kinds import optimizer_kind
from lycoris_ext.words import one_line

Values = dict[str, Any]

#: Written even at our default, because sd-scripts has another one.
_ALWAYS = frozenset((*DEFAULTS, "seed", "resolution", "max_train_steps"))
#: Options that change nothing in what is trained, or that sd-scripts does anyway.
_WITHOUT_EFFECT = frozenset(
    (
        "allow_missing_captions",
        "cache_dir",
        "cache_limit_gb",
        "device",
        "left_out",
        "overwrite",
        "save_state_every_n_seconds",
        "save_state_every_n_steps",
        "silence",
    )
)
#: Option that sd-scripts does not have -> the nearest thing that works there.
_MISSING = {
    "overrides": "use a LyCORIS preset file (preset = my.toml) or block_dims in network_args",
    "ema_decay": "leave it out",
    "stop_text_encoder_training": "use a lower text_encoder_lr; its LoRA training never stops it",
    "multiply": "write whole repeats: lycoris-ext dataset balance FOLDER --config mine.toml",
    "loss_weight": "use num_repeats, or prior_loss_weight for regularisation pictures",
    "caption_mode": "leave it out, and write captions as the mode would make them",
    "tag_list_dropout_rate": "use caption_tag_dropout_rate, which draws for each tag",
    "caption_set": "copy the pictures into another folder, and the captions of the set beside them",
    "caption_fields": "draw them once, with lycoris-ext dataset tags FOLDER --fields",
    "level_rules": "apply them once, with lycoris-ext dataset tags FOLDER --level-rules",
    "caption_variants": "leave it out; there cached captions are never changed",
    "timestep_distribution": "use min_timestep and max_timestep; there all are equally frequent",
    **dict.fromkeys(
        ("noising_weight", "noising_bias", "timestep_shift"), "use min_timestep and max_timestep"
    ),
}
#: Values that sd-scripts does not have -> the nearest thing that works there.
_MISSING_VALUES = {
    ("lr_scheduler", "rex"): 'use lr_scheduler = "cosine"',
    ("optimizer_type", "Muon"): 'use optimizer_type = "AdamW8bit"',
    ("pretrained_model_name_or_path", "mini"): "name a base model of Stable Diffusion",
}
#: Optimizers that sd-scripts takes by the path of their class alone.
_NAMED_BY_PATH = ("ProdigyPlusScheduleFree", "CAME", "Adan")
#: Our sampler -> sd-scripts' usual name of it.
_SAMPLERS = {ours: name for name, ours in reversed(SD_SCRIPTS.items())}
#: Options of the data that a whole data set has there, not a subset.
_OF_DATASETS = {
    "train_batch_size": "batch_size",
    **{
        name: name
        for name in (
            "resolution", "enable_bucket", "min_bucket_reso", "max_bucket_reso",
            "bucket_reso_steps", "bucket_no_upscale", "validation_split", "validation_seed",
        )
    },
}  # fmt: skip
_FOLDERS = (
    "train_data_dir", "reg_data_dir", "image_dir", "num_repeats", "subsets",
    "conditioning_data_dir",
)  # fmt: skip


def export(config: TrainConfig, target: Target) -> Exported:
    """Return a config as the files that sd-scripts reads.

    Args:
        config: of a run.
        target: where the files will be written.
    """
    made = translate(config, target)
    text = "".join(f"{name} = {toml_value(value)}\n" for name, value in made.values.items())
    return Exported({target.main: text, **made.files}, tuple(made.unsupported))


@dataclass
class Translation:
    """A config in sd-scripts' words.

    Attributes:
        values: option of sd-scripts -> value.
        files: path -> text of the files that the options name.
        unsupported: an error for each option that sd-scripts does not have.
    """

    values: Values = field(default_factory=dict)
    files: dict[Any, str] = field(default_factory=dict)
    unsupported: list[ConfigError] = field(default_factory=list)

    def refuse(self, name: str, value: object, fix: str) -> None:
        """Note an option that has no counterpart there."""
        what = name if value in ((), None) else f"{name} = {toml_value(value)}"
        self.unsupported.append(ConfigError(f"sd-scripts cannot do {what}", where=name, fix=fix))


def translate(config: TrainConfig, target: Target) -> Translation:
    """Put a config into options of sd-scripts and the files that they name."""
    made = Translation()
    config = _with_own_size(config, made)
    data = config.data
    known, plain = all_options(), config.flat()
    changed = {name for section in config.sections() for name in getattr(config, section).changed()}
    of_network = {*NetworkConfig.options(), *RATIOS}
    of_optimizer = {option.name for option in _optimizer(config).options}
    for name in known:
        value = plain.get(name)
        if name in (*of_network, *of_optimizer, *_FOLDERS, *_WITHOUT_EFFECT, "sample_prompts"):
            continue
        if name in _MISSING and name in changed:
            made.refuse(name, value, _MISSING[name])
        elif (name, str(value)) in _MISSING_VALUES:
            made.refuse(name, value, _MISSING_VALUES[name, str(value)])
        elif value is not None and (name in changed or name in _ALWAYS):
            made.values[name] = _value(name, value, made)
    if made.values.get("max_train_epochs"):
        del made.values["max_train_steps"]
    if config.data.validation_split:  # else other pictures would be held out there than trained
        made.values.setdefault("validation_seed", config.run.seed)
    if made.values.get("log_with") and "logging_dir" not in made.values:
        made.values["logging_dir"] = f"{config.run.output_dir}/logs"
    if not config.sample.wanted:
        made.values.pop("sample_sampler", None)
    made.values["cache_latents"] = not any(_draws_anew(one) for one in (data, *data.own_subsets))
    _add_network(config, made)
    _add_optimizer(config, made)
    _add_prompts(config, target, made)
    _add_folders(config, target, made)
    return made


def _draws_anew(options: SubsetOptions) -> bool:
    """Whether sd-scripts refuses cache_latents, or does not crop to faces with it."""
    return bool(options.color_aug or options.random_crop or options.face_crop_aug_range)


def _with_own_size(config: TrainConfig, made: Translation) -> TrainConfig:
    """Return the config with the resolution that ``train`` would take from the base model.

    sd-scripts stops without a resolution, and kohya_ss takes 512 for every base.
    """
    data = config.data
    stated = [subset.changed().get("resolution") for subset in data.subsets or ()]
    if data.resolution or (stated and all(stated) and not data.image_dir):
        return config
    try:
        size = picture_size_of(config.model)
    except LycorisExtError as error:
        made.unsupported.append(
            ConfigError(
                "resolution is unset, which stands for the base model's own size; sd-scripts needs "
                f"it stated, and the base model cannot be read ({error.where}: {error.what})",
                where="resolution",
                fix="set resolution, such as 512 for Stable Diffusion 1 and 1024 for XL",
            )
        )
        return config
    return with_resolution(config, size)


def _value(name: str, value: Any, made: Translation) -> Any:
    """Return an option's value in sd-scripts' spelling."""
    if name == "resolution":
        return str(value)
    if name == "sample_sampler":
        sampler = canonical_sampler(value)
        if sampler not in _SAMPLERS:
            made.refuse(name, value, "use one of " + ", ".join(_SAMPLERS))
        return _SAMPLERS.get(sampler, value)
    if isinstance(value, float) and value.is_integer() and name.endswith("_steps"):
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def _add_network(config: TrainConfig, made: Translation) -> None:
    network = config.network
    made.values["network_module"] = "lycoris_ext.kohya"
    for name in OF_SCRIPTS:
        value = getattr(network, name)
        if value not in (None, False):
            made.values[name] = value
    arguments = as_network_args(network)
    arguments |= {
        name: str(value)
        for name in RATIOS
        if (value := getattr(config.optimizer, name)) is not None
    }
    for name in ("include", "exclude"):
        if any("," in pattern for pattern in getattr(network, name)):
            made.refuse(name, getattr(network, name), "write the patterns without commas")
            del arguments[name]
    if network.overrides:
        made.refuse("overrides", None, _MISSING["overrides"])
    made.values["network_args"] = [f"{name}={value}" for name, value in arguments.items()]


def _optimizer(config: TrainConfig) -> Any:
    return optimizer_kind(config.optimizer.optimizer_type)


def _add_optimizer(config: TrainConfig, made: Translation) -> None:
    arguments = []
    for argument, options in _optimizer(config).arguments.items():
        parts = [str(getattr(config.optimizer, option.name)) for option in options]
        arguments.append(f"{argument}={','.join(parts)}")
    arguments += config.optimizer.optimizer_args
    kind = _optimizer(config)
    if kind.name in _NAMED_BY_PATH:
        made.values["optimizer_type"] = kind.class_path
    if arguments and "optimizer_type" in made.values:
        made.values["optimizer_args"] = arguments
    else:
        made.values.pop("optimizer_args", None)
    if rules := made.values.pop("lr_scheduler_step_rules", None):
        made.values["lr_scheduler_args"] = [f"step_rules='{rules}'"]


def _add_prompts(config: TrainConfig, target: Target, made: Translation) -> None:
    """Name a file with the prompts; ours may stand in the config itself."""
    prompts = config.sample.sample_prompts
    if len(prompts) == 1 and prompts[0].lower().endswith((".txt", ".toml", ".json")):
        made.values["sample_prompts"] = prompts[0]
    elif prompts:
        made.files[target.prompts] = "".join(f"{one_line(prompt)}\n" for prompt in prompts)
        made.values["sample_prompts"] = str(target.prompts)


def _add_folders(config: TrainConfig, target: Target, made: Translation) -> None:
    """Name the folders of pictures, in a dataset_config if they are listed one by one."""
    data = config.data
    if not (data.subsets or data.image_dir):
        for name in ("train_data_dir", "reg_data_dir"):
            if getattr(data, name):
                made.values[name] = getattr(data, name)
                folder = expanded(getattr(data, name))
                if folder.is_dir() and has_multiply(folder):
                    made.refuse(name, getattr(data, name), _MISSING["multiply"])
        if data.conditioning_data_dir:
            fix = "list the folders as subsets: sd-scripts reads masks of subsets alone"
            made.refuse("conditioning_data_dir", data.conditioning_data_dir, fix)
        if data.num_repeats != 1:
            made.refuse("num_repeats", data.num_repeats, "name the folders <repeats>_<name>")
        return
    for name in ("train_data_dir", "reg_data_dir"):
        if getattr(data, name):
            made.refuse(name, getattr(data, name), "list its folders as subsets, as the others are")
    subsets = [entry.changed() for entry in data.subsets or ()]
    if data.image_dir:
        subsets.insert(0, {"image_dir": data.image_dir})
    for subset in subsets:
        if data.num_repeats != 1:
            subset.setdefault("num_repeats", data.num_repeats)
        if data.conditioning_data_dir:
            subset.setdefault("conditioning_data_dir", data.conditioning_data_dir)
        repeats = subset.get("num_repeats", 1) * Fraction(str(subset.get("multiply", 1)))
        if repeats.denominator == 1 and "multiply" in subset:
            subset["num_repeats"] = repeats.numerator
            del subset["multiply"]
        for name in _MISSING.keys() & subset.keys():
            made.refuse(name, subset.pop(name), _MISSING[name])
    made.files[target.datasets] = _datasets(subsets, config)
    made.values["dataset_config"] = str(target.datasets)


def _datasets(subsets: list[Values], config: TrainConfig) -> str:
    """Write a dataset_config: one data set for the subsets with equal sizes and batches."""
    # What holds for all is an option of the command line.
    usual = {name: getattr(config.data, name) for name in _OF_DATASETS}
    usual |= dict.fromkeys(("validation_split", "validation_seed"))
    alike: dict[tuple[tuple[str, Any], ...], list[Values]] = {}
    for subset in subsets:
        sizes = {
            there: subset.get(here, usual[here])
            for here, there in _OF_DATASETS.items()
            if subset.get(here, usual[here]) is not None
        }
        rest = {n: v for n, v in subset.items() if n not in (*_OF_DATASETS, *_WITHOUT_EFFECT)}
        alike.setdefault(tuple(sizes.items()), []).append(rest)
    lines: list[str] = []
    for of_dataset, tables in alike.items():
        lines += ["[[datasets]]", *_lines(of_dataset), ""]
        for table in tables:
            lines += ["[[datasets.subsets]]", *_lines(table.items()), ""]
    return "\n".join(lines)


def _lines(values: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, value in values:
        if name == "resolution" and isinstance(value, str):  # one or two whole numbers there
            sides = [int(side) for side in value.split(",")]
            value = sides if len(sides) > 1 else sides[0]
        if name == "face_crop_aug_range":
            value = list(face_range(value))
        yield f"{name} = {toml_value(value)}"
