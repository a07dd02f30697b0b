"""What holds for every algorithm; a new one inherits all of it by registering.

Every factor is perturbed first: a fresh adapter is zero and hides every mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import Options, Plan, algorithm, algorithm_names, detect
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import save_adapter
from lycoris_ext.functional import Base, Delta
from lycoris_ext.functional.delta import sum_of
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network

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
    """Whether an algorithm has what a form asks for."""
    chosen = algorithm(name)
    ways = [way for part in chosen.parts.values() for way in part]
    if "use_scalar" in told and not any(factor.zero for way in ways for factor in way.factors):
        return False  # the update is proportional to nothing, so there can be no scalar
    return all(chosen.obeys(option) for option in told if option in OPTIONS)


OPTIONS = {field.name for field in fields(Options)}
FORMS = {
    name: {
        form: told
        for form, told in {**VARIANTS, **DORA, **OWN.get(name, {})}.items()
        if takes(name, told)
    }
    for name in algorithm_names()
}
CASES = [(algo, form, site) for algo in FORMS for form in FORMS[algo] for site in sites_of(algo)]
# torch warns that an even kernel needs a padded copy; that geometry is the point of the case
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
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
    """(module, perturbed network over it, input)"""
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
    """The only layer's, as its next forward applies it."""
    ((key, layer),) = network.layers.items()
    return layer.delta(Base.of(network.sites[key].module, layer.plan.layer))


def undecomposed(network: Network) -> Delta:
    """The only layer's update without DoRA, which is not proportional to it."""
    ((key, layer),) = network.layers.items()
    plan = replace(layer.plan, dora=None)
    return plan.delta(layer.tensors(), Base.of(network.sites[key].module, plan.layer))


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
def test_forward_equals_merged_model(algo: str, variant: str, site: str) -> None:
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
    plan = layer.plan.undecomposed

    def bare() -> Tensor:
        return plan.delta(layer.tensors(), scalar=layer.scalar).dense().detach()

    before, lengths = bare(), layer.tensors().get("dora_scale")
    kept = None if lengths is None else lengths.clone()
    assert network.limit_norms(0.5 * float(before.norm())) == 1
    torch.testing.assert_close(bare(), 0.5 * before)
    assert kept is None or torch.equal(layer.tensors()["dora_scale"], kept)


@every_case
def test_file_round_trip_is_bitwise(algo: str, variant: str, site: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
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
    other = NetworkConfig(algo if algorithm(algo).of_norms else "loha", network_dim=2)
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


@every_case
def test_small_updates_survive_a_bfloat16_base(algo: str, variant: str, site: str) -> None:
    module, network, x = make(algo, variant, site, dtype=torch.float32)
    module[0].weight.normal_(0, 0.03)
    x = x.bfloat16()
    module.to(torch.bfloat16)
    layer = only_layer(network)
    exact = update(network).dense().detach()
    network.multiplier = float(1e-5 / exact.std())  # an update of std 1e-5 on weights of 0.03
    spec, delta = layer.plan.layer, update(network)
    bias = delta.bias()
    bias = None if bias is None else bias.double()
    wanted = spec.op(spec.pad(x).double(), delta.dense().double(), bias)
    path = delta.cheapest(spec.tokens(spec.pad(x)), can_merge=False)
    found = delta.apply(spec.pad(x), None, path).double()
    assert (found - wanted).norm() <= 0.01 * wanted.norm()


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
def test_compiles_as_one_graph(algo: str, variant: str, site: str) -> None:
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
