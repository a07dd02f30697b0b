"""The names of SimpleTuner's settings: in config.json, in older files, and in config.env.

Source: https://github.com/bghira/SimpleTuner at bc8e6ab, helpers/configuration/env_file.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VARIABLES = {
    "RESUME_CHECKPOINT": "resume_from_checkpoint",
    "DATALOADER_CONFIG": "data_backend_config",
    "TRAINING_SEED": "seed",
    "USE_XFORMERS": "enable_xformers_memory_efficient_attention",
    "MINIMUM_RESOLUTION": "minimum_image_size",
    "MAX_NUM_STEPS": "max_train_steps",
    "NUM_EPOCHS": "num_train_epochs",
    "CHECKPOINTING_STEPS": "checkpoint_step_interval",
    "CHECKPOINTING_LIMIT": "checkpoints_total_limit",
    "PUSH_CHECKPOINTS": "push_checkpoints_to_hub",
    "HUB_MODEL_NAME": "hub_model_id",
    "MODEL_NAME": "pretrained_model_name_or_path",
    "USE_GRADIENT_CHECKPOINTING": "gradient_checkpointing",
    "VALIDATION_STEPS": "validation_step_interval",
    "LR_SCHEDULE": "lr_scheduler",
    "TRAINING_NUM_PROCESSES": "num_processes",
    "TRAINING_NUM_MACHINES": "num_machines",
    "TRAINING_DYNAMO_BACKEND": "dynamo_backend",
    "TRAINER_DYNAMO_BACKEND": "dynamo_backend",
    "SIMPLETUNER_LOG_LEVEL": "tracker_log_level",
    "CONFIG_TYPE": "tracker_config_type",
}
"""Variable of config.env -> setting; all others are the setting in capitals."""

_OLD_NAMES = {
    "checkpointing_steps": "checkpoint_step_interval",
    "validation_steps": "validation_step_interval",
    "model_flavor": "model_flavour",
}


def with_present_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the present names of its settings, without "--"."""
    named = {_name(str(name)): value for name, value in document.items()}
    return named | _flags(str(named.pop("trainer_extra_args", "")))


def _name(name: str) -> str:
    """Return the present name of a setting, or of a variable of config.env."""
    if name.isupper():
        name = _VARIABLES.get(name, name.lower())
    name = name.removeprefix("--")
    return _OLD_NAMES.get(name, name)


def _flags(text: str) -> dict[str, object]:
    """Read the flags in config.env's TRAINER_EXTRA_ARGS: "--name=value --name value --name"."""
    found: dict[str, object] = {}
    name = ""
    for word in text.replace("=", " ").split():
        if word.startswith("--"):
            name = _name(word)
            found[name] = True
        elif name:
            found[name] = word
    return found
