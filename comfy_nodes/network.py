"""The node that describes the adapter to train: algorithm, ranks and alphas, layers."""

from __future__ import annotations

from typing import Any

from lycoris_ext.network import NetworkConfig
from lycoris_ext.options import holds_tables

from .host.widgets import Options, Widget, advanced, check, inputs, option, read_options

TYPE = "LYCORIS_NETWORK"

_MAIN = (
    "algo", "network_dim", "network_alpha", "conv_dim", "conv_alpha", "preset",
    "network_train_unet_only",
)  # fmt: skip
#: ComfyUI saves the values of a workflow by position: new options come behind these.
_MORE = (
    "use_tucker", "dora_wd", "wd_on_output", "dropout", "rank_dropout", "module_dropout", "factor",
    "full_matrix", "decompose_both", "use_scalar", "rs_lora", "train_norm", "train_on_input",
    "constraint", "rescaled", "block_size", "include", "exclude",
)  # fmt: skip
_DEFAULTS = {"conv_dim": 4, "conv_alpha": 1.0}


def _widgets() -> tuple[list[Widget], tuple[Widget, ...]]:
    """Return the inputs that are always shown, and the advanced ones.

    The advanced inputs are all other options of networks and of every registered algorithm.
    """
    known = NetworkConfig.options()
    more = [
        name
        for name in dict.fromkeys((*_MORE, *known))
        if name in known and name not in _MAIN and not holds_tables(known[name].hint)
    ]
    main = [option(name, default=_DEFAULTS.get(name)) for name in _MAIN]
    return main, advanced(*map(option, more))


class Network:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Describes the adapter that Train trains: its algorithm, ranks and alphas, and the "
        "layers that it adapts."
    )
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("network",)
    OUTPUT_TOOLTIPS = ("The options of the adapter, for Train.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(*_widgets())

    def describe(self, **values: Any) -> tuple[Options]:
        main, more = _widgets()
        return (check(read_options([*main, *more], values)),)
