"""The node that says what is trained: algorithm, sizes, layers."""

from __future__ import annotations

from typing import Any

from lycoris_ext.algorithms import algorithm_names
from lycoris_ext.network import PRESETS

from .host.widgets import Options, advanced, check, inputs, lines, option, read_options

TYPE = "LYCORIS_NETWORK"

ALGORITHMS = sorted({"locon", *algorithm_names()}, key=lambda name: (name != "loha", name))
_MAIN = (
    option("algo", choices=ALGORITHMS),
    option("network_dim", low=1, high=1024),
    option("network_alpha", low=0.001, high=1024),
    option("conv_dim", default=4, high=1024, says="0: convolutions are left alone."),
    option("conv_alpha", default=1.0, low=0.001, high=1024),
    option("preset", choices=sorted(PRESETS)),
    option("network_train_unet_only", says="The CLIP that is connected then only reads captions."),
)
_MORE = advanced(
    option("use_tucker"),
    option("dora_wd"),
    option("wd_on_output"),
    option("dropout", high=0.99),
    option("rank_dropout", high=0.99),
    option("module_dropout", high=0.99),
    option("factor", low=-1, high=1024),
    option("full_matrix"),
    option("decompose_both"),
    option("use_scalar"),
    option("rs_lora"),
    option("train_norm"),
    option("train_on_input"),
    option("constraint", high=1000.0),
    option("rescaled"),
    option("block_size", low=1, high=1024),
    option("include", default="", multiline=True, says="One on each line."),
    option("exclude", default="", multiline=True, says="One on each line."),
)


class Network:
    CATEGORY = "LyCORIS"
    DESCRIPTION = "What is trained: the algorithm, its sizes, and the layers that it adapts."
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("network",)
    OUTPUT_TOOLTIPS = ("For Train.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(_MAIN, _MORE)

    def describe(self, **values: Any) -> tuple[Options]:
        options = read_options((*_MAIN, *_MORE), values)
        for name in ("include", "exclude"):
            options[name] = lines(options.get(name, ""))
        return (check(options),)
