"""DyLoRA: which ranks take part in a step, which of them learn, and at which scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import algorithm
from lycoris_ext.errors import ConfigError
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import Network, NetworkConfig, build_network

RANK, BLOCK = 6, 2
CONFIG = NetworkConfig(algo="dylora", network_dim=RANK, network_alpha=3.0, block_size=BLOCK)


def dylora(module: nn.Module, config: NetworkConfig = CONFIG) -> tuple[Network, AdapterLayer]:
    torch.manual_seed(0)
    network = build_network({"model": nn.Sequential(module).requires_grad_(False)}, config)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    (layer,) = network.layers.values()
    return network, layer


def heads(layer: AdapterLayer) -> dict[int, Tensor]:
    """Return, for each number n of blocks, the update of the first n, scaled by alpha / RANK."""
    up, down = (tensor.detach().flatten(1) for tensor in layer.tensors().values())
    if up.shape[1] != RANK:
        up, down = down, up
    shape = layer.plan.layer.weight_shape
    return {
        last: 0.5 * (up[:, : last * BLOCK] @ down[: last * BLOCK]).reshape(shape)
        for last in range(1, RANK // BLOCK + 1)
    }


@pytest.mark.parametrize("module", [nn.Linear(9, 7), nn.Conv2d(4, 7, 3)])
def test_a_step_of_dylora_uses_the_first_blocks_and_trains_only_the_last_of_them(
    module: nn.Module,
) -> None:
    _, layer = dylora(module)
    wanted, seen = heads(layer), set()
    for seed in range(20):
        torch.manual_seed(seed)
        dense = layer.train().delta().dense()
        (last,) = (n for n, head in wanted.items() if torch.allclose(dense, head, atol=1e-5))
        seen.add(last)
        layer.zero_grad()
        (dense * torch.randn_like(dense)).sum().backward()
        learns = torch.arange(RANK) // BLOCK == last - 1
        tensors = layer.tensors()
        by_rank = {
            "lora_up.weight": tensors["lora_up.weight"].grad.flatten(1).abs().sum(0),
            "lora_down.weight": tensors["lora_down.weight"].grad.flatten(1).abs().sum(1),
        }
        assert all(torch.equal(grad > 0, learns) for grad in by_rank.values())
    assert seen == {1, 2, 3}


def test_the_trained_block_of_dylora_gets_the_gradient_of_the_product() -> None:
    """Compare with autograd through the product of the blocks that take part in the step."""
    _, layer = dylora(nn.Linear(9, 7))
    torch.manual_seed(3)
    dense = layer.train().delta().dense()
    (last,) = (n for n, head in heads(layer).items() if torch.allclose(dense, head, atol=1e-5))
    weights = torch.randn_like(dense)
    (dense * weights).sum().backward()
    tensors = {key: tensor.detach().clone() for key, tensor in layer.tensors().items()}
    for tensor in tensors.values():
        tensor.requires_grad_()
    head = slice(0, last * BLOCK)
    plain = 0.5 * tensors["lora_up.weight"][:, head] @ tensors["lora_down.weight"][head]
    (plain * weights).sum().backward()
    block = slice((last - 1) * BLOCK, last * BLOCK)
    for key, axis in (("lora_up.weight", 1), ("lora_down.weight", 0)):
        grads = (layer.tensors()[key].grad, tensors[key].grad)
        found, wanted = (grad.movedim(axis, 0)[block] for grad in grads)
        torch.testing.assert_close(found, wanted)


def test_dylora_uses_all_ranks_in_eval_mode_whatever_the_seed() -> None:
    """lycoris-lora draws a rank in eval mode, too."""
    _, layer = dylora(nn.Linear(9, 7))
    full = heads(layer)[RANK // BLOCK]
    for seed in range(5):
        torch.manual_seed(seed)
        torch.testing.assert_close(layer.eval().delta().dense(), full)


def test_the_same_seed_draws_the_same_ranks_of_dylora() -> None:
    _, layer = dylora(nn.Linear(9, 7))
    results = []
    for seed in (4, 1, 4):
        torch.manual_seed(seed)
        results.append(torch.stack([layer.train().delta().dense() for _ in range(6)]))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


def test_dylora_loads_the_file_that_it_wrote() -> None:
    """lycoris-lora's DyLoRA loads none: its load_state_dict does nothing."""
    network, _ = dylora(nn.Linear(9, 7))
    state = network.adapter_state(dtype=None)
    other, layer = dylora(nn.Linear(9, 7))
    nn.init.zeros_(layer.tensors()["lora_up.weight"])
    other.load_adapter_state(state)
    found = other.adapter_state(dtype=None).tensors
    assert all(torch.equal(found[key], tensor) for key, tensor in state.tensors.items())
    assert set(state.tensors) == {
        f"lycoris_0.{name}" for name in ("lora_up.weight", "lora_down.weight", "alpha")
    }


@pytest.mark.parametrize(
    ("options", "message", "where"),
    [
        (
            {"block_size": 4},
            r"blocks of 4 ranks do not fill rank 6\n.*\[1, 2, 3, 6\], or .* a multiple of 4",
            "model.0, block_size",
        ),
        ({"block_size": 8}, "blocks of 8 ranks do not fill rank 6", "model.0, block_size"),
        ({"use_tucker": True}, 'algo = "dylora" has no use_tucker', "use_tucker"),
    ],
)
def test_dylora_options_that_do_not_fit_are_refused_with_layer_and_option(
    options: dict[str, int], message: str, where: str
) -> None:
    config = NetworkConfig(algo="dylora", network_dim=RANK, **{"block_size": BLOCK, **options})
    with pytest.raises(ConfigError, match=message) as caught:
        dylora(nn.Linear(9, 7), config)
    assert caught.value.where == where


def test_a_block_size_below_1_is_refused() -> None:
    with pytest.raises(ConfigError, match="block_size is 0"):
        NetworkConfig(algo="dylora", block_size=0)


def test_files_of_dylora_are_detected_as_lora() -> None:
    assert algorithm("dylora").trains == "lora"


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_training_step_of_dylora_compiles_as_one_graph() -> None:
    module = nn.Linear(9, 7)
    network, layer = dylora(module)
    x, wanted = torch.randn(3, 9), heads(layer)
    plain = module(x)
    network.train()
    with network.injected():
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        for _ in range(3):
            update = compiled(x) - plain
            assert any(torch.allclose(update, x @ head.T, atol=1e-4) for head in wanted.values())
