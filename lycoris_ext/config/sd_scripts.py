"""Options of sd-scripts in users' files: translate, ignore, or refuse them by name."""

from __future__ import annotations

import ast

from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.network.sd_scripts_names import (
    OLD_OPPOSITES,
    RATIOS,
    network_options,
    split_list,
)
from lycoris_ext.training.optimizer_kinds import optimizer_kind, optimizer_kinds
from lycoris_ext.training.optimizers import OptimizerConfig

Values = dict[str, object]


def _words(text: str) -> list[str]:
    return text.split()


ALWAYS_SO: dict[str, tuple[object, ...]] = {
    "save_model_as": ("safetensors",),
    "cache_latents": (True,),
    "color_aug": (False,),
    "random_crop": (False,),
    "full_fp16": (False,),
    "full_bf16": (False,),
}
"""Options of sd-scripts -> the only values that are supported; other values are refused."""

WITHOUT_EFFECT = frozenset(
    _words(
        """
        highvram lowram mem_eff_attn no_half_vae no_metadata
        persistent_data_loader_workers save_state save_state_on_train_end sdpa skip_cache_check
        vae_batch_size xformers
        """
    )
)
"""Options of sd-scripts that do not change the result: accepted and ignored."""

NOT_YET = frozenset(
    _words(
        """
        async_upload block_alphas block_dims blocks_to_swap conditioning_data_dir config_file
        console_log_file console_log_level console_log_simple cpu_offload_checkpointing
        dataset_class dataset_config ddp_timeout debug_dataset deepspeed dynamo_backend
        face_crop_aug_range fp8_base fused_backward_pass huggingface_path_in_repo
        huggingface_repo_id huggingface_repo_type huggingface_repo_visibility huggingface_token
        in_json initial_epoch initial_step log_config log_prefix log_tracker_config
        log_tracker_name lr_scheduler_args lr_scheduler_type masked_loss max_data_loader_timeout
        max_timestep_weight metadata_author metadata_description metadata_license metadata_tags
        metadata_title min_timestep_weight network_train_norm output_config resize_interpolation
        resume resume_from_huggingface sample_at_last save_every_n_epochs_state
        save_last_n_epochs save_last_n_epochs_state save_last_n_steps save_last_n_steps_state
        save_n_epoch_ratio save_state_to_huggingface skip_until_initial_step
        tokenizer_cache_dir torch_compile training_comment unet_lr_weight
        validation_seed validation_split wandb_api_key wandb_run_name
        """
    )
)
"""Options of sd-scripts that are not supported: refused by name."""

HINTS = {
    "resume": "a run continues by itself when it is started again with the same output_name",
    "config_file": "give the file as the first argument: lycoris-ext train my.toml",
    "masked_loss": "set alpha_mask = true: the pictures' transparency is the mask",
    "dataset_config": "write its subsets as [[data.subsets]], see docs/data.md",
    "wandb_run_name": 'use log_with = "tensorboard"; the loss curve is in NAME.events.jsonl, too',
    "lr_scheduler_type": "use lr_scheduler",
    "output_config": "the complete config is always written as NAME.toml into output_dir",
}


def translate(values: Values, where: str, optimizer_type: object = None) -> Values:
    """Translate options of sd-scripts (network_args, optimizer_args, ...) into ours.

    Args:
        values: option -> value as read from a file or flags; our own options are kept.
        where: the file's name or "command line", for messages.
        optimizer_type: the optimizer that optimizer_args are for, if ``values`` do not choose one;
            None: the default optimizer.

    Returns:
        Our option -> value.

    Raises:
        ConfigError: all faults at once: unknown arguments in network_args or optimizer_args, or
            values that are not supported.
    """
    result: Values = {}
    faults = Faults()
    module = values.get("network_module")
    values = _with_chosen_optimizer(values, where)
    optimizer_type = values.get("optimizer_type", optimizer_type)
    for name, value in values.items():
        if name in ALWAYS_SO:
            if value not in ALWAYS_SO[name]:
                faults.found.append(
                    ConfigError(
                        f"{name} is {value!r}, here it is always {ALWAYS_SO[name][0]!r}",
                        where=where,
                        fix=f"remove {name}",
                    )
                )
        elif name in WITHOUT_EFFECT or name == "network_module":
            continue
        elif name == "network_args":
            for argument, text in _arguments(name, value, where):
                with faults:
                    result |= _network_argument(argument, text, where)
        elif name == "optimizer_args":
            for argument, text in _arguments(name, value, where):
                with faults:
                    result |= _optimizer_argument(argument, text, where, optimizer_type)
        elif name == "network_dropout":
            result["dropout"] = value
        else:
            result[name] = value
    if result.get("conv_alpha") == 0 and "conv_alpha" not in values:  # in LyCORIS 0 means the rank
        result["conv_alpha"] = result.get("conv_dim") or result.get("network_dim", 0)
    if module is not None:
        with faults:
            result |= _algorithm_of(module, result, where)
    faults.raise_all()
    return result


