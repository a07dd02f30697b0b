"""Precomputed factors: the same gradients in fewer kernels, and never outdated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lycoris_ext.algorithms import algorithm_names
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import Banks, Network, NetworkConfig, build_network
from lycoris_ext.training.step import optimizer_step

LOHA = {"algo": "loha", "network_dim": 2, "conv_dim": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tucker": {"use_tucker": True},
    "scalar": {"use_scalar": True},
    "rows dropped": {"rank_dropout": 0.4},
    "everything dropped": {"dropout": 0.3, "rank_dropout": 0.3, "module_dropout": 0.3},
    "lora": {"algo": "lora"},
    "lokr": {"algo": "lokr", "factor": 4},
}


class Model(nn.Module):
    """Layers of every geometry, several of one shape, and one that no input reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(6, 8, 3, padding=1)
        self.same = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.linears = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.idle = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x).tanh()
        for conv in (*self.same, self.strided):
            x = conv(x).tanh()
        x = x.flatten(2)
        for linear in self.linears:
            x = linear(x).tanh()
        return x


def perturbed(model: nn.Module, **options: Any) -> Network:
    network = build_network({"model": model}, NetworkConfig(**{**LOHA, **options}))
    network = network.to(next(model.parameters()).dtype)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.4, generator=generator)
    return network.train()


@pytest.fixture
def model() -> Model:
    torch.manual_seed(1)
    return Model().double().requires_grad_(False)


@pytest.fixture
def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(1, 6, 8, 8, generator=generator, dtype=torch.float64) for _ in range(3)]


def accumulate(
    model: nn.Module, batches: list[Tensor], between: Callable[[], object] = lambda: None
) -> None:
    for number, x in enumerate(batches):
        between()
        torch.manual_seed(number)  # of the dropouts
        (model(x) * x.mean()).square().mean().backward()


def gradients(network: Network) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def expected(network: Network, work: Callable[[], None]) -> dict[str, Tensor | None]:
    """Return the gradients of `work` without precomputed factors, and clear them."""
    work()
    found = gradients(network)
    network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_precomputed_factors_give_the_gradients_of_plain_accumulation(
    model: Model, batches: list[Tensor], variant: str
) -> None:
    network = perturbed(model, **VARIANTS[variant])
    banks = Banks(network.layers.values())
    assert bool(banks.groups) == (variant not in ("lora", "lokr"))  # they build nothing
    with network.injected():
        wanted = expected(network, lambda: accumulate(model, batches))
        with banks.precomputed_once():
            accumulate(model, batches)
        found = gradients(network)
    idle = {name for name, gradient in wanted.items() if gradient is None}
    assert {name.split(".")[0] for name in idle} == {"lycoris_idle"}
    assert {name for name, gradient in found.items() if gradient is None} == idle
    for name, parameter in network.named_parameters():
        if name not in idle:
            torch.testing.assert_close(found[name], wanted[name], rtol=1e-12, atol=1e-13)
            assert found[name].stride() == parameter.stride()


def test_gradients_of_precomputed_factors_are_added_to_earlier_ones(
    model: Model, batches: list[Tensor]
) -> None:
    network = perturbed(model)
    banks = Banks(network.layers.values())
    with network.injected():
        wanted = expected(network, lambda: accumulate(model, batches * 2))
        for _ in range(2):
            with banks.precomputed_once():
                accumulate(model, batches)
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-12, atol=1e-13)


def test_a_layer_may_take_another_path_in_every_batch() -> None:
    """Few positions are cheapest as a chain of factors, many as a merged weight."""
    module = nn.Linear(48, 48).requires_grad_(False)
    network = perturbed(nn.Sequential(module), network_dim=4)
    (layer,) = network.layers.values()
    few, many = torch.randn(4, 48), torch.randn(4000, 48)
    assert [layer.delta().cheapest(len(x), True) for x in (few, many)] == ["chain", "merged"]
    batches = [few, many, few]
    with network.injected():
        wanted = expected(network, lambda: accumulate(module, batches))
        with Banks([layer]).precomputed_once():
            accumulate(module, batches[1:2])
            assert all(tensor.grad is None for tensor in layer.precomputed)
        network.zero_grad(set_to_none=True)
        with Banks([layer]).precomputed_once():
            accumulate(module, batches)
            assert all(tensor.grad is not None for tensor in layer.precomputed)
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-5)


