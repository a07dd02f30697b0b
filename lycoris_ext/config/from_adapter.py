"""Reconstruct from an adapter file the config with which it was trained, as far as possible.

Files of this library contain their config. In files of other trainers most options follow from
the ``ss_*`` fields of the metadata; algorithm, rank and alpha follow from the tensors. Options that
this library would refuse are written as comments with the reason.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lycoris_ext.algorithms import Plan, algorithm, algorithm_names
from lycoris_ext.config.resolve import OptionSource, build_config
from lycoris_ext.config.sd_scripts import translate
from lycoris_ext.config.toml_file import parse_toml
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.keys import place_in_file
from lycoris_ext.formats.metadata import RENAMED, json_object
from lycoris_ext.formats.toml_text import toml_value
from lycoris_ext.training.config import all_options
from lycoris_ext.training.optimizer_kinds import optimizer_kinds
from lycoris_ext.words import one_line

STORED = "lycoris_ext_config"
#: ss_* fields that are no options: results and facts about the run.
_FACTS = re.compile(
    r"ss_(session_id|training_.*_at|num_.*|steps|epoch|bucket_info|tag_frequency|datasets|"
    r"(reg_)?dataset_dirs|.*_hash|v2|base_model_version|total_batch_size|max_validation_steps|"
    r"validate_.*|network_args|optimizer|huber_.*|resize_interpolation)"
)
_NAMES = {
    **{field: option for field, option in RENAMED.items() if field != "network_dropout"},
    "sd_model_name": "pretrained_model_name_or_path",
    "vae_name": "vae",
}
#: Values of options that are unknown here and unused: sd-scripts writes all its options.
_UNUSED = ("False", "0", "0.0", "1.0")
#: Values of network_module that need no line, because the algorithm is detected from the tensors.
_MODULES = ("networks.lora", "lycoris.kohya", "lycoris_ext.kohya")
#: Names of convolutions larger than 1x1; LoHa files do not show this, as they store kernels flat.
_WIDE = re.compile(r"(.*_)?conv([12]|_in|_out)?")


@dataclass(frozen=True)
class Setting:
    """One line of the config to write.

    Attributes:
        reason: why the line is commented out; "" if it is not.
    """

    option: str
    value: object
    reason: str = ""

    def line(self) -> str:
        """Return the line of TOML."""
        text = f"{self.option} = {toml_value(self.value)}"
        return f"# {one_line(f'{text}  # {self.reason}')}" if self.reason else text


def write_config(
    metadata: Mapping[str, str], plans: Mapping[str, Plan], targets: Collection[str]
) -> str:
    """Return a config as TOML text that would train an adapter file again.

    Args:
        metadata: of the file.
        plans: layer's name -> how the layer is adapted, as ``detect`` finds it.
        targets: names of the models that the file adapts: "unet", "text_encoder", ...
    """
    stored = _stored(metadata)
    settings = _try(stored or {**_measured(plans, targets), **dict(_from_fields(metadata))})
    missing = [
        one_line(f"# {option} = {text}")
        for option, text in _missing(metadata).items()
        if not any(setting.option == option for setting in settings)
    ]
    source = (
        "the config that the file holds" if stored else "the file's ss_* fields and its tensors"
    )
    heading = [f"# From {source}. Lines that begin with # could not be taken over."]
    if any(_is_path(setting) for setting in settings):
        heading.append("# Adapter files hold only the last part of paths: complete them.")
    return "\n".join([*heading, "", *(setting.line() for setting in settings), *missing, ""])


def _is_path(setting: Setting) -> bool:
    known = all_options().get(setting.option)
    return known is not None and known.is_path and setting.value not in known.allowed()


def _try(found: Mapping[str, object]) -> list[Setting]:
    """Check each option together with the valid ones before it; note why it is refused."""
    taken: dict[str, object] = {}
    settings = []
    for option, value in found.items():
        try:
            build_config([OptionSource("the file", {**taken, option: value})])
        except ConfigError as error:
            settings.append(Setting(option, value, error.what))
        else:
            taken[option] = value
            settings.append(Setting(option, value))
    return settings


def _stored(metadata: Mapping[str, str]) -> dict[str, object]:
    """Return the options of the config that a file of this library contains, else {}."""
    text = metadata.get(STORED, "")
    return dict(parse_toml(text, STORED).values) if text else {}


def _from_fields(metadata: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Yield (option, value) for each ss_* field of the metadata that is an option."""
    for field, text in metadata.items():
        if not field.startswith("ss_") or _FACTS.fullmatch(field) or text in ("None", ""):
            continue
        option = _NAMES.get(field.removeprefix("ss_"), field.removeprefix("ss_"))
        known = option in all_options()
        if not option.isidentifier():
            continue  # no name of an option; written out, it could break the line
        if known or not (text in _UNUSED or (option == "network_module" and text in _MODULES)):
            yield option, _value(option, text)
    yield from _network_arguments(json_object(metadata.get("ss_network_args", "")))
    yield from _optimizer(metadata.get("ss_optimizer", ""))
    yield from _dataset(metadata.get("ss_datasets", ""))


