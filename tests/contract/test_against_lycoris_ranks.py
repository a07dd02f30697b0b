"""DyLoRA and T-LoRA, whose ranks change from step to step, against lycoris-lora 4.1.3."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lycoris.modules.tlora import (
    clear_timestep_mask,
    compute_timestep_mask,
    set_timestep_mask,
)
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.network import NetworkConfig, build_network, load_network
from tests.contract.peer import (
    Model,
    agree,
    change,
    layer_tensors,
    modules,
    nudged,
    peer_network,
    peers_change,
    perturbed_peer,
    read,
    reader,
    stored,
)

DYLORA = NetworkConfig(algo="dylora", network_dim=6, network_alpha=3.0, block_size=2)
TLORA = NetworkConfig(algo="tlora", network_dim=4, network_alpha=3.0)
LAYERS = {
    "linear": (lambda: nn.Linear(12, 20), (1, 5, 12)),
    "conv 1x1": (lambda: nn.Conv2d(6, 8, 1), (1, 6, 5, 5)),
    "conv 3x3": (lambda: nn.Conv2d(6, 8, 3, padding=1), (1, 6, 5, 5)),
}


def layer(case: str, seed: int) -> tuple[Model, Tensor]:
    build, shape = LAYERS[case]
    torch.manual_seed(seed)
    return Model(build()), torch.randn(shape).double()


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("seed", range(2))
def test_dylora_files_compute_the_same_here_and_in_lycoris(
    case: str, seed: int, tmp_path: Path
) -> None:
    """lycoris-lora's own DyLoRA loads no file, so its product is computed from its tensors."""
    model, x = layer(case, seed)
    peer = perturbed_peer(peer_network(model, DYLORA))
    (module,) = modules(peer)
    tensors = layer_tensors(peer)
    assert tensors["lycoris_layer.lora_up.weight"].ndim == 2
    (found,) = read(tensors, model, tmp_path).layers.values()
    up, down = torch.cat(list(module.up_list), 1), torch.cat(list(module.down_list))
    product = 3.0 / 6 * (up @ down).reshape(model.layer.weight.shape)
    agree(found.delta().dense(), product)

    mine = build_network({"model": model}, DYLORA).double().eval()
    mine.load_adapter_state(AdapterState(tensors))
    wanted = change(model, x, mine)
    assert torch.equal(wanted, change(model, x, mine))  # nothing is drawn outside of training
    agree(peers_change(model, x, reader(model, stored(mine, tmp_path))), wanted)


@pytest.mark.parametrize("case", ["linear", "conv 1x1"])
@pytest.mark.parametrize("seed", range(3))
def test_tlora_files_compute_the_same_here_and_in_lycoris(
    case: str, seed: int, tmp_path: Path
) -> None:
    model, x = layer(case, seed)
    network = build_network({"model": model}, TLORA).double()
    nudged(network)
    peer = reader(model, stored(network, tmp_path))
    agree(peers_change(model, x, peer), change(model, x, network))

    other = peer_network(model, TLORA)
    for module in modules(other):
        nudged(module)
    wanted = peers_change(model, x, other)
    agree(change(model, x, read(other.state_dict(), model, tmp_path)), wanted)


@pytest.mark.parametrize("case", ["linear", "conv 1x1"])
@pytest.mark.parametrize("timestep", [0, 1, 249, 333, 500, 750, 999])
def test_tlora_uses_the_same_ranks_at_a_timestep_as_lycoris(case: str, timestep: int) -> None:
    model, x = layer(case, timestep)
    peer = peer_network(model, TLORA)
    for module in modules(peer):
        nudged(module)
    network = load_network(AdapterState(layer_tensors(peer)), {"model": model}).double().train()
    network.set_timesteps(torch.tensor([timestep]))
    set_timestep_mask(compute_timestep_mask(timestep, 1000, 4))
    try:
        agree(change(model, x, network), peers_change(model, x, peer))
    finally:
        clear_timestep_mask()


def test_a_tlora_file_of_lycoris_for_a_larger_kernel_is_refused() -> None:
    """lycoris-lora itself fails there: it reads one position of the kernel and pads the rest."""
    model, x = layer("conv 3x3", 0)
    peer = peer_network(model, TLORA)
    with pytest.raises(FormatError, match=r"q_layer.weight has shape \(4, 6, 1, 1\), the layer"):
        load_network(AdapterState(layer_tensors(peer)), {"model": model})
    peer.apply_to()
    with pytest.raises(RuntimeError, match="size of tensor"):
        model(x)
