"""The cases of the contract: every algorithm, in every form, on every kind of layer.

Every factor is perturbed first: a fresh adapter is zero and hides every mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import algorithm, algorithm_names, algorithm_options
from lycoris_ext.functional import Delta, FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import Network, NetworkConfig, build_network

RANK = 4
RANKS = {"boft": 6}  # its blocks must be even and a power of two: 24 outputs have none of 4
# name -> (layer, input); every geometry that a base model may contain
SITES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(12, 24), (3, 5, 12)),
    "linear without bias": (lambda: nn.Linear(12, 16, bias=False), (7, 12)),
    "conv 1x1": (lambda: nn.Conv2d(6, 8, 1), (2, 6, 5, 5)),
    "conv 3x3 strided": (lambda: nn.Conv2d(4, 12, 3, stride=2, padding=1), (2, 4, 9, 9)),
    "conv 3x3 dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2), (2, 4, 9, 9)),
    "conv 3x3 grouped": (lambda: nn.Conv2d(8, 4, 3, groups=2, padding=1), (2, 8, 6, 6)),
    "conv 3x1 reflect": (
        lambda: nn.Conv2d(4, 6, (3, 1), padding=(1, 0), padding_mode="reflect"),
        (2, 4, 6, 6),
    ),
    "conv 4 same": (lambda: nn.Conv2d(3, 6, 4, padding="same"), (2, 3, 7, 7)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3, padding=1), (2, 2, 4, 4, 4)),
}
# layers that only the algorithm of normalisations is for
NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "layer norm": (lambda: nn.LayerNorm(12), (3, 5, 12)),
    "layer norm without bias": (lambda: nn.LayerNorm(12, bias=False), (7, 12)),
    "group norm": (lambda: nn.GroupNorm(3, 12, eps=1e-6), (2, 12, 5, 4)),
    "rms norm": (lambda: nn.RMSNorm(12), (3, 5, 12)),
}
VARIANTS = {
    "plain": {},
    "tucker": {"use_tucker": True},
    "scalar": {"use_scalar": True},
    "rs": {"rs_lora": True},
}


def sites_of(algo: str) -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]:
    return NORMS if algorithm(algo).of_norms else SITES


# for the algorithms that it may be put around
DORA = {
    "dora": {"dora_wd": True},
    "dora on output": {"dora_wd": True, "wd_on_output": True, "use_scalar": True},
    "dora, tucker": {"dora_wd": True, "use_tucker": True},
}
ORTHOGONAL = {
    "constrained": {"constraint": 0.05},
    "rescaled": {"rescaled": True},
    "both": {"constraint": 0.05, "rescaled": True},
}
# forms that one algorithm alone has; a rank small enough that products are smaller than matrices
OWN = {
    "lokr": {
        "product": {"factor": 2, "network_dim": 1, "conv_dim": 1},
        "two products": {"factor": 4, "network_dim": 1, "conv_dim": 1, "decompose_both": True},
        "core": {"factor": 2, "network_dim": 1, "conv_dim": 1, "use_tucker": True},
        "unbalanced": {"factor": 2, "unbalanced_factorization": True},
        "full": {"full_matrix": True},
    },
    "ia3": {"on input": {"train_on_input": True}},
    "diag-oft": ORTHOGONAL,
    "boft": ORTHOGONAL,
    "dylora": {"blocks of 2": {"block_size": 2}},
}


def takes(name: str, told: dict[str, object]) -> bool:
    """Tell whether an algorithm has the options that a form sets."""
    chosen = algorithm(name)
    ways = [way for part in chosen.parts.values() for way in part]
    if "use_scalar" in told and not any(factor.zero for way in ways for factor in way.factors):
        return False  # the update is proportional to nothing, so there can be no scalar
    return all(chosen.reads(option) for option in told if option in OPTIONS)


OPTIONS = {option.name for option in algorithm_options()}
FORMS = {
    name: {
        form: told
        for form, told in {**VARIANTS, **DORA, **OWN.get(name, {})}.items()
        if takes(name, told)
    }
    for name in algorithm_names()
}
CASES = [(algo, form, site) for algo in FORMS for form in FORMS[algo] for site in sites_of(algo)]
every_case = pytest.mark.parametrize(("algo", "variant", "site"), CASES)


def config_of(algo: str, variant: str, alpha: float = 3.0) -> NetworkConfig:
    rank = RANKS.get(algo, RANK)
    settings = {"network_dim": rank, "conv_dim": rank, "network_alpha": alpha}
    return NetworkConfig(**{**settings, "algo": algo, **FORMS[algo][variant]})


def perturbed(network: Network, std: float = 0.3) -> Network:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.normal_(0, std, generator=generator)
    return network


def make(
    algo: str, variant: str, site: str, alpha: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, Network, Tensor]:
    """Return a module, a perturbed network over it, and an input."""
    torch.manual_seed(1)
    build, shape = sites_of(algo)[site]
    module = nn.Sequential(build()).to(dtype).requires_grad_(False)
    network = build_network({"model": module}, config_of(algo, variant, alpha))
    return module, perturbed(network).to(dtype).eval(), torch.randn(shape, dtype=dtype)


def only_layer(network: Network) -> AdapterLayer:
    (layer,) = network.layers.values()
    return layer


def bias_of(module: nn.Module) -> Tensor | None:
    return getattr(module[0], "bias", None)


def update(network: Network) -> Delta:
    """Return the update of the only layer as its next forward applies it."""
    ((key, layer),) = network.layers.items()
    return layer.delta(FrozenLayer.of(network.sites[key].module, layer.plan.layer))


def undecomposed(network: Network) -> Delta:
    """Return the only layer's update without DoRA, which alone is proportional to alpha."""
    ((key, layer),) = network.layers.items()
    plan = replace(layer.plan, dora=None)
    return plan.delta(layer.tensors(), FrozenLayer.of(network.sites[key].module, plan.layer))