def _network_arguments(arguments: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield (option, value) for each of sd-scripts' network_args.

    algo is usually left out and detected from the tensors, because "lora" means other layers in
    LyCORIS. It is kept for algorithms such as DyLoRA, whose files look like those of another one.
    """
    strange = []
    for name, value in arguments.items():
        if value in (None, "None"):
            continue
        if name == "algo" and not (value in algorithm_names() and algorithm(str(value)).trains):
            continue
        try:
            yield from translate({"network_args": [f"{name}={value}"]}, "ss_network_args").items()
        except ConfigError:
            strange.append(f"{name}={value}")
    if strange:
        yield "network_args", strange


def _value(option: str, text: str) -> object:
    """Turn a field's text, which was written with str(), into a value of the option's type."""
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if option == "resolution" and isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, (list, tuple)) and len(set(map(repr, value))) == 1:
        return value[0]  # one rate for each text encoder
    known = all_options().get(option)
    if known and isinstance(value, float) and value.is_integer() and "int" in str(known.hint):
        return int(value)
    return value if isinstance(value, (bool, int, float)) else text


def _optimizer(text: str) -> Iterator[tuple[str, object]]:
    """Yield options from a text like ``torch.optim.adamw.AdamW(weight_decay=0.1,eps=1e-8)``."""
    match = re.fullmatch(r"([\w.]+)(?:\((.*)\))?", text, re.DOTALL)
    if match is None or text == "None":
        return
    last = match[1].rpartition(".")[2]
    classes = {kind.class_path.rpartition(".")[2]: kind.name for kind in optimizer_kinds()}
    yield "optimizer_type", classes.get(last, last)
    arguments = re.findall(r"(\w+)=(\([^)]*\)|[^,]+)", match[2] or "")
    if arguments:
        yield "optimizer_args", [f"{name}={value.strip('() ')}" for name, value in arguments]


def _dataset(text: str) -> Iterator[tuple[str, object]]:
    """Yield the options that have the same value in all datasets and subsets of ss_datasets."""
    try:
        datasets = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return
    if not isinstance(datasets, list) or not all(isinstance(each, dict) for each in datasets):
        return
    subsets = [
        subset
        for dataset in datasets
        for subset in dataset.get("subsets", ())
        if isinstance(subset, dict)
    ]
    names = {"batch_size_per_device": "train_batch_size"}
    for tables, fields in (
        (datasets, ("batch_size_per_device", "resolution", "enable_bucket", "min_bucket_reso",
                    "max_bucket_reso")),
        (subsets, ("shuffle_caption", "keep_tokens", "flip_aug", "color_aug", "random_crop")),
    ):  # fmt: skip
        for field in fields:
            values = [table.get(field) for table in tables]
            if values and values[0] is not None and all(value == values[0] for value in values):
                value = values[0]
                if field == "resolution" and isinstance(value, list):
                    value = ",".join(map(str, value))
                yield names.get(field, field), value


def _measured(plans: Mapping[str, Plan], targets: Collection[str]) -> dict[str, object]:
    """Return the options that follow from the tensors: algorithm, its options, commonest sizes."""
    wide: list[Plan] = []
    narrow: list[Plan] = []
    normed = [layer for layer, plan in plans.items() if plan.algorithm.of_norms]
    others = {layer: plan for layer, plan in plans.items() if layer not in normed} or plans
    if not others:
        return {}
    for layer, plan in others.items():
        spatial = plan.layer.is_spatial or _WIDE.fullmatch(place_in_file(layer).name)
        (wide if spatial else narrow).append(plan)
    algo = Counter(plan.algorithm.name for plan in others.values()).most_common(1)[0][0]
    found: dict[str, object] = {
        "algo": "locon" if algo == "lora" and wide else algo,
        **_sizes(narrow or wide, "network_dim", "network_alpha"),
        **(_sizes(wide, "conv_dim", "conv_alpha") if wide else {"conv_dim": 0}),
        **_algorithm_options([plan for plan in others.values() if plan.algorithm.name == algo]),
    }
    if normed and len(others) < len(plans):
        found["train_norm"] = True
    if set(targets) == {"unet"}:
        found["network_train_unet_only"] = True
    if targets and "unet" not in targets and "model" not in targets:
        found["network_train_text_encoder_only"] = True
    return found


def _sizes(plans: Iterable[Plan], dim: str, alpha: str) -> dict[str, object]:
    """Return the most common rank with its alpha, as two options; {} if no tensor has a rank."""
    sizes = Counter((plan.rank, float(plan.alpha)) for plan in plans if plan.has_rank)
    return dict(zip((dim, alpha), sizes.most_common(1)[0][0], strict=True)) if sizes else {}


def _algorithm_options(plans: Sequence[Plan]) -> dict[str, object]:
    """Return the options with which an algorithm makes these plans; all are of one algorithm."""
    found: dict[str, object] = {}
    for plan in plans:
        for option, value in plan.shown_options().items():
            found.setdefault(option, _shortest(value) if isinstance(value, float) else value)
    chosen = plans[0].algorithm
    if chosen.split_by:
        splits = {
            (plan.layer.out_features, plan.extra_axes, plan.part_layers): plan for plan in plans
        }
        widest = max(plan.layer.out_features for plan in plans)
        usual = chosen.Options().values().get(chosen.split_by, 1)
        for size in (usual, *range(1, widest + 1)):
            if all(chosen.matches_split(plan, size) for plan in splits.values()):
                found[chosen.split_by] = size
                break
    if chosen.reads("full_matrix") and not any(plan.has_rank for plan in plans):
        found["full_matrix"] = True
    return found


def _shortest(value: float) -> float:
    """Return the shortest decimal number that a file rounds to this value.

    In a file that was saved in half precision an alpha of 0.1 is 0.0999755859375.
    """
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for digits in range(1, 9):
            short = float(f"{value:.{digits}g}")
            if float(torch.tensor(short).to(dtype)) == value:
                return short
    return value


def _missing(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return option -> comment for options that every run needs and no adapter file contains."""
    folders = json_object(metadata.get("ss_dataset_dirs", ""))
    held = ", ".join(f"{folder} {json.dumps(size)}" for folder, size in folders.items())
    return {
        "pretrained_model_name_or_path": '"..."  # the base model; the file does not name it',
        "train_data_dir": '"..."  # ' + (f"it held {held}" if held else "the pictures"),
    }
