"""What other programs call a network: their network_module, as our options for the same layers.

A network module of sd-scripts or LyCORIS stands for an algorithm, a choice of layers and defaults
of its own. The table ``MODULES`` says which; sizes for single blocks become overrides.

Sources: sd-scripts 48d368f, networks/lora.py and networks/dylora.py; its later networks/loha.py,
networks/lokr.py and networks/network_base.py; LyCORIS 4.1.3, kohya.py, and LyCORIS 1e48ac4,
locon/locon_kohya.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from lycoris_ext.errors import ConfigError
from lycoris_ext.network.block_arguments import BLOCK_ARGUMENTS, block_tables

Values = dict[str, object]

#: Arguments in network_args that are no options of ours, but change which options are set.
MODULE_ARGUMENTS = (*BLOCK_ARGUMENTS, "unit")
#: Every module's rank if network_dim is not given.
_DEFAULT_RANK = 4


@dataclass(frozen=True)
class NetworkModule:
    """A network module of another program.

    Attributes:
        algo: the algorithm; "": ``algo`` in network_args chooses it.
        preset: the layers that are adapted if network_args do not choose a preset.
        with_conv: the same if network_args have conv_dim; "": the same layers.
        conv_alpha: alpha of convolutions if conv_dim is given without it; None: that of all layers.
        dora_on_output: whether dora_wd means wd_on_output, unless that is given.
    """

    algo: str
    preset: str
    with_conv: str = ""
    conv_alpha: float | None = None
    dora_on_output: bool = False


def _of_sd_scripts(algo: str, conv_alpha: float | None = 1.0) -> NetworkModule:
    return NetworkModule(algo, "attn-mlp", "blocks", conv_alpha)


#: network_module -> what it means. In LyCORIS "lora", the default, also adapts convolutions larger
#: than 1x1; here that is called locon.
MODULES = {
    "networks.lora": _of_sd_scripts("lora"),
    "networks.loha": _of_sd_scripts("loha"),
    "networks.lokr": _of_sd_scripts("lokr"),
    "networks.dylora": _of_sd_scripts("dylora", conv_alpha=None),
    "locon.locon_kohya": NetworkModule("locon", "blocks"),
    "lycoris.kohya": NetworkModule("", "full", dora_on_output=True),
    "lycoris_ext.kohya": NetworkModule("", "full"),
}

#: network_module that cannot be trained here -> the nearest thing that works.
_NEAREST = {
    "networks.lora_fa": "use networks.lora; LoRA-FA is a LoRA whose down factors stay random",
    "networks.oft": "use lycoris.kohya with network_args = ['algo=diag-oft', 'preset=attn-only']; "
    "its blocks have a size, those of networks.oft a number",
}


def as_our_network(module: object, values: Values, where: str) -> Values:
    """Return the options that adapt the same layers as another program's network.

    Args:
        module: the value of network_module; None or "": none is given.
        values: our options and ``MODULE_ARGUMENTS``, as read from network_args and the options
            beside it; values are not checked yet.
        where: the file's name or "command line", for messages.

    Returns:
        ``values`` without ``MODULE_ARGUMENTS``, with the options that follow from the module.

    Raises:
        ConfigError: the module is unknown or cannot be trained here, or sizes of blocks are wrong.
    """
    own = {name: value for name, value in values.items() if name not in MODULE_ARGUMENTS}
    if module not in (None, ""):
        own = _with_defaults(_find(module, where), own)
    if "unit" in values:
        unit = str(values["unit"])
        own["block_size"] = int(unit) if re.fullmatch("[0-9]{1,9}", unit) else unit
    arguments = {name: str(values[name]) for name in BLOCK_ARGUMENTS if name in values}
    if "conv_block_dims" in arguments and own.get("preset") == "attn-mlp":
        if "block_dims" in arguments or any(name.endswith("lr_weight") for name in arguments):
            own["preset"] = "blocks"
        else:  # sd-scripts reads them only beside these
            arguments = {}
    if arguments:
        own["overrides"] = [*_tables(own.get("overrides", ())), *_blocks(arguments, own, where)]
    return own


def nearest_module(module: object) -> str | None:
    """Return the network module to take if one is left out because it is not supported."""
    if not module or str(module) in MODULES:
        return str(module) if module else None
    return "networks.lora" if str(module).startswith("networks.") else "lycoris.kohya"


def _find(module: object, where: str) -> NetworkModule:
    """Return what a network_module means, or raise ConfigError with the nearest that works."""
    name = str(module).removesuffix(".py").replace("/", ".")
    if name in MODULES:
        return MODULES[name]
    near = get_close_matches(name, MODULES, n=1, cutoff=0.8)
    raise ConfigError(
        f"network_module {module!r} is not supported",
        where=where,
        fix=_NEAREST.get(name, f"did you mean {near[0]}?" if near else f"use {', '.join(MODULES)}"),
    )


def _with_defaults(module: NetworkModule, values: Values) -> Values:
    """Return the options with those that a module sets where they are not given."""
    own = dict(values)
    conv = own.get("conv_dim") is not None
    if module.algo:
        own.setdefault("algo", module.algo)
    elif "algo" not in own or (own["algo"] == "lora" and not conv):
        own["algo"] = "locon"
    own.setdefault("preset", module.with_conv if conv and module.with_conv else module.preset)
    own.setdefault("network_dim", _DEFAULT_RANK)
    if module.algo == "dylora":
        own.setdefault("block_size", 1)
        own.pop("conv_alpha", None)  # it is not used there
    if conv and module.conv_alpha is not None:
        own.setdefault("conv_alpha", module.conv_alpha)
    if module.dora_on_output and own.get("dora_wd") is True:
        own.setdefault("wd_on_output", True)
    if own.get("network_alpha") == 0:
        own["network_alpha"] = own["network_dim"]
    return own


def _tables(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _blocks(arguments: dict[str, str], values: Values, where: str) -> list[dict[str, object]]:
    """Return the tables of overrides for arguments about blocks."""
    try:
        rank = int(str(values.get("network_dim", 8)))
        conv = values.get("conv_dim")
        alpha = float(str(values.get("conv_alpha", values.get("network_alpha", 1.0))))
        conv_rank = rank if conv is None else int(str(conv))
    except ValueError:
        return []  # the sizes are no numbers, which is told when they are converted
    attention = ("attn-mlp", "attn-only", "unet-transformer-only")
    given = None if conv is None else (conv_rank, alpha)
    try:
        return block_tables(
            arguments, (rank, conv_rank), given, values.get("preset") not in attention
        )
    except ConfigError as error:
        raise error.within(where) from error
