"""LoRA_Easy_Training_Scripts: its JSON files of 2023, and the TOML files of its later GUI.

Both are sd-scripts' options under other names or in tables of their own, so they are given to the
translation of sd-scripts' options. Values that are false, 0 or empty are left out, as the program
does before it calls sd-scripts.

Source: https://github.com/derrian-distro/LoRA_Easy_Training_Scripts, ArgsList.py and Parser.py of
7b9fb10 (JSON), main_ui_files of ae5ce07 and the backend's validation.py of 162e56d (TOML).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.config.imports.settings import Settings, as_arguments, number

PROGRAM = "LoRA_Easy_Training_Scripts"

_DEFAULTS: dict[str, object] = {
    "optimizer_type": "AdamW8bit",
    "optimizer_args": {"weight_decay": "0.1", "betas": "0.9,0.99"},
    "scheduler": "cosine",
    "learning_rate": 1e-4,
    "net_dim": 32,
    "alpha": 16,
    "train_resolution": 512,
    "clip_skip": 2,
    "test_seed": 23,
    "mixed_precision": "fp16",
    "save_precision": "fp16",
    "num_epochs": 1,
    "buckets": True,
    "min_bucket_resolution": 320,
    "max_bucket_resolution": 960,
    "caption_extension": ".txt",
    "max_clip_token_length": 150,
}
"""Setting -> what the program uses where a file does not have it, if it differs from ours."""

_OLD_NAMES = {
    "pretrained_model_name_or_path": "base_model",
    "train_data_dir": "img_folder",
    "reg_data_dir": "reg_img_folder",
    "output_dir": "output_folder",
    "output_name": "change_output_name",
    "logging_dir": "log_dir",
    "max_resolution": "train_resolution",
    "lr_scheduler": "scheduler",
    "lr_scheduler_num_cycles": "cosine_restarts",
    "lr_scheduler_power": "scheduler_power",
    "lr_warmup": "warmup_lr_ratio",
    "train_batch_size": "batch_size",
    "epoch": "num_epochs",
    "save_at_n_epochs": "save_every_n_epochs",
    "num_cpu_threads_per_process": "num_workers",
    "enable_bucket": "buckets",
    "save_model_as": "save_as",
    "shuffle_caption": "shuffle_captions",
    "load_previous_save_state": "resume",
    "network_dim": "net_dim",
    "network_alpha": "alpha",
    "gradient_accumulation_steps": "gradient_acc_steps",
}
"""Names that the program also reads in a JSON file -> its own names."""

_RENAMED = {
    "base_model": "pretrained_model_name_or_path",
    "img_folder": "train_data_dir",
    "reg_img_folder": "reg_data_dir",
    "output_folder": "output_dir",
    "change_output_name": "output_name",
    "shuffle_captions": "shuffle_caption",
    "min_bucket_resolution": "min_bucket_reso",
    "max_bucket_resolution": "max_bucket_reso",
    "batch_size": "train_batch_size",
    "max_clip_token_length": "max_token_length",
    "max_steps": "max_train_steps",
    "num_epochs": "max_train_epochs",
    "num_workers": "max_data_loader_n_workers",
    "persistent_workers": "persistent_data_loader_workers",
    "test_seed": "seed",
    "gradient_acc_steps": "gradient_accumulation_steps",
    "log_dir": "logging_dir",
    "no_meta": "no_metadata",
    "save_as": "save_model_as",
    "lora_model_for_resume": "network_weights",
    "net_dim": "network_dim",
    "alpha": "network_alpha",
    "train_resolution": "resolution",
    "buckets": "enable_bucket",
    "scheduler": "lr_scheduler",
    "cosine_restarts": "lr_scheduler_num_cycles",
    "scheduler_power": "lr_scheduler_power",
    "warmup_lr_ratio": "warmup_ratio",
    "unet_only": "network_train_unet_only",
    "text_only": "network_train_text_encoder_only",
}
"""Setting of a JSON file -> sd-scripts' option; the other names are sd-scripts' own."""

_OTHER_FAMILIES = {
    "flux_args": "FLUX",
    "sd3_args": "Stable Diffusion 3",
    "lumina_args": "Lumina",
    "anima_args": "Anima",
    "chroma_args": "Chroma",
}
"""Table of a TOML file that is only filled when the model is of this family -> the family."""


_BOOKKEEPING = (
    "json_load_skip_list",
    "list_of_json_to_run",
    "load_json_path",
    "multi_run_folder",
    "save_json_folder",
    "save_json_name",
    "save_json_only",
    "save_toml",
    "save_toml_location",
    "sdxl",
    "sort_tag_occurrence_alphabetically",
    "tag_file_location",
    "tag_occurrence",
    "tag_occurrence_txt_file",
)
"""Settings of the program itself; that a base model is SDXL is found out from its file."""

_NAME_PLACES = ("output_dir", "output_name", "resume", "log_prefix")
"""Options in whose values the program replaces ${replace} by the text of easy_name."""


def _recognises(document: Mapping[str, Any]) -> bool:
    return {"base_model", "img_folder"} <= document.keys() or bool(_tables(document))


def _read(document: Mapping[str, Any], where: str) -> Foreign:
    settings = Settings(PROGRAM, where, {})
    tables = _tables(document)
    args = _from_toml(settings, document, tables) if tables else _from_json(document)
    _read_network(settings, args)
    _read_optimizer(settings, args)
    _read_schedule(settings, args)
    name = str(args.pop("easy_name", ""))
    for place in _NAME_PLACES:
        if isinstance(args.get(place), str):
            args[place] = args[place].replace("${replace}", name)
    settings.values.update(_plain(settings, _set(args)))
    settings.values.setdefault("pretrained_model_name_or_path", "")  # not our small base model
    return settings.foreign()


FORMAT = Format(PROGRAM, _recognises, _read)


def _tables(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the tables [x_args] that hold [x_args.args] or [x_args.dataset_args]."""
    return {
        name: table
        for name, table in document.items()
        if name.endswith("_args")
        and isinstance(table, Mapping)
        and any(isinstance(table.get(part), Mapping) for part in ("args", "dataset_args"))
    }


