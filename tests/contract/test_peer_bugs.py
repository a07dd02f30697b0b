"""Faults of lycoris-lora 4.1.3 and PEFT 0.21.2 that are not here.

Most tests do the same to the peer, and find its fault there: so they can fail. Where a newer peer
has mended it, that half of the test goes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from lycoris.config import PRESET
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.models import build_meta
from lycoris_ext.network import Network, NetworkConfig, build_network
from tests.contract.cases import CASES, config_of, every_case, make, only_layer, update
from tests.contract.peer import (
    Model,
    agree,
    change,
    distance,
    lycoris,
    peer_network,
    peers_change,
    perturbed,
    perturbed_peer,
    read,
    reader,
    stored,
)

# as in test_algorithms: the padded copy is the point of that geometry
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")

LINEAR, CONV = (3, 20), (2, 6, 7, 7)


def linear() -> Model:
    return Model(nn.Linear(20, 12))


def conv(dilation: int = 1) -> Model:
    return Model(nn.Conv2d(6, 8, 3, padding=dilation, dilation=dilation))


def ours(model: Model, **options: object) -> Network:
    config = NetworkConfig(**{"network_dim": 4, "network_alpha": 1.0, **options})  # type: ignore[arg-type]
    return perturbed(build_network({"model": model}, config).double())


def theirs(model: Model, **options: object) -> nn.Module:
    config = NetworkConfig(**{"network_dim": 4, "network_alpha": 1.0, **options})  # type: ignore[arg-type]
    return perturbed_peer(peer_network(model, config))


#: What is built, and the length of what the peer merges beside that of what its forward adds.
MERGED = {
    "scaled twice: loha": (linear, LINEAR, {"algo": "loha"}, 0.25),
    "scaled twice: loha, Tucker": (conv, CONV, {"algo": "loha", "use_tucker": True}, 0.25),
    "scaled twice: lokr": (linear, LINEAR, {"algo": "lokr", "factor": 2}, 0.25),
    "scaled twice: rs_lora": (linear, LINEAR, {"algo": "loha", "rs_lora": True}, 0.5),
    "without the scalar": (
        linear,
        LINEAR,
        {"algo": "loha", "use_scalar": True, "network_alpha": 4.0},
        1 / 0.3,
    ),
}


@pytest.mark.parametrize("case", MERGED)
def test_merging_adds_what_the_forward_adds(case: str) -> None:
    build, shape, options, ratio = MERGED[case]
    torch.manual_seed(0)
    model, x = build(), torch.randn(shape).double()
    network, peer, before = ours(model, **options), theirs(model, **options), model(x)

    forward = change(model, x, network)
    network.merge()
    assert distance(model(x) - before, forward) <= 1e-5  # added in float32
    network.unmerge()

    if network.layers["lycoris_layer"].scalar is not None:
        peer.loras[0].scalar.data.fill_(0.3)
    forward = peers_change(model, x, peer)
    peer.merge_to(1.0)
    torch.testing.assert_close(model(x) - before, ratio * forward)


def tucker_product(factors: dict[str, Tensor]) -> Tensor:
    """Return (t1 x w1a x w1b) o (t2 x w2a x w2b), built with torch.einsum alone."""
    first, second = (
        torch.einsum(
            "abkl,ao,bi->oikl",
            factors[f"hada_t{side}"],
            factors[f"hada_w{side}_a"],
            factors[f"hada_w{side}_b"],
        )
        for side in (1, 2)
    )
    return first * second


def test_gradients_of_tucker_loha_are_those_of_torch() -> None:
    """PEFT computes those of hada_w1_a and hada_w2_a with the core of the other side."""
    torch.manual_seed(0)
    model, x = conv(), torch.randn(CONV).double()
    network = ours(model, algo="loha", use_tucker=True, network_alpha=4.0)
    tensors = only_layer(network).tensors()

    def expected(factors: dict[str, Tensor]) -> dict[str, Tensor]:
        leaves = {key: tensor.detach().clone().requires_grad_() for key, tensor in factors.items()}
        weight = model.layer.weight.detach() + tucker_product(leaves)
        out = nn.functional.conv2d(x, weight, model.layer.bias.detach(), padding=1)
        wanted = torch.autograd.grad(out.sin().sum(), list(leaves.values()))
        return dict(zip(leaves, wanted, strict=True))

    with network.injected():
        found = torch.autograd.grad(model(x).sin().sum(), list(tensors.values()))
    for (key, wanted), gradient in zip(expected(tensors).items(), found, strict=True):
        assert distance(gradient, wanted) <= 1e-12, key

    options = {"r": 4, "alpha": 4, "target_modules": ["layer"], "use_effective_conv2d": True}
    adapted = peft.get_peft_model(model, peft.LoHaConfig(**options)).double()
    layer = adapted.base_model.model.layer
    factors = {key: getattr(layer, key)["default"] for key in tensors}
    for factor in factors.values():
        nn.init.normal_(factor, std=0.4)
    adapted(x).sin().sum().backward()
    errors = {key: distance(factors[key].grad, wanted) for key, wanted in expected(factors).items()}
    assert {key for key in errors if errors[key] > 1e-6} == {"hada_w1_a", "hada_w2_a"}


def test_loha_trains_at_a_scale_of_exactly_1() -> None:
    """lycoris-lora's function fails on a scale of 1, which is its own default."""
    torch.manual_seed(0)
    model, x = linear(), torch.randn(LINEAR).double()
    network = ours(model, algo="loha", network_alpha=4.0)
    assert only_layer(network).plan.scale == 1.0
    for path in ("chain", "dense", "merged"):
        delta = update(network)
        if path == "merged":
            out = delta.apply_merged(x, model.layer.weight, model.layer.bias)
        else:
            out = delta.apply(x, model(x), path)
        found = torch.autograd.grad(out.sin().sum(), list(network.parameters()))
        assert all(gradient.norm() > 0 for gradient in found)
    factors = [
        factor.detach().requires_grad_() for factor in only_layer(network).tensors().values()
    ]
    w1_a, w1_b, w2_a, w2_b = factors
    with pytest.raises(TypeError):
        lycoris.functional.loha.diff_weight(w1_b, w1_a, w2_b, w2_a, None, None)


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