def test_frozen_layers_stay_without_gradient(model: Model, batches: list[Tensor]) -> None:
    network = perturbed(model)
    frozen = network.layers["lycoris_same_1"].requires_grad_(False)
    with network.injected():
        wanted = expected(network, lambda: accumulate(model, batches))
        with Banks(network.layers.values()).precomputed_once():
            accumulate(model, batches)
            assert all(tensor.grad is None for tensor in frozen.precomputed)
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("max_norm", [0.0, 1e-3])
def test_precomputed_factors_give_the_same_steps_with_and_without_clipping(
    model: Model, batches: list[Tensor], max_norm: float
) -> None:
    def trained(use: bool) -> dict[str, Tensor]:
        network = perturbed(model)
        banks = Banks(network.layers.values() if use else ())
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
        optimizer.param_groups[0]["base_lr"] = 1e-2
        with network.injected():
            for _ in range(3):
                with banks.precomputed_once():
                    accumulate(model, batches)
                optimizer_step(optimizer, 1.0, max_norm)
                network.limit_norms(2.0)
        return network.state_dict()

    with_bank, without = trained(True), trained(False)
    for name, tensor in without.items():
        torch.testing.assert_close(with_bank[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_picture_drawn_inside_precomputed_once_uses_the_present_parameters(
    model: Model, batches: list[Tensor], context: Callable[[], Any]
) -> None:
    network = perturbed(model, dropout=0.3)
    banks = Banks(network.layers.values())

    def picture() -> Tensor:
        network.eval()
        with context():
            drawn = model(batches[0])
        network.train()
        return drawn

    with network.injected():
        wanted = expected(network, lambda: accumulate(model, batches))
        for parameter in network.parameters():  # what is built must not be from before
            parameter.data.mul_(1.1)
        after = picture()
        with banks.precomputed_once():
            torch.testing.assert_close(picture(), after, rtol=1e-12, atol=1e-13)
        for parameter in network.parameters():
            parameter.data.div_(1.1)
        with banks.precomputed_once():
            accumulate(model, batches, between=picture)
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-12, atol=1e-13)


def test_an_optimizer_step_inside_precomputed_once_is_refused_and_drops_the_factors(
    model: Model, batches: list[Tensor]
) -> None:
    network = perturbed(model)
    banks = Banks(network.layers.values())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with network.injected():
        refused = pytest.raises(
            ConfigError, match=r"inside precomputed_once\n.*step the optimizer after"
        )
        with refused, banks.precomputed_once():
            for parameter in network.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        assert not any(layer.precomputed for layer in network.layers.values())
        with banks.precomputed_once():
            accumulate(model, batches)


def test_precomputed_once_inside_precomputed_once_is_refused(model: Model) -> None:
    network = perturbed(model)
    with Banks(network.layers.values()).precomputed_once():
        again = Banks(network.layers.values()).precomputed_once()
        with pytest.raises(ConfigError, match=r"already\n.*leave precomputed_once first"), again:
            pass
        assert any(layer.precomputed for layer in network.layers.values())


def test_an_error_inside_precomputed_once_leaves_no_gradients() -> None:
    module = nn.Linear(16, 16).requires_grad_(False)
    network = perturbed(nn.Sequential(module))
    banks, fault = Banks(network.layers.values()), pytest.raises(RuntimeError, match="elsewhere")
    with network.injected(), fault, banks.precomputed_once():
        accumulate(module, [torch.randn(2, 16)])
        raise RuntimeError("elsewhere")
    assert all(gradient is None for gradient in gradients(network).values())
    assert not any(layer.precomputed for layer in network.layers.values())


def test_factors_of_query_key_and_value_lie_side_by_side_in_memory() -> None:
    block = BasicTransformerBlock(32, 2, 16, cross_attention_dim=24)
    network = perturbed(block)
    with Banks(network.layers.values()).precomputed_once():
        for names in (("attn1_to_q", "attn1_to_k", "attn1_to_v"), ("attn2_to_k", "attn2_to_v")):
            downs = [network.layers[f"lycoris_{name}"].precomputed[1] for name in names]
            starts = [down.storage_offset() for down in downs]
            assert len({down.untyped_storage().data_ptr() for down in downs}) == 1
            assert starts == [starts[0] + i * downs[0].numel() for i in range(len(downs))]


def test_factors_larger_than_the_weight_are_not_precomputed(model: Model) -> None:
    assert Banks(perturbed(model, network_dim=8, conv_dim=8).layers.values()).groups == []


class Operators(TorchDispatchMode):
    """Keeps the names of operations; given a device, fails where one waits for it or leaves it."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.names: list[str] = []
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.names.append(func._opname)
        if self.device is not None:
            assert func._opname not in ("_local_scalar_dense", "is_nonzero", "nonzero", "equal")
            for tensor in out if isinstance(out, (tuple, list)) else [out]:
                assert not isinstance(tensor, Tensor) or tensor.device.type == self.device, func
        return out


def test_six_layers_are_precomputed_in_as_many_kernels_as_two() -> None:
    def kernels(count: int) -> int:
        model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(count))).requires_grad_(False)
        network = perturbed(model)
        banks, x = Banks(network.layers.values()), torch.randn(2, 16)
        with network.injected(), Operators() as every, banks.precomputed_once():
            before = len(every.names)
            model(x).sum().backward()
            after = len(every.names)
        return before + len(every.names) - after

    assert kernels(6) == kernels(2)
    assert 0 < kernels(6) < 40


def test_a_step_never_waits_for_the_device_and_draws_its_dropouts_there() -> None:
    """On the meta device there is nothing to wait for: whatever asks for a number fails."""
    with torch.device("meta"):
        model = Model().bfloat16().requires_grad_(False)
        x = torch.empty(2, 6, 8, 8, dtype=torch.bfloat16)
    options = {"dropout": 0.3, "rank_dropout": 0.3, "module_dropout": 0.3, "use_scalar": True}
    network = build_network({"model": model}, NetworkConfig(**LOHA, **options)).train()
    banks = Banks(network.layers.values())
    with network.injected(), Operators("meta") as operators:
        model(x).sum().backward()
        with banks.precomputed_once():
            for _ in range(2):
                model(x).sum().backward()
    assert {"rand", "bernoulli_", "mm"} <= set(operators.names)


FORMS: dict[str, dict[str, Any]] = {
    **{name: {"algo": name} for name in algorithm_names() if name != "norm"},
    **{
        f"{name}, DoRA over the {side}put": {"algo": name, "dora_wd": True, "wd_on_output": output}
        for name in ("lora", "loha", "lokr", "dylora")
        for side, output in (("in", False), ("out", True))
    },
    "boft, rescaled": {"algo": "boft", "constraint": 0.1, "rescaled": True},
    "ia3 on the input": {"algo": "ia3", "train_on_input": True},
    "loha, Tucker": {"algo": "loha", "use_tucker": True, "use_scalar": True},
    "lokr, Tucker": {"algo": "lokr", "use_tucker": True, "factor": 4},
}


@pytest.mark.parametrize("form", FORMS)
def test_no_algorithm_reads_a_number_off_the_device_in_a_step(form: str) -> None:
    model = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 1)).bfloat16()
    sizes = {"network_dim": 4, "conv_dim": 4}
    drops = {"dropout": 0.1, "rank_dropout": 0.1, "module_dropout": 0.1}
    network = build_network(
        {"model": model}, NetworkConfig(**sizes, **drops, **FORMS[form])
    ).train()
    network.set_timesteps(torch.tensor([3, 400]))
    with network.injected(), Operators("cpu"):
        model(torch.randn(2, 32, 4, 4, dtype=torch.bfloat16)).sum().backward()


# dynamo itself instantiates autograd.Function, which torch deprecates
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_transformer_block_compiles_as_one_graph_with_precomputed_factors_or_without() -> None:
    torch.manual_seed(0)
    block = BasicTransformerBlock(32, 2, 16, cross_attention_dim=24).requires_grad_(False)
    network = perturbed(block, rank_dropout=0.2)
    banks = Banks(network.layers.values())
    x, text = torch.randn(1, 9, 32), torch.randn(1, 5, 24)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")

    def run(model: Callable[..., Tensor]) -> list[Tensor]:
        torch.manual_seed(7)
        out = model(x, encoder_hidden_states=text)
        out.square().mean().backward()
        return [out.detach()]

    def results(model: Callable[..., Tensor], built: bool) -> list[Tensor]:
        with Banks(network.layers.values() if built else ()).precomputed_once():
            out = run(model) + run(model)
        out += [parameter.grad.clone() for parameter in network.parameters()]
        network.zero_grad(set_to_none=True)
        return out

    assert banks.groups
    with network.injected():
        wanted = results(block, built=False)
        for built in (False, True, True):
            found = results(compiled, built)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