def _table(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _word(value: object) -> object:
    """Return true or false for the texts "true" and "false", and any other value as it is."""
    return {"true": True, "false": False}.get(str(value).lower(), value)


def _set(args: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the program does not hand to sd-scripts: false, 0, "", "false", ..."""
    read = {name: _word(value) for name, value in args.items()}
    # Our buckets are on where nothing is said, sd-scripts' are off.
    return {name: value for name, value in read.items() if value or name == "enable_bucket"}


def _plain(settings: Settings, args: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse tables and lists of lists where sd-scripts has numbers, texts and lists of them."""
    kept = {}
    for name, value in args.items():
        parts = value if isinstance(value, list) else [value]
        if name != "datasets" and any(isinstance(part, (list, Mapping)) for part in parts):
            settings.refuse(name, value, "write a number, a text, or a list of them")
        else:
            kept[name] = value
    return kept


def _from_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """Put the settings of a JSON file in sd-scripts' words, with tables as in the TOML files."""
    named = {_OLD_NAMES.get(name, name): value for name, value in document.items()}
    args = {
        _RENAMED.get(name, name): value
        for name, value in {**_DEFAULTS, **named}.items()
        if name not in _BOOKKEEPING
    }
    if args.get("max_train_steps"):
        del args["max_train_epochs"]
    if args.get("height_resolution"):
        args["resolution"] = f"{args.get('resolution')},{args['height_resolution']}"
    args.pop("height_resolution", None)
    if args.pop("use_8bit_adam", False):
        args["optimizer_type"] = "AdamW8bit"
    if args.pop("use_lion", False):
        args["optimizer_type"] = "Lion"
    optimizer_args = args["optimizer_args"] = _table(args["optimizer_args"])
    if args["optimizer_type"] == "DAdaptation":
        optimizer_args["decouple"] = True
    if args["optimizer_type"] in ("AdaFactor", "SGDNesterov", "SGDNesterov8bit"):
        optimizer_args.pop("betas", None)

    network_args = args["network_args"] = _table(args.get("network_args"))
    for old, name in (("locon_dim", "conv_dim"), ("locon_alpha", "conv_alpha")):
        if args.pop(old, None):
            network_args[name] = document[old]
    args.pop("locon", None)
    args.pop("network_module", None)
    if args.pop("lyco", False):
        network_args.setdefault("algo", "lora")
        # The LyCORIS of that time decomposed convolutions (Tucker) unless it was told not to.
        network_args.setdefault("disable_conv_cp", False)
    else:
        network_args.pop("algo", None)
    return args


def _from_toml(
    settings: Settings, document: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Join the tables of a TOML file; its data set becomes ``datasets`` as in sd-scripts' files."""
    for name, family in _OTHER_FAMILIES.items():
        if tables.get(name, {}).get("args"):
            raise settings.not_trained(
                f"trains a model of the family {family} ([{name}])",
                "train a Stable Diffusion 1.x, 2.x or XL model; if it is one, remove this table",
            )
    mode = _table(document.get("train_mode")).get("train_mode", "lora")
    if mode != "lora":
        raise settings.not_trained(
            f"trains something else than an adapter (train_mode is {mode!r})",
            "choose LoRA as the training mode in the program and save the config again",
        )
    args: dict[str, Any] = {}
    general: dict[str, Any] = {"enable_bucket": False}
    for table in tables.values():
        args |= _table(table.get("args"))
        general |= _table(table.get("dataset_args"))
    for name in _BOOKKEEPING:
        args.pop(name, None)
    if "max_token_length" in general:  # not an option of a data set in sd-scripts
        args["max_token_length"] = general.pop("max_token_length")
    rows = document.get("subsets", [])
    rows = rows if isinstance(rows, list) else []
    subsets = [
        _plain(settings, _set({**row, "name": ""})) for row in rows if isinstance(row, Mapping)
    ]
    args["datasets"] = [{**_plain(settings, _set(general)), "subsets": subsets}]
    return args


def _read_network(settings: Settings, args: dict[str, Any]) -> None:
    network_args = _table(args.pop("network_args", {}))
    if args.pop("fa", False):
        settings.refuse("fa", True, 'use algo = "lora", which trains both factors')
    if "algo" in network_args:
        module = "lycoris.kohya"
    elif "unit" in network_args:
        module = "networks.dylora"
    else:
        module = "networks.lora"
    settings.values["network_module"] = module
    settings.values["network_args"] = as_arguments(
        {name: value for name, value in network_args.items() if value not in (None, "")}
    )


def _read_optimizer(settings: Settings, args: dict[str, Any]) -> None:
    optimizer_args = _table(args.pop("optimizer_args", {}))
    settings.values["optimizer_args"] = as_arguments(
        {name: _word(value) for name, value in optimizer_args.items()}
    )


def _read_schedule(settings: Settings, args: dict[str, Any]) -> None:
    """Read the schedule with its warm-up; the program's own schedulers have counterparts."""
    own = str(args.pop("lr_scheduler_type", None) or "").rpartition(".")[2]
    own_args = _table(args.pop("lr_scheduler_args", {}))
    if own:
        args["lr_scheduler"] = _own_scheduler(settings, own, own_args, args)
    scheduler = args.get("lr_scheduler")
    warmup = args.pop("warmup_ratio", None)
    if warmup and scheduler != "constant":
        args["lr_warmup_steps"] = warmup  # below 1 it is a share of all steps here, too
    if scheduler != "cosine_with_restarts":
        args.pop("lr_scheduler_num_cycles", None)
    if scheduler != "polynomial":
        args.pop("lr_scheduler_power", None)


def _own_scheduler(
    settings: Settings, kind: str, own_args: Mapping[str, Any], args: dict[str, Any]
) -> str:
    """Return our scheduler for one of the program's own, and refuse what it does differently."""
    cycles = args.get("lr_scheduler_num_cycles", 1)
    nearest = {
        "CosineAnnealingWarmRestarts": "cosine" if cycles == 1 else "cosine_with_restarts",
        "RexAnnealingWarmRestarts": "rex",
    }.get(kind, "cosine")
    exact = nearest == "cosine" and kind == "CosineAnnealingWarmRestarts"
    if exact and _lowest_rate(own_args, args) > 0:
        args["lr_scheduler_min_lr_ratio"] = _lowest_rate(own_args, args)
        return "cosine_with_min_lr"
    if not exact:
        settings.refuse("lr_scheduler_type", kind, f'use lr_scheduler = "{nearest}"')
    return nearest


def _lowest_rate(own_args: Mapping[str, Any], args: Mapping[str, Any]) -> float:
    """Return min_lr as a share of the learning rate; 0 if it cannot be told."""
    try:
        return number(own_args.get("min_lr", 1e-6)) / number(args.get("learning_rate"))
    except (ValueError, ZeroDivisionError):
        return 0.0
