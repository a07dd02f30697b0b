"""Whatever rank, alpha and precision a network is saved with, its file gives the same update."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lycoris_ext.algorithms import algorithm, algorithm_names
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network
from tests.contract.cases import perturbed, update
from tests.contract.peer import Model, agree, change, peers_change, reader

DTYPES = [torch.float16, torch.bfloat16, torch.float32]
ALPHAS = [1.0, 0.3, 70_001.0, 1e-9]


def model_for(algo: str) -> nn.Module:
    torch.manual_seed(1)
    small = nn.LayerNorm(8) if algorithm(algo).of_norms else nn.Linear(8, 8)
    return nn.Sequential(small).requires_grad_(False)


def config_for(algo: str, rank: int, alpha: float) -> NetworkConfig:
    own = {"constraint": min(alpha, 1000.0), "block_size": 1}
    settings = {name: value for name, value in own.items() if algorithm(algo).reads(name)}
    return NetworkConfig(algo=algo, network_dim=rank, network_alpha=alpha, **settings)


def rounded(network: Network, dtype: torch.dtype) -> Network:
    """Return the network with numbers that this dtype can hold."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype).float()
    return network


# An alpha of 70,001 makes updates that float16 cannot hold, which loading tells.
@pytest.mark.filterwarnings("ignore::lycoris_ext.network.notices.NetworkWarning")
@pytest.mark.parametrize("rank", [1, 4, 10_000, 100_000, 1_000_000])
@pytest.mark.parametrize("algo", algorithm_names())
def test_a_file_gives_the_update_of_its_network(algo: str, rank: int, tmp_path: Path) -> None:
    module, path = model_for(algo), tmp_path / "a.safetensors"
    for alpha in (*ALPHAS, float(rank)):
        try:
            network = build_network({"model": module}, config_for(algo, rank, alpha))
        except ConfigError as refusal:
            assert "blocks of at most 1" in str(refusal) or "larger than every" in str(refusal)
            continue
        perturbed(network.eval())
        for dtype in DTYPES:
            rounded(network, torch.bfloat16 if dtype is torch.float32 else dtype)
            network.save(path, dtype=dtype)
            again = load_network(path, {"model": module})
            wanted, found = update(network).dense(), update(again).dense()
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_alpha_is_written_in_the_precision_of_the_file_if_that_holds_it(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    for alpha in (8.0, 100_000.0):
        module, path = model_for("lora"), tmp_path / "a.safetensors"
        network = build_network({"model": module}, NetworkConfig(network_alpha=alpha))
        network.to(dtype).save(path, dtype=dtype)
        (stored,) = [t for key, t in load_adapter(path).tensors.items() if "alpha" in key]
        assert float(stored) == alpha
        assert stored.dtype is (dtype if alpha == 8 else torch.float32)


@pytest.mark.parametrize(("algo", "rank"), [("lora", 4), ("loha", 4), ("lokr", 100_000)])
def test_lycoris_reads_an_alpha_of_100000_as_it_is(algo: str, rank: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, x = Model(nn.Linear(8, 8)), torch.randn(3, 8).double()
    config = NetworkConfig(algo=algo, network_dim=rank, network_alpha=100_000.0)
    network = rounded(perturbed(build_network({"model": model}, config)), torch.float16)
    network.save(tmp_path / "a.safetensors")
    tensors = load_adapter(tmp_path / "a.safetensors").tensors
    peer = reader(model, {key: tensor.double() for key, tensor in tensors.items()})
    agree(peers_change(model, x, peer), change(model, x, network.double()))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_infinite_alpha_is_refused_where_the_strength_depends_on_it(value: float) -> None:
    for algo in ("lora", "loha", "diag-oft"):
        module = model_for(algo)
        state = build_network({"model": module}, NetworkConfig(algo=algo)).adapter_state()
        spoilt = {
            key: torch.tensor(value) if key.endswith(".alpha") else tensor
            for key, tensor in state.tensors.items()
        }
        with pytest.raises(FormatError, match=f"its alpha is {value}, so the strength"):
            load_network(AdapterState(spoilt), {"model": module})


def test_an_infinite_alpha_of_two_full_lokr_matrices_has_no_effect() -> None:
    module = model_for("lokr")
    network = perturbed(build_network({"model": module}, NetworkConfig(algo="lokr")))
    state = network.adapter_state(dtype=None)
    (key,) = [key for key in state.tensors if key.endswith(".alpha")]
    spoilt = AdapterState({**state.tensors, key: torch.tensor(torch.inf, dtype=torch.float16)})
    again = load_network(spoilt, {"model": module})
    assert torch.equal(update(again).dense(), update(network).dense())
    assert all(tensor.isfinite().all() for tensor in again.adapter_state().tensors.values())
    network.load_adapter_state(spoilt)
