"""lycoris-lora 4.1.3 over the same model as ours, and what both do to it.

Compared with its FORWARD: its get_diff_weight and its merge scale twice for LoHa.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lycoris
import torch
from torch import Tensor, nn

from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.network import Network, NetworkConfig, load_network


class Model(nn.Module):
    """One frozen layer under a name, as both packages want it; in float64."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.double().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def peer_network(model: Model, config: NetworkConfig, **others: object) -> nn.Module:
    """Return lycoris-lora's network of our config; ``others`` are options that only it has."""
    algo = "locon" if config.algo == "lora" else config.algo
    # Some options are handed on through such a map alone.
    own = {name: True for name in ("train_on_input", "rs_lora") if getattr(config, name)}
    maps = {"layer": {"algo": algo, **own}} if own else {}
    lycoris.LycorisNetwork.apply_preset(
        {"target_name": ["layer"], "enable_conv": True, "name_algo_map": maps}
    )
    options = {"bypass_mode": config.bypass_mode, "dropout": config.dropout, **others}
    network: nn.Module = lycoris.create_lycoris(
        model,
        1.0,
        linear_dim=config.network_dim,
        linear_alpha=config.network_alpha,
        conv_dim=config.network_dim if config.conv_dim is None else config.conv_dim,
        conv_alpha=config.network_alpha,
        algo=algo,
        use_tucker=config.use_tucker,
        use_scalar=config.use_scalar,
        factor=config.factor,
        decompose_both=config.decompose_both,
        full_matrix=config.full_matrix,
        unbalanced_factorization=config.unbalanced_factorization,
        dora_wd=config.dora_wd,
        wd_on_output=config.wd_on_output,
        constraint=config.constraint,
        rescaled=config.rescaled,
        block_size=config.block_size,
        **options,
    )
    for module in modules(network):
        module.double()
    return network


def reader(model: Model, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the network that lycoris-lora builds from the tensors of a file."""
    network, _ = lycoris.create_lycoris_from_weights(1.0, None, model, dict(tensors))
    for module in modules(network):
        module.double()
    return network  # type: ignore[no-any-return]


def modules(peer: nn.Module) -> list[nn.Module]:
    """Return the adapters of lycoris-lora's network, which are its submodules only when applied."""
    return peer.loras  # type: ignore[return-value]


def perturbed(network: Network) -> Network:
    _perturb(network)
    return network


def perturbed_peer(peer: nn.Module) -> nn.Module:
    for module in modules(peer):
        _perturb(module)
    return peer


def nudged(module: nn.Module) -> None:
    """Move every parameter away from its start, for updates that are a difference from it."""
    for parameter in module.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3


def change(model: Model, x: Tensor, network: Network) -> Tensor:
    """Return what our network adds to the output of the model."""
    before = model(x)
    with network.injected():
        return model(x) - before


def peers_change(model: Model, x: Tensor, peer: nn.Module) -> Tensor:
    """Return what lycoris-lora's network adds to the output of the model."""
    before = model(x)
    peer.apply_to()  # type: ignore[operator]
    after = model(x)
    peer.restore()  # type: ignore[operator]
    model.requires_grad_(False)
    return after - before


def agree(found: Tensor, wanted: Tensor) -> None:
    assert wanted.norm() > 0
    assert distance(found, wanted) <= 1e-6


def distance(found: Tensor, wanted: Tensor) -> float:
    """Return the length of the difference as a share of the length of `wanted`."""
    return float(((found - wanted).norm() / wanted.norm()).detach())


def stored(network: Network, folder: Path) -> dict[str, Tensor]:
    """Save our network and return the tensors of the file."""
    save_adapter(folder / "ours.safetensors", network.adapter_state(dtype=None))
    return load_adapter(folder / "ours.safetensors").tensors


def read(tensors: Mapping[str, Tensor], model: Model, folder: Path) -> Network:
    """Save tensors of lycoris-lora and return the network that we build from the file."""
    state = AdapterState({key: tensor.detach().clone() for key, tensor in tensors.items()})
    save_adapter(folder / "theirs.safetensors", state)
    return load_network(folder / "theirs.safetensors", {"model": model}).double()


def layer_tensors(peer: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of lycoris-lora's only adapter, under the keys of a file."""
    (module,) = modules(peer)
    return {f"lycoris_layer.{key}": value.detach() for key, value in module.state_dict().items()}


def _perturb(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.4)