READ_BACK = {
    "DoRA over the input": ({"algo": "loha", "dora_wd": True}, RuntimeError),
    "LoKr, unbalanced": (
        {"algo": "lokr", "factor": 2, "network_dim": 1, "unbalanced_factorization": True},
        RuntimeError,
    ),
    "IA3": ({"algo": "ia3"}, TypeError),
    "IA3 on the input": ({"algo": "ia3", "train_on_input": True}, TypeError),
}


@pytest.mark.parametrize("case", READ_BACK)
def test_files_that_lycoris_cannot_read_back_are_read_back_here(case: str, tmp_path: Path) -> None:
    options, fault = READ_BACK[case]
    torch.manual_seed(0)
    model, x = linear(), torch.randn(LINEAR).double()
    network = ours(model, **options)
    tensors = stored(network, tmp_path)
    agree(change(model, x, read(tensors, model, tmp_path)), change(model, x, network))
    with pytest.raises(fault):
        peers_change(model, x, reader(model, tensors))


def test_dylora_is_read_back_and_uses_all_ranks_outside_of_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = linear(), torch.randn(LINEAR).double()
    options = {"algo": "dylora", "block_size": 2}
    network = ours(model, **options).eval()
    wanted = change(model, x, network)
    agree(change(model, x, read(stored(network, tmp_path), model, tmp_path)), wanted)
    assert all(torch.equal(change(model, x, network), wanted) for _ in range(5))

    peer = theirs(model, **options).eval()
    (module,) = peer.loras
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.4)
    assert len({float(peers_change(model, x, peer).detach().norm()) for _ in range(10)}) > 1
    fresh = theirs(model, **options)
    fresh.loras[0].load_state_dict(module.state_dict())
    assert not torch.equal(fresh.loras[0].up_list[0], module.up_list[0])


@pytest.mark.parametrize("algo", ["lora", "loha", "lokr", "glora"])
def test_dropout_drops_in_training_and_not_in_eval_mode(algo: str) -> None:
    torch.manual_seed(0)
    model, x = linear(), torch.randn(LINEAR).double()
    network = ours(model, algo=algo, dropout=0.5).train()
    wanted = change(model, x, network.eval())
    zeros = sum((change(model, x, network.train()) == 0).double().mean() for _ in range(50)) / 50
    assert float(zeros) == pytest.approx(0.5, abs=0.1)
    assert torch.equal(change(model, x, network.eval()), wanted)
    if algo in ("lora", "loha"):
        peer = theirs(model, algo=algo, dropout=0.5)
        for module in peer.loras:
            module.train()
        assert torch.equal(peers_change(model, x, peer), peers_change(model, x, peer))


