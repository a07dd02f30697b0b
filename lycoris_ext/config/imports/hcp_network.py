"""HCP-Diffusion's networks: each is a list of layers with an algorithm, sizes and a learning rate.

The first of a model decides on the options for the whole run; the others become overrides.

Source: https://github.com/IrisRainbowNeko/HCP-Diffusion at 404f0e8, utils/cfg_net_tools.py (which
layers) and models/lora_base.py (defaults); https://github.com/KohakuBlueleaf/LyCORIS, lycoris/hcp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lycoris_ext.config.imports.settings import Settings, number, whole

_ALGORITHMS = {
    "LoConBlock": "locon",
    "LoraBlock": "locon",
    "LohaBlock": "loha",
    "LokrBlock": "lokr",
    "DiagOFTBlock": "diag-oft",
    "ButterflyOFTBlock": "boft",
    "BOFTBlock": "boft",
    "FullBlock": "full",
    "GLoRABlock": "glora",
    "IA3Block": "ia3",
    "NormBlock": "norm",
}
"""Class of LyCORIS's plugin -> algorithm."""

_OPTIONS = {
    "dropout": "dropout",
    "rank_dropout": "rank_dropout",
    "module_dropout": "module_dropout",
    "use_cp": "use_tucker",
    "use_tucker": "use_tucker",
    "use_scalar": "use_scalar",
    "factor": "factor",
    "decompose_both": "decompose_both",
    "full_matrix": "full_matrix",
    "rescaled": "rescaled",
    "constraint": "constraint",
    "constrain": "constraint",
    "weight_decompose": "dora_wd",
    "wd_on_out": "wd_on_output",
}
"""Argument of a network -> option; each may differ between layers here."""

_IGNORED = ("_target_", "_partial_", "type", "layers", "lr", "train", "alpha_auto_scale")


def read_network(settings: Settings, document: Mapping[str, Any], scale: int) -> None:
    """Read lora_unet, plugin_unet, lora_text_encoder and plugin_TE.

    Args:
        settings: gets the options.
        document: the whole config.
        scale: factor of all learning rates.
    """
    values = settings.values
    parts = {
        "unet": list(_networks(settings, document, "lora_unet", "plugin_unet")),
        "text_encoder": list(_networks(settings, document, "lora_text_encoder", "plugin_TE")),
    }
    values["network_train_unet_only"] = not parts["text_encoder"]
    values["network_train_text_encoder_only"] = not parts["unet"]
    others, overrides = [], []
    first: dict[str, object] = {}
    for part, networks in parts.items():
        target = "unet" if part == "unet" else r"text_encoder(?:_2)?"
        layers = [_layers(settings, network) for network in networks]
        if networks:
            others.append(rf"{target}\.(?!{'|'.join(layers)})")
        rates = [_rate(settings, network) * scale for network in networks]
        if rates:
            values["unet_lr" if part == "unet" else "text_encoder_lr"] = rates[0]
            values.setdefault("learning_rate", rates[0])
        for network, place, rate in zip(networks, layers, rates, strict=True):
            options = _options(settings, network)
            if not first:
                first = options
                values.update(options)
            own: dict[str, object] = {
                name: value for name, value in options.items() if first.get(name) != value
            }
            if rate != rates[0]:
                own["learning_rate"] = rate
            if own:
                overrides.append({"match": rf"^{target}\.{place}", **own})
    # One pattern for all models, because a pattern that fits no layer would be an error.
    values["exclude"] = [f"^(?:{'|'.join(others)})"] if others else []
    if overrides:
        values["overrides"] = overrides


def _networks(
    settings: Settings, document: Mapping[str, Any], lora: str, plugin: str
) -> Iterator[Mapping[str, Any]]:
    """Return the tables of HCP's own LoRA and of the plugins for one model."""
    own = document.get(lora) or []
    plugins = document.get(plugin) or {}
    if not isinstance(own, list) or not isinstance(plugins, Mapping):
        settings.refuse(lora, own or plugins, f"write a list as {lora}, and tables in {plugin}")
        return
    for table in own:
        if isinstance(table, Mapping):
            yield {"_target_": "LoraBlock", "dropout": 0.1, **table}
    for name, table in plugins.items():
        if not isinstance(table, Mapping):
            continue
        words = str(table.get("_target_", "")).split(".")
        kind = words[-2] if len(words) > 1 and words[-1] == "wrap_model" else words[-1]
        if kind in _ALGORITHMS:
            yield {**table, "_target_": kind}
        else:
            settings.refuse(
                f"{plugin}.{name}",
                table.get("_target_"),
                f"use one of LyCORIS's {', '.join(_ALGORITHMS)}",
            )


def _rate(settings: Settings, network: Mapping[str, Any]) -> float:
    return _number(settings, network, "lr", 1e-5)


def _number(settings: Settings, table: Mapping[str, Any], name: str, default: float) -> float:
    value = table.get(name)
    if value is None:
        return default
    try:
        return number(value)
    except ValueError as error:
        settings.refuse(name, value, f"write {error}")
        return default


def _options(settings: Settings, network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a network; an alpha of 0 is the rank, as in LyCORIS."""
    own = network["_target_"] == "LoraBlock"
    size = network.get("rank" if own else "dim", 8 if own else 4)
    try:
        rank = whole(size)
    except ValueError:
        settings.refuse("rank" if own else "dim", size, "write the rank as a whole number")
        rank = 4
    alpha = _number(settings, network, "alpha", 1.0)
    options: dict[str, Any] = {
        "algo": _ALGORITHMS[network["_target_"]],
        "network_dim": rank,
        "network_alpha": alpha or float(rank),
    }
    for name, value in network.items():
        if name in _OPTIONS:
            options[_OPTIONS[name]] = value
        elif name == "alpha_auto_scale" and value is False:
            options["network_alpha"] = alpha * rank  # the update is multiplied by alpha itself
        elif name not in (*_IGNORED, "rank", "dim", "alpha") and value not in (None, False):
            settings.refuse(name, value, "train without it")
    return options


def _layers(settings: Settings, network: Mapping[str, Any]) -> str:
    """Return a regular expression that fits the start of the names of all layers of a network."""
    names = network.get("layers", [])
    found = []
    for name in names if isinstance(names, list) else [names]:
        kind, colon, pattern = str(name).rpartition(":")
        if kind not in ("", "re") or "clip_" in pattern:
            settings.refuse("layers", name, "name layers by a pattern: re:...")
        elif not colon:  # a module, with everything in it
            found.append(re.escape(str(name)) + (r"(?:\.|$)" if name else ""))
        elif pattern.endswith("$") and not pattern.endswith(r"\$"):
            found.append(pattern[:-1] + r"(?:\.|$)")
        else:
            found.append(pattern)
    return f"(?:{'|'.join(found)})" if found else "(?!)"
