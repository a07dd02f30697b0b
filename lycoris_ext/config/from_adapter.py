"""The config that would train an adapter file again, as far as the file tells.

Our own files hold their resolved config. Of others' the ``ss_*`` fields tell most, and the tensors
themselves the rank, the alpha and which algorithm. Every option that is found is tried on the
reader of configs; what it would refuse becomes a commented line with its reason.
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
#: ss_* fields that tell what happened rather than what was asked for.
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
#: sd-scripts writes its own options whether they are used or not; unused they say nothing.
_UNUSED = ("False", "0", "0.0", "1.0")
#: Modules whose networks are known by their tensors.
_MODULES = ("networks.lora", "lycoris.kohya", "lycoris_ext.kohya")
#: Convolutions that are larger than 1x1 in every U-Net; a LoHa stores their kernels flat.
_WIDE = re.compile(r"(.*_)?conv([12]|_in|_out)?")


@dataclass(frozen=True)
class Setting:
    """One line of the config; ``reason``: why it is commented out, empty where it is not."""

    option: str
    value: object
    reason: str = ""

    def line(self) -> str:
        text = f"{self.option} = {toml_value(self.value)}"
        return f"# {one_line(f'{text}  # {self.reason}')}" if self.reason else text


def write_config(
    metadata: Mapping[str, str], plans: Mapping[str, Plan], targets: Collection[str]
) -> str:
    """The TOML that would train a file again; the config reader takes it as it is.

    Args:
        metadata: of the file.
        plans: how each of its layers is adapted, by any names.
        targets: "unet", "text_encoder", ...: which of them it adapts.
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
        heading.append("# Files keep the names of folders alone: write the paths in front of them.")
    return "\n".join([*heading, "", *(setting.line() for setting in settings), *missing, ""])


def _is_path(setting: Setting) -> bool:
    known = all_options().get(setting.option)
    return known is not None and known.is_path and setting.value not in known.allowed()


def _try(found: Mapping[str, object]) -> list[Setting]:
    """Each option on top of those that the reader took before it."""
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
    text = metadata.get(STORED, "")
    return dict(parse_toml(text, STORED).values) if text else {}


def _from_fields(metadata: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Option -> value for each ss_* field that tells one."""
    for field, text in metadata.items():
        if not field.startswith("ss_") or _FACTS.fullmatch(field) or text in ("None", ""):
            continue
        option = _NAMES.get(field.removeprefix("ss_"), field.removeprefix("ss_"))
        known = option in all_options()
        if not option.isidentifier():
            continue  # no option of anybody's, and it could end its line
        if known or not (text in _UNUSED or (option == "network_module" and text in _MODULES)):
            yield option, _value(option, text)
    yield from _network_arguments(json_object(metadata.get("ss_network_args", "")))
    yield from _optimizer(metadata.get("ss_optimizer", ""))
    yield from _dataset(metadata.get("ss_datasets", ""))


def _network_arguments(arguments: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The algorithm is left to the tensors: LyCORIS's "lora" adapts what ours leaves alone. But of
    one that trains another's files only its name tells."""
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
    """A field's text as the option's type: everything was written with str()."""
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
    """``torch.optim.adamw.AdamW(weight_decay=0.1,betas=(0.9, 0.99))``"""
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
    """What all of a dataset config's datasets and subsets have in common."""
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
    for places, fields in (
        (datasets, ("batch_size_per_device", "resolution", "enable_bucket", "min_bucket_reso",
                    "max_bucket_reso")),
        (subsets, ("shuffle_caption", "keep_tokens", "flip_aug", "color_aug", "random_crop")),
    ):  # fmt: skip
        for field in fields:
            values = [place.get(field) for place in places]
            if values and values[0] is not None and all(value == values[0] for value in values):
                value = values[0]
                if field == "resolution" and isinstance(value, list):
                    value = ",".join(map(str, value))
                yield names.get(field, field), value


def _measured(plans: Mapping[str, Plan], targets: Collection[str]) -> dict[str, object]:
    """What the tensors themselves tell: the algorithm, its form, and of sizes the commonest."""
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
        **_form([plan for plan in others.values() if plan.algorithm.name == algo]),
    }
    if normed and len(others) < len(plans):
        found["train_norm"] = True
    if set(targets) == {"unet"}:
        found["network_train_unet_only"] = True
    if targets and "unet" not in targets and "model" not in targets:
        found["network_train_text_encoder_only"] = True
    return found


def _sizes(plans: Iterable[Plan], dim: str, alpha: str) -> dict[str, object]:
    """The commonest rank and its alpha; nothing where no tensor has a rank."""
    sizes = Counter((plan.rank, float(plan.alpha)) for plan in plans if plan.has_rank)
    return dict(zip((dim, alpha), sizes.most_common(1)[0][0], strict=True)) if sizes else {}


def _form(plans: Sequence[Plan]) -> dict[str, object]:
    """The options that lead to such plans of one algorithm."""
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
    """The shortest number that a file would hold as this one, in half or in single precision."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for digits in range(1, 9):
            short = float(f"{value:.{digits}g}")
            if float(torch.tensor(short).to(dtype)) == value:
                return short
    return value


def _missing(metadata: Mapping[str, str]) -> dict[str, str]:
    """What no file tells and every run needs: option -> what is known of it, as a comment."""
    folders = json_object(metadata.get("ss_dataset_dirs", ""))
    held = ", ".join(f"{folder} {json.dumps(size)}" for folder, size in folders.items())
    return {
        "pretrained_model_name_or_path": '"..."  # the base model; the file does not name it',
        "train_data_dir": '"..."  # ' + (f"it held {held}" if held else "the pictures"),
    }