@pytest.mark.parametrize(
    ("algo", "variant", "site"),
    [case for case in CASES if case[2] in ("linear", "conv 1x1", "conv 3x3 dilated")],
)
def test_bypass_mode_gives_the_same_update_or_is_refused(
    algo: str, variant: str, site: str
) -> None:
    """lycoris-lora's loses DoRA, turns and scales the bias, and fails on a dilated kernel."""
    module, network, x = make(algo, variant, site)
    before = module(x)
    with network.injected():
        wanted = module(x) - before
    config = config_of(algo, variant)
    try:
        bypass = replace(config, bypass_mode=True)
        other = build_network({"model": module}, bypass)
    except ConfigError as error:
        assert "bypass_mode" in f"{error.where} {error.what}"
        assert update(network).thin_cost() is None
        return
    other = other.to(torch.float64).eval()
    for mine, its in zip(other.parameters(), network.parameters(), strict=True):
        mine.data.copy_(its)
    assert only_layer(other).bypass_mode
    with other.injected():
        agree(module(x) - before, wanted)


def test_bypass_mode_neither_loses_dora_nor_fails_on_a_dilated_kernel() -> None:
    torch.manual_seed(0)
    model, x = linear(), torch.randn(LINEAR).double()
    options = {"algo": "loha", "bypass_mode": True}
    peer, bare = theirs(model, **options, dora_wd=True), theirs(model, **options)
    for mine, its in zip(bare.loras[0].parameters(), peer.loras[0].parameters(), strict=False):
        mine.data.copy_(its)
    assert distance(peers_change(model, x, bare), peers_change(model, x, peer)) < 1e-6
    network, plain = ours(model, **options, dora_wd=True), ours(model, **options)
    plain.load_state_dict(network.state_dict(), strict=False)
    assert distance(change(model, x, plain), change(model, x, network)) > 0.1

    model, x = conv(dilation=2), torch.randn(CONV).double()
    options = {"algo": "locon", "conv_dim": 4, "bypass_mode": True}
    network = ours(model, **options)
    spec, delta = only_layer(network).plan.layer, update(network)
    agree(change(model, x, network), spec.op(spec.pad(x), delta.dense()))
    with pytest.raises(RuntimeError, match="size of tensor"):
        peers_change(model, x, theirs(model, **options))


def test_an_adapted_linear_keeps_its_in_and_out_features() -> None:
    """lycoris-lora's parametrization builds a stand-in in which the two have changed places."""
    torch.manual_seed(0)
    model, x = linear(), torch.randn(LINEAR).double()
    network = ours(model, algo="lora")
    spec = only_layer(network).plan.layer
    assert (spec.out_features, spec.in_features) == (12, 20)
    with network.injected():
        assert type(model.layer) is nn.Linear
        assert model.layer.weight.shape == (12, 20)
        assert (model.layer.out_features, model.layer.in_features) == (12, 20)
        assert model(x).shape == (3, 12)
    network.merge()
    assert model.layer.weight.shape == (12, 20)

    module = lycoris.LoConModule.parametrize(nn.Linear(20, 12), "weight", 1.0, 4, 1.0)
    stand_in = module.org_module[0]
    assert (stand_in.out_features, stand_in.in_features) == (20, 12)


def test_attn_only_selects_exactly_the_attention_of_the_unet() -> None:
    unet = build_meta("sd1")["unet"]
    network = build_network(
        {"unet": unet}, NetworkConfig(algo="lora", network_dim=1, preset="attn-only")
    )
    paths = [site.path for site in network.sites.values()]
    assert len(paths) == 128  # 16 transformers, two attentions each, q, k, v and out
    assert all(".attn1." in path or ".attn2." in path for path in paths)
    classes = {type(module).__name__ for module in unet.modules()}
    assert not classes & set(PRESET["attn-only"]["unet_target_module"])


@pytest.mark.parametrize("algo", ["lora", "loha", "lokr"])
def test_dora_with_lengths_of_inputs_is_read_here_alone(algo: str, tmp_path: Path) -> None:
    """docs/algorithms/dora.md: lycoris-lora opens no file with them; of outputs it does."""
    model, x = linear(), torch.randn(LINEAR).double()
    network = ours(model, algo=algo, dora_wd=True)
    tensors = stored(network, tmp_path)
    agree(change(model, x, read(tensors, model, tmp_path)), change(model, x, network))
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        reader(model, tensors)
    reader(model, stored(ours(model, algo=algo, dora_wd=True, wd_on_output=True), tmp_path))


def test_tlora_of_a_larger_convolution_is_read_here_alone(tmp_path: Path) -> None:
    """docs/algorithms/tlora.md: lycoris-lora opens files of Linear and 1x1 layers alone."""
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        reader(conv(), stored(ours(conv(), algo="tlora"), tmp_path))
    reader(linear(), stored(ours(linear(), algo="tlora"), tmp_path))
