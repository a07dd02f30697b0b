"""The nodes that describe the adapter to train: algorithm, ranks and alphas, layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lycoris_ext.network import NetworkConfig

from .advanced import Advanced, Values, grouped, joined, more
from .host.widgets import Options, Widget, check, inputs, option, read_options

TYPE = "LYCORIS_NETWORK"
_ADVANCED = "LYCORIS_NETWORK_ADVANCED"
_NAME = "Network"

#: The plain node, and choices of what is trained -> the options that say so.
MAIN = ("algo", "network_dim", "network_alpha", "conv_dim", "conv_alpha", "preset")
_TRAINED: dict[str, Options] = {
    "model": {"network_train_unet_only": True},
    "model and text encoder": {},
    "text encoder": {"network_train_text_encoder_only": True},
}
_PARTS = ("network_train_unet_only", "network_train_text_encoder_only")
_DEFAULTS = {"conv_dim": 4, "conv_alpha": 1.0}
_TRAIN = Widget(
    "train",
    list(_TRAINED),
    {
        "default": "model",
        "tooltip": "What gets an adapter: the diffusion model, its text encoder, or both. Text "
        "encoders can be trained for Stable Diffusion 1, 2 and XL only.",
    },
)
_GROUPS = {
    "layers": (
        "include", "exclude", "train_norm", "dropout", "rank_dropout", "rank_dropout_scale",
        "module_dropout",
    ),
    "scaling": (
        "dora_wd", "wd_on_output", "use_tucker", "rs_lora", "use_scalar", "bypass_mode",
    ),
    "lokr": ("factor", "full_matrix", "decompose_both", "unbalanced_factorization"),
    "algorithms": ("constraint", "rescaled", "train_on_input", "block_size"),
}  # fmt: skip


def _options_of(group: str) -> list[str]:
    known = NetworkConfig.options()
    placed = grouped(
        _GROUPS, known, (*MAIN, *_PARTS), lambda new: "algorithms" if new.kinds else "layers"
    )
    return placed[group]


def widget(name: str) -> Widget:
    """Return the widget of an option of networks, with the default that it has in ComfyUI."""
    return option(name, default=_DEFAULTS.get(name))


class Network:
    CATEGORY = "LyCORIS/training"
    DESCRIPTION = (
        "Describes the adapter that Train LoRA trains: LoRA, LoCon, LoHa, LoKr or another "
        "algorithm, its ranks and alphas, and the layers that it adapts."
    )
    SEARCH_ALIASES = ("lora config", "locon", "dora", "oft", "dylora", "train text encoder")
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("network",)
    OUTPUT_TOOLTIPS = ("The adapter to train, for Train LoRA.",)
    FUNCTION = "describe"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs((*map(widget, MAIN), _TRAIN), (more(_ADVANCED, _NAME),))

    def describe(self, advanced: Values | None = None, **values: Any) -> tuple[Options]:
        given = joined(advanced, values)
        parts = _TRAINED[given.pop("train")] if "train" in given else {}
        widgets = [widget(name) for name in NetworkConfig.options() if name in given]
        return (check(read_options(widgets, given) | parts),)


class _More(Advanced):
    TYPE, PLAIN = _ADVANCED, _NAME
    GROUP = ""

    @classmethod
    def widgets(cls) -> Sequence[Widget]:
        return [widget(name) for name in _options_of(cls.GROUP)]


class NetworkLayers(_More):
    DESCRIPTION = "Adds single layers to those that get an adapter or takes them away, and dropout."
    GROUP = "layers"


class NetworkScaling(_More):
    DESCRIPTION = "How an adapter is built and scaled: DoRA, Tucker decomposition, rsLoRA."
    GROUP = "scaling"


class NetworkLokr(_More):
    DESCRIPTION = "The two factors of the Kronecker product, for the algorithm lokr."
    GROUP = "lokr"


class NetworkAlgorithms(_More):
    DESCRIPTION = "Settings that only one algorithm has: OFT and BOFT, (IA)^3, DyLoRA."
    GROUP = "algorithms"
