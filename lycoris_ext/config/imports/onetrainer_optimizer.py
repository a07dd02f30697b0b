"""OneTrainer's optimizer, learning rates and schedule.

Source: https://github.com/Nerogar/OneTrainer at 23df383, optimizer_util.py,
NamedParameterGroup.py, create.py and lr_scheduler_util.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from lycoris_ext.config.imports.settings import Settings, as_arguments, number, whole_from_1

_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
_DADAPT = {**_ADAM, "weight_decay": 0.0}
_OPTIMIZERS: dict[str, tuple[str, Mapping[str, object]]] = {
    "ADAMW": ("AdamW", _ADAM),
    "ADAMW_8BIT": ("AdamW8bit", _ADAM),
    "LION": ("Lion", {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}),
    "LION_8BIT": ("Lion8bit", {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0}),
    "ADAFACTOR": (
        "AdaFactor",
        {"scale_parameter": False, "relative_step": False, "warmup_init": False}
        | {"weight_decay": 0.0},
    ),
    "PRODIGY": (
        "Prodigy",
        {**_DADAPT, "d0": 1e-6, "d_coef": 1.0, "decouple": True}
        | {"use_bias_correction": False, "safeguard_warmup": False},
    ),
    "DADAPT_ADAM": ("DAdaptAdam", {**_DADAPT, "decouple": False}),
    "DADAPT_ADAN": ("DAdaptAdan", {}),
    "DADAPT_ADA_GRAD": ("DAdaptAdaGrad", {}),
    "DADAPT_LION": ("DAdaptLion", {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0}),
    "DADAPT_SGD": ("DAdaptSGD", {}),
    "SCHEDULE_FREE_ADAMW": ("AdamWScheduleFree", _ADAM),
    "SCHEDULE_FREE_SGD": ("SGDScheduleFree", {"weight_decay": 0.01}),
    "CAME": ("CAME", {}),
}
"""OneTrainer's optimizer -> sd-scripts' name, and its arguments with OneTrainer's defaults."""


def read_optimizer(settings: Settings) -> None:
    chosen = settings.take_word("optimizer.optimizer", "ADAMW")
    name, usual = _OPTIMIZERS.get(chosen, (chosen, {}))
    arguments = {
        argument: settings.take(f"optimizer.{argument}", usual[argument]) for argument in usual
    }
    if "beta1" in arguments:
        arguments["betas"] = [arguments.pop("beta1"), arguments.pop("beta2")]
    settings.values["optimizer_type"] = name
    settings.values["optimizer_args"] = as_arguments(arguments)


def read_rates(settings: Settings) -> None:
    """Read the learning rates; OneTrainer may scale them by the root of the batch size."""
    values = settings.values
    batch = values["train_batch_size"] = settings.take_as(whole_from_1, "batch_size", 1)
    steps = settings.take_as(whole_from_1, "gradient_accumulation_steps", 1)
    values["gradient_accumulation_steps"] = steps
    scaler = settings.take_word("learning_rate_scaler", "NONE").removeprefix("GLOBAL_")
    scales = {"BATCH": batch, "GRADIENT_ACCUMULATION": steps, "BOTH": batch * steps}
    scale = scales.get(scaler, 1) ** 0.5
    values["learning_rate"] = settings.take_as(number, "learning_rate", 3e-6) * scale
    for part, option in (("unet", "unet_lr"), ("text_encoder", "text_encoder_lr")):
        own = settings.take_as(number, f"{part}.learning_rate", -1.0)
        if own >= 0:
            values[option] = own * scale
        elif isinstance(values.get(option), list):  # one for each of SDXL's text encoders
            values[option] = [rate * scale for rate in values[option]]


def read_schedule(settings: Settings) -> None:
    values = settings.values
    kind = settings.take_word("learning_rate_scheduler", "CONSTANT")
    if "SCHEDULE_FREE" in str(values["optimizer_type"]).upper():
        kind = "CONSTANT"
    warmup = settings.take_as(number, "learning_rate_warmup_steps", 200.0)
    cycles = settings.take_as(number, "learning_rate_cycles", 1.0)
    lowest = settings.take_as(number, "learning_rate_min_factor", 0.0)
    falling = {
        "LINEAR": "linear",
        "COSINE": "cosine",
        "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
    }
    nearest = falling.get(str(kind), "cosine")
    if kind == "CONSTANT":
        nearest = "constant_with_warmup" if warmup > 0 else "constant"
    elif kind == "COSINE" and lowest > 0:
        nearest = "cosine_with_min_lr"
        values["lr_scheduler_min_lr_ratio"] = lowest
    elif kind == "REX":  # OneTrainer's curve has another shape: its d is 0.9, ours 0.5
        nearest = "rex"
        settings.refuse(
            "learning_rate_scheduler", kind, 'use lr_scheduler = "rex", which falls earlier'
        )
    elif kind not in falling:
        settings.refuse("learning_rate_scheduler", kind, f'use lr_scheduler = "{nearest}"')
    elif lowest > 0:
        settings.refuse(
            "learning_rate_min_factor",
            lowest,
            f'use lr_scheduler = "cosine_with_min_lr" with lr_scheduler_min_lr_ratio = {lowest:g}',
        )
    if nearest == "cosine_with_restarts":
        values["lr_scheduler_num_cycles"] = max(1, round(cycles))
        if cycles != round(cycles):
            settings.refuse("learning_rate_cycles", cycles, "use a whole number")
    values["lr_scheduler"] = nearest
    if warmup > 1:  # OneTrainer counts batches
        values["lr_warmup_steps"] = int(warmup / values["gradient_accumulation_steps"])
    elif 0 < warmup < 1:
        values["lr_warmup_steps"] = warmup
    elif warmup == 1:
        settings.refuse("learning_rate_warmup_steps", warmup, "use a share below 1, or more steps")