def _algorithm_of(module: object, values: Values, where: str) -> Values:
    algo = values.get("algo")
    if module == "networks.lora":
        return {"algo": "lora"} if algo is None else {}
    if module in ("lycoris.kohya", "lycoris_ext.kohya"):
        # In LyCORIS "lora", the default, also adapts convolutions; here that is called locon.
        return {"algo": "locon"} if algo in (None, "lora") else {}
    raise ConfigError(
        f"network_module {module!r} is not supported",
        where=where,
        fix="remove it and choose algo = lora, locon or loha",
    )


def _arguments(name: str, value: object, where: str) -> list[tuple[str, str]]:
    items = value if isinstance(value, (list, tuple)) else [value]
    pairs = []
    for item in items:
        key, equals, text = str(item).partition("=")
        if not equals:
            raise ConfigError(
                f"{name} has {item!r}, expected name=value",
                where=where,
                fix=f'write {name} = ["name=value", ...]',
            )
        pairs.append((key.strip(), text.strip()))
    return pairs


def _network_argument(name: str, text: str, where: str) -> Values:
    if name in OLD_OPPOSITES:
        value = _literal(text)
        if not isinstance(value, bool):
            raise ConfigError(
                f"network_args has {name}={text}, expected true or false",
                where=where,
                fix=f"change {name}",
            )
        return {OLD_OPPOSITES[name]: not value}
    if name in RATIOS:
        return {name: _literal(text)}
    options = network_options()
    if name not in options:
        raise ConfigError(
            f"network_args has {name}={text}, which is not supported",
            where=where,
            fix="use " + ", ".join(sorted([*options, *RATIOS])),
        )
    known = options[name]
    if known.name == "algo":
        return {known.name: text.lower()}
    if known.is_list:
        return {known.name: split_list(text)}
    return {known.name: text if known.hint is str else _literal(text)}


def _with_chosen_optimizer(values: Values, where: str) -> Values:
    """Replace options that switch on an optimizer, such as use_8bit_adam, by optimizer_type."""
    switches = {kind.switch: kind.name for kind in optimizer_kinds() if kind.switch}
    rest = {name: value for name, value in values.items() if name not in switches}
    for switch, chosen in switches.items():
        if values.get(switch) is not True:
            continue
        if rest.setdefault("optimizer_type", chosen) != chosen:
            raise ConfigError(
                f"{switch} chooses {chosen}, and optimizer_type is {rest['optimizer_type']!r}",
                where=where,
                fix=f"remove {switch} or optimizer_type",
            )
    return rest


def _optimizer_argument(name: str, text: str, where: str, optimizer_type: object) -> Values:
    known = OptimizerConfig.options()["optimizer_type"]
    kind = optimizer_kind(known.convert(optimizer_type or known.default, where))
    options = kind.read_argument(name, _literal(text))
    if options is None:
        usual = (
            f"{argument}={','.join(str(each.default) for each in options)}"
            for argument, options in kind.arguments.items()
        )
        raise ConfigError(
            f"optimizer_args has {name}={text}, which {kind.name} does not take",
            where=where,
            fix=f"use {', '.join(usual) or 'none'}",
        )
    return options


def _literal(text: str) -> object:
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
    return value
