"""The adapters that are measured (cases), and how each library (contestant) builds them.

All libraries adapt the same layers of the same weights. No parameter is left at zero, because
computing with zeros can be faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lycoris_ext.functional import Hadamard, LayerSpec
from lycoris_ext.network import Network, NetworkConfig, build_network


@dataclass(frozen=True)
class Case:
    """An adapter that is measured.

    Attributes:
        title: its name in tables.
        options: options of NetworkConfig.
        both_paths: whether our library is also measured with each way to compute forced.
    """

    title: str
    options: dict[str, Any] = field(default_factory=dict)
    both_paths: bool = False


_LOHA = {"algo": "loha", "network_dim": 8, "conv_dim": 4}
_LOKR = {"algo": "lokr", "network_dim": 8, "conv_dim": 4, "factor": 8}
CASES = {
    "lora_8": Case("LoRA 8", {"algo": "lora", "network_dim": 8}),
    "locon_16_8": Case("LoCon 16/8", {"algo": "locon", "network_dim": 16, "conv_dim": 8}),
    "loha_8_4": Case("LoHa 8/4", _LOHA),
    "loha_32_16": Case(
        "LoHa 32/16", {"algo": "loha", "network_dim": 32, "conv_dim": 16}, both_paths=True
    ),
    "lokr_8": Case("LoKr 8/4, factor 8", _LOKR),
    "lokr_8_full": Case("LoKr full, factor 8", {**_LOKR, "full_matrix": True}),
    "dora_loha_8_4": Case("DoRA on LoHa 8/4", {**_LOHA, "dora_wd": True}),
}
FORCED = {"ours, chain": "chain", "ours, dense": "dense"}
PEERS = ("lycoris-lora", "peft")
CONTESTANTS = ("ours", *FORCED, *PEERS)


def unavailable(by: str, case: str) -> str:
    """Return why a library cannot build an adapter; "" if it can."""
    options = CASES[case].options
    if by.startswith("ours"):
        unknown = set(options) - NetworkConfig.options().keys()
        return f"NetworkConfig has no {', '.join(sorted(unknown))}" if unknown else ""
    if find_spec("lycoris" if by == "lycoris-lora" else by) is None:
        return f"{by} is not installed"
    if by == "peft" and options.get("dora_wd"):
        return "PEFT has DoRA for LoRA alone"
    return ""


def pairs(cases: list[str], contestants: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the (case, contestant) pairs that are to be measured."""
    for case in cases:
        for by in contestants:
            if by not in FORCED or CASES[case].both_paths:
                yield case, by


def adapt(by: str, unet: nn.Module, case: str) -> list[Tensor]:
    """Inject an adapter into a U-Net with a library; return its trained parameters.

    Args:
        by: the library, one of `CONTESTANTS`.
        unet: the U-Net, whose modules are changed.
        case: the adapter, a key of `CASES`.
    """
    adapters: dict[str, Callable[[nn.Module, Case], list[Tensor]]] = {
        "lycoris-lora": _lycoris,
        "peft": _peft,
    }
    parameters = adapters.get(by, _ours)(unet, CASES[case])
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return parameters


def use_our_products(unet: nn.Module) -> None:
    """Compute the frozen Linear and Conv layers with our faster products, as adapted layers do."""
    for module in unet.modules():
        if type(module) in (nn.Linear, nn.Conv2d):
            module.forward = partial(_op, LayerSpec.from_module(module), module)


def _op(layer: LayerSpec, module: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    return layer.op(x, module.weight, module.bias)


def network_of(unet: nn.Module, case: Case) -> Network:
    return build_network({"unet": unet}, NetworkConfig(**case.options))


def _ours(unet: nn.Module, case: Case) -> list[Tensor]:
    network = network_of(unet, case)
    network.inject()
    return list(network.parameters())


def _lycoris(unet: nn.Module, case: Case) -> list[Tensor]:
    """Inject lycoris-lora's adapter into the layers that ours adapts.

    Its own preset would adapt TimestepEmbedding twice.
    """
    from lycoris.wrapper import LycorisNetwork

    names = _layers(unet, case)
    options = dict(case.options)
    LycorisNetwork.apply_preset(
        {
            "enable_conv": True,
            "target_module": [],
            "target_name": ["(?:" + "|".join(map(re.escape, names)) + ")$"],
        }
    )
    network = LycorisNetwork(
        unet,
        network_module=options.pop("algo"),
        lora_dim=options.pop("network_dim"),
        conv_lora_dim=options.pop("conv_dim", 0),
        weight_decompose=options.pop("dora_wd", False),
        wd_on_out=False,  # our default
        **options,
    )
    network.apply_to()
    assert len(network.loras) == len(names), (len(network.loras), len(names))
    device = next(unet.parameters()).device
    return list(network.to(device).requires_grad_(True).parameters())


def _peft(unet: nn.Module, case: Case) -> list[Tensor]:
    from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model

    names = _layers(unet, case)
    options = case.options
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "loha": (LoHaConfig, {"alpha": 1}),
        "lokr": (LoKrConfig, {"alpha": 1, "decompose_factor": options.get("factor", -1)}),
    }
    kind, extra = kinds.get(options["algo"], (LoraConfig, {"lora_alpha": 1}))
    # With so large a rank PEFT stores LoKr's second factor as a whole matrix.
    rank = 100_000 if options.get("full_matrix") else options["network_dim"]
    pattern = {}
    if not options.get("full_matrix"):
        pattern = {name: options["conv_dim"] for name, spatial in names.items() if spatial}
    config = kind(r=rank, target_modules=list(names), rank_pattern=pattern, **extra)
    known = {id(weight) for weight in unet.parameters()}
    inject_adapter_in_model(config, unet)
    return [p.requires_grad_(True) for p in unet.parameters() if id(p) not in known]


def _layers(unet: nn.Module, case: Case) -> dict[str, bool]:
    """Return the layers that our library adapts: name -> whether its kernel is larger than 1x1."""
    without_dora = {key: value for key, value in case.options.items() if key != "dora_wd"}
    sites = network_of(unet, Case(case.title, without_dora)).sites.values()
    return {site.path: site.spec.is_spatial for site in sites}


@contextmanager
def forced_path(by: str) -> Iterator[None]:
    """Make our library compute LoHa in one fixed way for the time of a `with` block.

    Args:
        by: the contestant; nothing is changed unless it is a key of `FORCED`.
    """
    path = FORCED.get(by)
    if path is None:
        yield
        return
    asked = 0

    def choose(delta: Hadamard, tokens: int, can_merge: bool) -> str:
        nonlocal asked
        asked += 1
        if path == "chain" and delta.layer.groups == 1:
            return "chain"
        return "merged" if can_merge else "dense"

    with patch.object(Hadamard, "cheapest", choose):
        yield
    if not asked:
        raise RuntimeError("Hadamard.cheapest was never called, so forced_path had no effect")
