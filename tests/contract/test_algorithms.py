"""What holds for every algorithm; a new one inherits all of it by registering."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import Plan, algorithm, detect
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import save_adapter
from lycoris_ext.functional.delta import sum_of
from lycoris_ext.network import NetworkConfig, build_network, load_network
from tests.contract.cases import (
    CASES,
    FORMS,
    NORMS,
    RANK,
    bias_of,
    config_of,
    every_case,
    make,
    only_layer,
    perturbed,
    sites_of,
    undecomposed,
    update,
)

# torch warns that an even kernel needs a padded copy; that geometry is the point of the case
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


@every_case
def test_all_paths_give_the_same_output_and_gradients(algo: str, variant: str, site: str) -> None:
    module, network, x = make(algo, variant, site)
    layer, host = only_layer(network), module[0]
    spec, bias = layer.plan.layer, bias_of(module)

    def run(path: str) -> list[Tensor]:
        inputs = x.clone().requires_grad_()
        padded, delta = spec.pad(inputs), update(network)
        if path == "reference":
            out = spec.op(padded, host.weight + delta.dense(), sum_of([bias, delta.bias()]))
        elif path == "merged":
            out = delta.apply_merged(padded, host.weight, bias)
        else:
            out = delta.apply(padded, spec.op(padded, host.weight, bias), path)
        leaves = [inputs, *layer.parameters()]
        return [out, *torch.autograd.grad((out * out.sin()).sum(), leaves)]

    expected = run("reference")
    has_chain = spec.groups == 1 and update(network).thin_cost() is not None
    paths = ["dense", "merged"] + (["chain"] if has_chain else [])
    for path in paths:
        for found, wanted in zip(run(path), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@every_case
def test_an_activation_after_the_layer_may_work_in_place(
    algo: str, variant: str, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, network, x = make(algo, variant, site, dtype=torch.float32)
    layer, activation = only_layer(network), nn.LeakyReLU(0.1)
    model = nn.Sequential(module, activation)

    def gradients(inplace: bool) -> tuple[Tensor, ...]:
        activation.inplace = inplace
        inputs = x.clone().requires_grad_()
        leaves = [inputs, *layer.parameters()]
        return torch.autograd.grad(model(inputs).square().sum(), leaves)

    has_chain = layer.plan.layer.groups == 1 and update(network).thin_cost() is not None
    for path in ["dense", "merged"] + (["chain"] if has_chain else []):
        monkeypatch.setattr(layer, "path", lambda *_, path=path: path)
        with network.injected():
            torch.testing.assert_close(gradients(inplace=True), gradients(inplace=False))


@pytest.mark.parametrize(
    ("algo", "variant", "site"), [case for case in CASES if case[2] not in NORMS]
)
def test_a_sample_without_batch_axis_gives_the_output_that_it_gives_in_a_batch(
    algo: str, variant: str, site: str
) -> None:
    module, network, x = make(algo, variant, site)
    one = x[:1] if only_layer(network).plan.layer.is_conv else x.flatten(0, -2)[:1]
    with network.injected():
        torch.testing.assert_close(module(one[0]), module(one)[0])


@every_case
def test_the_injected_forward_equals_that_of_the_merged_model(
    algo: str, variant: str, site: str
) -> None:
    for alpha, multiplier in [(1.0, 1.0), (float(RANK), 0.7), (3.0, -1.0)]:
        module, network, x = make(algo, variant, site, alpha)
        before = module(x)
        network.multiplier = multiplier
        with network.injected():
            forward = module(x)
        assert (forward - before).abs().max() > 1e-3  # the adapter does something
        original = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        network.merge(multiplier)
        # merge adds in float32, as it must for half-precision bases
        torch.testing.assert_close(module(x), forward, rtol=1e-5, atol=1e-5)
        network.unmerge()
        assert all(torch.equal(module.state_dict()[name], original[name]) for name in original)
        assert torch.equal(module(x), before)


@every_case
def test_scale_is_alpha_over_rank_applied_once(algo: str, variant: str, site: str) -> None:
    _, network, _ = make(algo, variant, site, alpha=4.0)
    wanted = undecomposed(network).dense()
    _, network, _ = make(algo, variant, site, alpha=1.0)
    ratio = 4.0 if only_layer(network).plan.has_rank else 1.0  # nothing stored has a rank: scale 1
    torch.testing.assert_close(undecomposed(network).dense() * ratio, wanted)


@every_case
def test_a_limited_norm_keeps_the_direction(algo: str, variant: str, site: str) -> None:
    _, network, _ = make(algo, variant, site)
    layer = only_layer(network)
    if layer.plan.norm_degree is None:
        with pytest.raises(ConfigError, match=f"cannot be limited for {algo}: its update is not"):
            network.limit_norms(1.0)
        return
    plan = layer.plan.without_dora

    def bare() -> Tensor:
        return plan.delta(layer.tensors(), scalar=layer.scalar).dense().detach()

    before, lengths = bare(), layer.tensors().get("dora_scale")
    kept = None if lengths is None else lengths.clone()
    assert network.limit_norms(0.5 * float(before.norm()))[0] == 1
    torch.testing.assert_close(bare(), 0.5 * before)
    assert kept is None or torch.equal(layer.tensors()["dora_scale"], kept)


@every_case
def test_a_file_comes_back_bit_for_bit(algo: str, variant: str, site: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    module, network, x = make(algo, variant, site, dtype=torch.float32)
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, network.adapter_state(dtype=None))
    again = load_network(path, {"model": module})
    assert only_layer(again).plan.algorithm.name == (algorithm(algo).trains or algo)
    assert only_layer(again).plan.uses_core == only_layer(network).plan.uses_core
    state, state_again = network.adapter_state(dtype=None), again.adapter_state(dtype=None)
    assert state.tensors.keys() == state_again.tensors.keys()
    for key, tensor in state.tensors.items():
        assert torch.equal(tensor, state_again.tensors[key]), key
    network.eval()
    with network.injected():
        wanted = module(x)
    with again.injected():
        torch.testing.assert_close(module(x), wanted, rtol=1e-5, atol=1e-5)


@every_case
def test_detect_without_the_layer_reads_rank_and_alpha(algo: str, variant: str, site: str) -> None:
    _, network, _ = make(algo, variant, site)
    ((_, tensors),) = network.adapter_state(dtype=None).layers().items()
    plan = detect(tensors, "layer")
    assert isinstance(plan, Plan)
    assert plan.algorithm.name == (algorithm(algo).trains or algo)
    assert plan.rank == (only_layer(network).plan.rank if plan.has_rank else 0)
    assert plan.scale == pytest.approx(only_layer(network).plan.scale)


@every_case
def test_a_fresh_adapter_changes_nothing_and_can_learn(algo: str, variant: str, site: str) -> None:
    build, shape = sites_of(algo)[site]
    module = nn.Sequential(build()).requires_grad_(False)
    network = build_network({"model": module}, config_of(algo, variant))
    x = torch.randn(shape)
    before = module(x)
    with network.injected():
        out = module(x)
        torch.testing.assert_close(out, before, rtol=1e-6, atol=1e-6)
        out.sin().sum().backward()  # no rotation would change the length
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@every_case
def test_two_adapters_stack_in_any_order(algo: str, variant: str, site: str) -> None:
    module, first, x = make(algo, variant, site)
    other = NetworkConfig(algo=algo if algorithm(algo).of_norms else "loha", network_dim=2)
    second = perturbed(build_network({"model": module}, other), 0.5).double()
    before = module(x)
    results = []
    for order in ([first, second], [second, first]):
        for network in order:
            network.inject()
        results.append(module(x))
        for network in order:  # leaves in the order of arrival, not reversed
            network.remove()
        assert "forward" not in module[0].__dict__
        assert torch.equal(module(x), before)
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)
    updates, spec = [update(network) for network in (first, second)], only_layer(first).plan.layer
    alone = sum(delta.dense() for delta in updates)
    bias = sum_of([bias_of(module), *(delta.bias() for delta in updates)])
    expected = spec.op(spec.pad(x), module[0].weight + alone, bias)
    torch.testing.assert_close(results[0], expected, rtol=1e-10, atol=1e-12)


# dynamo itself instantiates autograd.Function, which torch deprecates
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("algo", "variant", "site"),
    [
        case
        for case in CASES
        if case[1:]
        in (
            ("plain", "linear"),
            ("scalar", "linear"),
            ("dora", "linear"),
            ("dora on output", "linear"),
            ("tucker", "conv 3x3 strided"),
        )
        or (case[1] == "plain" and case[2] in NORMS)
    ],
)
def test_every_algorithm_compiles_as_one_graph(algo: str, variant: str, site: str) -> None:
    module, network, x = make(algo, variant, site, dtype=torch.float32)
    with network.injected():
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        found, wanted = compiled(x), module(x)  # nothing was computed before
        torch.testing.assert_close(found, wanted)
        wanted_grads = torch.autograd.grad(wanted.square().sum(), list(network.parameters()))
        found_grads = torch.autograd.grad(found.square().sum(), list(network.parameters()))
        torch.testing.assert_close(found_grads, wanted_grads, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("algo", "variant"),
    [(algo, form) for algo in FORMS for form in ("plain", "tucker") if form in FORMS[algo]],
)
def test_autocast_agrees_with_float32(algo: str, variant: str) -> None:
    for site in NORMS if algorithm(algo).of_norms else ("linear", "conv 3x3 strided"):
        module, network, x = make(algo, variant, site, dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            dtype = module(x).dtype
        with network.injected():
            wanted = module(x)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = module(x)
            found.float().square().sum().backward()
        assert found.dtype == dtype
        assert (found.float() - wanted).norm() <= 0.02 * wanted.norm()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())
