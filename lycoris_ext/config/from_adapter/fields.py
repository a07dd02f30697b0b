"""Read options from the ss_* fields that sd-scripts writes into the metadata of its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lycoris_ext.algorithms import algorithm, algorithm_names
from lycoris_ext.config.from_adapter.measured import Told
from lycoris_ext.config.network_modules import MODULES
from lycoris_ext.config.sd_scripts import translate
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.formats.metadata import RENAMED, json_object
from lycoris_ext.options.arguments import literal
from lycoris_ext.training.config import all_options
from lycoris_ext.training.optimizer_kinds import optimizer_kinds

#: ss_* fields that are no options: results and facts about the run.
_FACTS = re.compile(
    r"ss_(session_id|training_.*_at|num_.*|steps|epoch|bucket_info|tag_frequency|datasets|"
    r"(reg_)?dataset_dirs|.*_hash|v2|base_model_version|total_batch_size|"
    r"network_args|optimizer|huber_.*|resize_interpolation)"
)
_NAMES = {
    **{field: option for field, option in RENAMED.items() if field != "network_dropout"},
    "sd_model_name": "pretrained_model_name_or_path",
    "vae_name": "vae",
}
#: Values of options that are unknown here and unused: sd-scripts writes all its options.
_UNUSED = ("False", "0", "0.0", "1.0")


def options_in_fields(metadata: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Yield (option, value) for each ss_* field of the metadata that is an option."""
    for field, text in metadata.items():
        if not field.startswith("ss_") or _FACTS.fullmatch(field) or text in ("None", ""):
            continue
        option = _NAMES.get(field.removeprefix("ss_"), field.removeprefix("ss_"))
        known = option in all_options()
        if not option.isidentifier():
            continue  # no name of an option; written out, it could break the line
        if known or not (text in _UNUSED or (option == "network_module" and text in MODULES)):
            yield option, _value(option, text)
    yield from _network_arguments(json_object(metadata.get("ss_network_args", "")))
    yield from _optimizer(metadata.get("ss_optimizer", ""))
    yield from _dataset(metadata.get("ss_datasets", ""))


def _network_arguments(arguments: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield (option, value) for each of sd-scripts' network_args.

    algo is left out and detected from the tensors, because "lora" means other layers in LyCORIS.
    """
    strange = []
    for name, value in arguments.items():
        if name == "algo" or value in (None, "None"):
            continue
        if name.endswith("_lr_weight"):  # for blocks, which have layers in some files alone
            strange.append(f"{name}={value}")
            continue
        try:
            yield from translate({"network_args": [f"{name}={value}"]}, "ss_network_args").items()
        except ConfigError:
            strange.append(f"{name}={value}")
    if strange:
        yield "network_args", strange


def _value(option: str, text: str) -> object:
    """Turn a field's text, which was written with str(), into a value of the option's type."""
    value = literal(text)
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
    classes = {
        kind.class_path.rpartition(".")[2]: kind.name for kind in reversed(optimizer_kinds())
    }
    yield "optimizer_type", classes.get(last, match[1])
    arguments = re.findall(r"(\w+)=(\([^)]*\)|[^,]+)", match[2] or "")
    if arguments:
        yield "optimizer_args", [f"{name}={value.strip('() ')}" for name, value in arguments]


def _dataset(text: str) -> Iterator[tuple[str, object]]:
    """Yield the options that have the same value in all datasets and subsets of ss_datasets."""
    try:
        datasets = parse_json(text or "[]")
    except ValueError:
        return
    if not isinstance(datasets, list) or not all(isinstance(each, dict) for each in datasets):
        return
    subsets = [
        subset
        for dataset in datasets
        for subset in _list(dataset.get("subsets"))
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


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def told_by(metadata: Mapping[str, str], stored: Mapping[str, object]) -> Told:
    """Return what a file's metadata tell of its network, and its tensors do not show.

    Args:
        metadata: of the file.
        stored: the options of the config in the metadata; empty if there is none.
    """
    given = stored or json_object(metadata.get("ss_network_args", ""))
    algo, size = given.get("algo"), given.get("block_size", 4)
    if metadata.get("ss_network_module") == "networks.dylora":
        algo, size = "dylora", given.get("unit", 1)
    trained_as = str(algo) if algo in algorithm_names() and algorithm(str(algo)).trains else ""
    block_size = int(str(size)) if re.fullmatch("[0-9]{1,9}", str(size)) else 1
    return Told(trained_as, max(block_size, 1), str(given.get("rs_lora")).lower() in ("true", "1"))
