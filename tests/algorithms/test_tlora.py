"""T-LoRA: what it starts from, which ranks a sample sees, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms.tlora import ranks_at
from lycoris_ext.errors import ConfigError, ShapeError
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network

CONFIG = NetworkConfig(algo="tlora", network_dim=4, network_alpha=4.0)
LAYERS = [
    (nn.Linear(9, 7), (3, 5, 9)),
    (nn.Linear(9, 7), (3, 9)),
    (nn.Conv2d(5, 6, 3, padding=1, stride=2), (3, 5, 8, 8)),
    (nn.Conv2d(6, 8, 3, padding=1, groups=2), (3, 6, 8, 8)),
]


def tlora(module: nn.Module, perturbed: bool = True) -> tuple[Network, AdapterLayer]:
    torch.manual_seed(0)
    network = build_network({"unet": nn.Sequential(module).requires_grad_(False)}, BY_NAME)
    if perturbed:
        for parameter in network.parameters():
            parameter.data += torch.randn_like(parameter) * 0.2
    (layer,) = network.layers.values()
    return network, layer


BY_NAME = NetworkConfig(algo="tlora", network_dim=4, network_alpha=4.0, conv_dim=4, include=("0",))


@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_tlora_starts_from_the_largest_singular_directions_of_the_weight(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    _, layer = tlora(module, perturbed=False)
    q, p, values = (tensor.detach().flatten(1) for tensor in layer.tensors().values())
    weight = module.weight.detach().flatten(1)
    rest = weight - p * values @ q
    torch.testing.assert_close(torch.linalg.matrix_norm(rest, 2), torch.linalg.svdvals(weight)[4])


def test_the_number_of_tlora_ranks_shrinks_with_the_timestep() -> None:
    timesteps = torch.tensor([0, 1, 499, 500, 999, 1000])
    assert ranks_at(timesteps, 8).sum(1).tolist() == [8, 7, 4, 4, 1, 1]
    assert ranks_at(timesteps, 1).sum(1).tolist() == [1] * 6
    assert ranks_at(torch.tensor([710]), 101).sum() == 30  # 0.29 * 100 is less than 29 in floats


@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_each_sample_of_a_batch_sees_its_own_ranks(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    network, layer = tlora(module)
    network.train()
    x, timesteps = torch.randn(shape), torch.tensor([0, 400, 999])
    plain = module(x)
    with network.injected():
        network.set_timesteps(timesteps)
        together = module(x)
        together.square().sum().backward()
        grads = [parameter.grad.clone() for parameter in layer.parameters()]
        layer.zero_grad()
        for sample in range(3):
            network.set_timesteps(timesteps[sample : sample + 1])
            alone = module(x[sample : sample + 1])
            torch.testing.assert_close(together[sample : sample + 1], alone)
            alone.square().sum().backward()
        for grad, parameter in zip(grads, layer.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad, rtol=1e-4, atol=1e-4)
        network.eval()
        torch.testing.assert_close(module(x)[0], together[0])  # all ranks where there is no noise
    assert not torch.allclose((together - plain)[2], plain[2] * 0, atol=1e-3)


@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_tlora_uses_all_ranks_in_eval_mode_whatever_the_last_timesteps(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    """Whatever timesteps the last training step told."""
    network, _ = tlora(module)
    x = torch.randn(shape)
    with network.eval().injected():
        wanted = module(x)
        network.train().set_timesteps(torch.tensor([999, 700, 400]))
        assert not torch.allclose(module(x), wanted)
        network.eval()
        assert torch.equal(module(x), wanted)


@pytest.mark.parametrize(("module", "shape"), LAYERS)
def test_a_sample_sees_what_its_first_ranks_have_learned_since_the_start(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    network, layer = tlora(module)
    start, _ = tlora(module, perturbed=False)
    network.train()
    network.set_timesteps(torch.tensor([500]))  # 2 of 4 ranks
    (first,) = start.layers.values()

    def head(tensors: dict[str, Tensor]) -> Tensor:
        q, p, values = (tensor.detach().flatten(1) for tensor in tensors.values())
        return p[:, :2] * values[:, :2] @ q[:2]

    wanted = (head(layer.tensors()) - head(first.tensors())).reshape(module.weight.shape)
    x = torch.randn(1, *shape[1:])
    plain = module(x)
    with network.injected():
        found = module(x) - plain
    spec = layer.plan.layer
    torch.testing.assert_close(found, spec.op(spec.pad(x), wanted), rtol=1e-4, atol=1e-5)


def test_timesteps_reach_the_unet_and_not_the_text_encoder() -> None:
    models = {name: nn.Sequential(nn.Linear(4, 4)) for name in ("unet", "text_encoder")}
    network = build_network(models, NetworkConfig(algo="tlora", network_dim=2, include=("0",)))
    network.set_timesteps(torch.tensor([3]))
    told = {network.sites[key].target: layer.timesteps for key, layer in network.layers.items()}
    assert told["text_encoder"] is None
    assert told["unet"] is not None


def test_a_network_in_training_merges_all_ranks() -> None:
    module, shape = nn.Linear(9, 7), (3, 9)
    network, _ = tlora(module)
    x = torch.randn(shape)
    with network.eval().injected():
        wanted = module(x)
    network.train().set_timesteps(torch.tensor([999, 0, 5]))
    network.merge()
    torch.testing.assert_close(module(x), wanted)
    network.unmerge()


def test_a_batch_of_another_size_than_the_timesteps_is_refused() -> None:
    network, _ = tlora(nn.Linear(9, 7))
    network.train().set_timesteps(torch.tensor([1, 2]))
    with network.injected(), pytest.raises(ShapeError, match=r"2 samples .* shape \(3, 9\)"):
        next(iter(network.sites.values())).module(torch.randn(3, 9))


def test_the_start_of_tlora_is_neither_in_files_nor_in_the_state_dict() -> None:
    network, _ = tlora(nn.Linear(9, 7))
    assert not any("origin" in key for key in network.state_dict())
    names = {key.partition(".")[2] for key in network.adapter_state().tensors}
    assert names == {"q_layer.weight", "p_layer.weight", "lambda_layer", "alpha"}


def test_a_rank_above_the_layers_width_still_starts_without_a_change() -> None:
    model = nn.Sequential(nn.Linear(9, 2), nn.Linear(2, 9), nn.Linear(9, 9))
    network = build_network({"model": model}, CONFIG)
    before = model(x := torch.randn(3, 9))
    with network.injected():
        torch.testing.assert_close(model(x), before)
    assert next(iter(network.layers.values())).tensors()["p_layer.weight"].shape == (2, 4)


def test_a_small_update_beside_a_large_start_survives_bfloat16() -> None:
    """Trained product and start are each 1e4 times the update, so their outputs must not be
    computed apart and subtracted."""
    module = nn.Linear(64, 64, bias=False)
    nn.init.normal_(module.weight)
    _, layer = tlora(module, perturbed=False)
    with torch.no_grad():
        layer.tensors()["q_layer.weight"].add_(torch.randn(4, 64) * 1e-5)
    x = torch.randn(10, 64)
    delta = layer.delta(FrozenLayer.of(module, layer.plan.layer))
    wanted = x @ delta.dense().T
    found = delta.apply(x.bfloat16(), None, "chain").float()
    assert 0 < wanted.norm() < 0.01 * module(x).norm()
    assert (found - wanted).norm() < 0.01 * wanted.norm()


def test_limiting_the_norm_of_tlora_is_refused() -> None:
    network, _ = tlora(nn.Linear(9, 7))
    with pytest.raises(ConfigError, match="scale_weight_norms: a norm cannot be limited for tlora"):
        network.limit_norms(1.0)


def test_use_scalar_is_refused_for_tlora() -> None:
    with pytest.raises(ConfigError, match="not proportional to any of its tensors"):
        model = nn.Sequential(nn.Linear(9, 7))
        build_network({"model": model}, NetworkConfig(algo="tlora", network_dim=4, use_scalar=True))


def test_tlora_on_a_quantised_weight_is_refused() -> None:
    module = nn.Linear(9, 7, bias=False)
    module.weight = nn.Parameter(torch.zeros(63, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"model\.0, algo: Linear holds a packed weight of uint8"):
        build_network({"model": nn.Sequential(module)}, CONFIG)


def test_tlora_over_a_model_on_meta_stays_on_meta() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(9, 7))
    network = build_network({"model": model}, CONFIG)
    assert all(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_training_step_of_tlora_compiles_as_one_graph() -> None:
    module = nn.Linear(9, 7)
    network, _ = tlora(module)
    network.train()
    x = torch.randn(2, 5, 9)
    with network.injected():
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        for timesteps in ([0, 999], [500, 3]):
            network.set_timesteps(torch.tensor(timesteps))
            torch.testing.assert_close(compiled(x), module(x))


def test_a_tlora_file_gives_the_same_outputs_after_loading() -> None:
    module = nn.Linear(9, 7)
    network, _ = tlora(module)
    x = torch.randn(3, 9)
    again = load_network(network.adapter_state(dtype=None), {"unet": nn.Sequential(module)})
    with network.eval().injected():
        wanted = module(x)
    with again.injected():
        assert torch.equal(module(x), wanted)
