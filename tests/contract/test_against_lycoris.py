"""Files exchanged with lycoris-lora 4.1.3, in both directions.

Compared with its FORWARD: its get_diff_weight and its merge scale twice for LoHa.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.network import NetworkConfig, build_network, load_network

lycoris = pytest.importorskip("lycoris", reason="lycoris-lora is a test dependency")

SHAPES = [
    (lambda r: nn.Linear(r.randint(4, 40), r.randint(4, 40)), lambda m: (3, m.in_features)),
    (
        lambda r: nn.Conv2d(r.randint(3, 12), r.randint(3, 12), 1),
        lambda m: (2, m.in_channels, 5, 5),
    ),
    (
        lambda r: nn.Conv2d(
            r.randint(3, 12), r.randint(3, 12), 3, stride=r.randint(1, 2), padding=1
        ),
        lambda m: (2, m.in_channels, 7, 7),
    ),
    (
        lambda r: nn.Conv1d(r.randint(3, 9), r.randint(3, 9), 3, padding=1),
        lambda m: (2, m.in_channels, 9),
    ),
]


class Model(nn.Module):
    """One layer under a name, as both packages want it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def configuration(number: int) -> tuple[Model, Tensor, NetworkConfig]:
    dice = random.Random(number)
    torch.manual_seed(number)
    build, shape = dice.choice(SHAPES)
    module = build(dice)
    algo = dice.choice(["lora", "locon", "loha", "lokr", "lokr", "ia3", "glora"])
    plain = algo in ("ia3", "glora")  # the peer's ia3 has no options, its glora's is out of reach
    decomposed = not plain and dice.random() < 0.4
    is_lokr = algo == "lokr"  # a rank above its layer asks it for whole factors; others refuse it
    most = 6 if is_lokr else min(6, len(module.weight), module.weight[0].numel())
    dims = {"network_dim": dice.randint(1, most), "conv_dim": dice.randint(1, most)}
    config = NetworkConfig(
        algo=algo,
        network_alpha=dice.choice([1.0, 2.5, 8.0]),
        use_tucker=not plain and dice.random() < 0.5 and not isinstance(module, nn.Conv1d),
        rs_lora=dice.random() < 0.3,
        use_scalar=algo != "ia3" and dice.random() < 0.3,
        factor=dice.choice([-1, 2, 4]) if is_lokr else -1,
        decompose_both=is_lokr and dice.random() < 0.5,
        full_matrix=is_lokr and dice.random() < 0.2,
        dora_wd=decomposed,
        wd_on_output=decomposed and dice.random() < 0.5,
        train_on_input=algo == "ia3" and dice.random() < 0.5,
        **dims,
    )
    return Model(module).double().requires_grad_(False), torch.randn(shape(module)).double(), config


def rotation(number: int) -> tuple[Model, Tensor, NetworkConfig]:
    """Of outputs that both can split, and with a constraint that bites where there is one."""
    dice = random.Random(number)
    torch.manual_seed(number)
    width, depth = 2 * dice.randint(2, 20), dice.randint(3, 20)
    module, shape = dice.choice(
        [
            (nn.Linear(depth, width), (3, depth)),
            (nn.Conv2d(depth, width, 3, stride=dice.randint(1, 2), padding=1), (2, depth, 7, 7)),
            (nn.Conv1d(depth, width, 3, padding=1), (2, depth, 9)),
        ]
    )
    algo = dice.choice(["diag-oft", "boft"])
    parts = [parts for parts in (1, 2, 4, 8) if width % (2 * parts) == 0]
    # The peer's blocks of one output, for which it takes a size that is their number, do nothing.
    size = dice.randint(2, width - 1) if algo == "diag-oft" else width // dice.choice(parts)
    config = NetworkConfig(
        algo=algo,
        network_dim=size,
        conv_dim=size,
        constraint=dice.choice([0.0, 1e-3, 0.05]),
        rescaled=dice.random() < 0.5,
    )
    return Model(module).double().requires_grad_(False), torch.randn(shape).double(), config


def peer_network(model: Model, config: NetworkConfig) -> nn.Module:
    # IA3's side is not handed on but through such a map
    own = {"layer": {"algo": config.algo, "train_on_input": config.train_on_input}}
    preset = {"target_name": ["layer"], "enable_conv": True}
    lycoris.LycorisNetwork.apply_preset(
        {**preset, "name_algo_map": own if config.algo == "ia3" else {}}
    )
    return lycoris.create_lycoris(  # type: ignore[no-any-return]
        model,
        1.0,
        linear_dim=config.network_dim,
        linear_alpha=config.network_alpha,
        conv_dim=config.conv_dim,
        conv_alpha=config.network_alpha,
        algo="locon" if config.algo == "lora" else config.algo,
        use_tucker=config.use_tucker,
        rs_lora=config.rs_lora,
        use_scalar=config.use_scalar,
        factor=config.factor,
        decompose_both=config.decompose_both,
        full_matrix=config.full_matrix,
        dora_wd=config.dora_wd,
        wd_on_output=config.wd_on_output,
        constraint=config.constraint,
        rescaled=config.rescaled,
        bypass_mode=False,
    )


def update(model: Model, x: Tensor, network: nn.Module) -> Tensor:
    """What the peer's forward adds to the model's output."""
    before = model(x)
    network.apply_to()  # type: ignore[operator]
    after = model(x)
    network.restore()  # type: ignore[operator]
    return after - before


def perturbed(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.4)
    return network


def agree(found: Tensor, wanted: Tensor) -> None:
    assert wanted.norm() > 0
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()


@pytest.mark.parametrize("number", range(80))
def test_the_peer_reads_what_we_write(number: int, tmp_path: Path) -> None:
    model, x, config = configuration(number)
    network = build_network({"model": model}, config).double()
    perturbed(network)
    before = model(x)
    with network.injected():
        wanted = model(x) - before
    save_adapter(tmp_path / "ours.safetensors", network.adapter_state(dtype=None))
    stored = load_adapter(tmp_path / "ours.safetensors").tensors
    if config.algo in ("lokr", "ia3") or config.dora_wd:
        # Its own reader guesses LoKr's form from the shapes and is wrong for some of them; it fails
        # on IA3 and on DoRA over the input.
        alpha = float(stored.get("lycoris_layer.alpha", 1.0))  # rs_lora is in it already
        peer = peer_network(model, replace(config, rs_lora=False, network_alpha=alpha))
        for module in peer.loras:
            layer = {key.removeprefix("lycoris_layer."): value for key, value in stored.items()}
            module.load_state_dict(layer)
    else:
        peer, _ = lycoris.create_lycoris_from_weights(1.0, None, model, stored)
    for module in peer.loras:
        module.double()
    agree(update(model, x, peer), wanted)


@pytest.mark.parametrize("number", range(80))
def test_we_read_what_the_peer_writes(number: int, tmp_path: Path) -> None:
    model, x, config = configuration(number)
    peer = peer_network(model, config)
    for module in peer.loras:  # they become the network's own only when it is applied
        perturbed(module.double())
    wanted = update(model, x, peer)
    tensors = {key: tensor.detach() for key, tensor in peer.state_dict().items()}
    save_adapter(tmp_path / "theirs.safetensors", AdapterState(tensors))
    network = load_network(tmp_path / "theirs.safetensors", {"model": model}).double()
    before = model(x)
    with network.injected():
        agree(model(x) - before, wanted)


@pytest.mark.parametrize("number", range(40))
def test_the_peer_reads_rotations_that_we_write(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, config = rotation(number)
    network = perturbed(build_network({"model": model}, config).double())
    before = model(x)
    with network.injected():
        wanted = model(x) - before
    save_adapter(tmp_path / "ours.safetensors", network.adapter_state(dtype=None))
    stored = load_adapter(tmp_path / "ours.safetensors").tensors
    peer, _ = lycoris.create_lycoris_from_weights(1.0, None, model, stored)
    for module in peer.loras:
        module.double()
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # its formula, without its rounding
    agree(update(model, x, peer), wanted)


@pytest.mark.parametrize("number", range(40))
def test_we_read_rotations_that_the_peer_writes(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, config = rotation(number)
    peer = peer_network(model, config)
    for module in peer.loras:
        perturbed(module.double())
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        wanted = update(model, x, peer)
    tensors = {key: tensor.detach() for key, tensor in peer.state_dict().items()}
    save_adapter(tmp_path / "theirs.safetensors", AdapterState(tensors))
    network = load_network(tmp_path / "theirs.safetensors", {"model": model}).double()
    before = model(x)
    with network.injected():
        agree(model(x) - before, wanted)


NORMS = [
    (lambda: nn.LayerNorm(12), (3, 5, 12)),
    (lambda: nn.GroupNorm(3, 12, eps=1e-6), (2, 12, 5, 4)),
]


def stored_bare(number: int) -> tuple[Model, Tensor, NetworkConfig]:
    """A layer for full or norm."""
    model, x, config = configuration(number)
    if number % 2:
        return model, x, NetworkConfig("full", rs_lora=config.rs_lora)
    build, shape = NORMS[number // 2 % 2]
    torch.manual_seed(number)
    module = build()
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return Model(module).double().requires_grad_(False), torch.randn(shape).double(), NORM


NORM = NetworkConfig("norm")


@pytest.mark.parametrize("number", range(12))
def test_full_and_norm_in_both_directions(number: int, tmp_path: Path) -> None:
    model, x, config = stored_bare(number)
    network = build_network({"model": model}, config).double()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.4)
    before = model(x)
    with network.injected():
        wanted = model(x) - before
    save_adapter(tmp_path / "ours.safetensors", network.adapter_state(dtype=None))
    stored = load_adapter(tmp_path / "ours.safetensors").tensors
    assert not any(key.endswith("alpha") for key in stored)
    peer, _ = lycoris.create_lycoris_from_weights(1.0, None, model, stored)
    for module in peer.loras:
        module.double()
        if config.algo == "full":
            module._org_weight = [model.layer.weight.clone()]
    peer.apply_to()
    agree(model(x) - before, wanted)
    # Only while it is applied does its full tell the difference from the weight.
    tensors = {key: tensor.detach().clone() for key, tensor in peer.state_dict().items()}
    peer.restore()
    model.requires_grad_(False)
    state = AdapterState({key: tensors[key] for key in tensors if "dtype" not in key})
    save_adapter(tmp_path / "theirs.safetensors", state)
    again = load_network(tmp_path / "theirs.safetensors", {"model": model}).double()
    with again.injected():
        agree(model(x) - before, wanted)


@pytest.mark.parametrize("number", range(8))
def test_dylora_files_in_both_directions(number: int, tmp_path: Path) -> None:
    """Its conv files hold lora_up as a matrix; its own loading takes nothing over."""
    model, x, _ = configuration(number)
    weight = model.layer.weight
    rank = 2 * min(3, min(len(weight), weight[0].numel()) // 2)
    config = NetworkConfig("dylora", rank, 3.0, conv_dim=rank, block_size=2)
    lycoris.LycorisNetwork.apply_preset({"target_name": ["layer"], "enable_conv": True})
    sizes = {"linear_dim": rank, "linear_alpha": 3.0, "conv_dim": rank, "conv_alpha": 3.0}
    peer = lycoris.create_lycoris(model, 1.0, algo="dylora", block_size=2, **sizes)
    (module,) = peer.loras
    for parameter in module.double().parameters():
        parameter.data.normal_(0, 0.4)
    tensors = {f"lycoris_layer.{k}": v.detach() for k, v in module.state_dict().items()}
    assert tensors["lycoris_layer.lora_up.weight"].ndim == 2
    save_adapter(tmp_path / "theirs.safetensors", AdapterState(tensors))
    network = load_network(tmp_path / "theirs.safetensors", {"model": model}).double()
    (layer,) = network.layers.values()
    up, down = torch.cat(list(module.up_list), 1), torch.cat(list(module.down_list))
    product = 3.0 / rank * (up @ down).reshape(weight.shape)
    agree(layer.delta().dense(), product)

    mine = build_network({"model": model}, config).double()
    mine.load_adapter_state(load_adapter(tmp_path / "theirs.safetensors"))
    before = model(x)
    with mine.eval().injected():
        wanted = model(x) - before
    assert torch.equal(wanted, model_update(mine, model, x))  # nothing is drawn outside of training
    save_adapter(tmp_path / "ours.safetensors", mine.adapter_state(dtype=None))
    stored = load_adapter(tmp_path / "ours.safetensors").tensors
    reader, _ = lycoris.create_lycoris_from_weights(1.0, None, model, stored)
    for module in reader.loras:
        module.double()
    agree(update(model, x, reader), wanted)


def model_update(network: nn.Module, model: Model, x: Tensor) -> Tensor:
    before = model(x)
    with network.injected():  # type: ignore[operator]
        return model(x) - before


@pytest.mark.filterwarnings("ignore")
def test_train_norm_takes_the_peers_normalisations() -> None:
    """Those inside the blocks that a preset names; none of CLIP's, which lie beside them."""
    from lycoris.config import PRESET
    from lycoris.kohya import LycorisNetworkKohya

    from lycoris_ext.models import build_meta

    unet, text = (build_meta("sd1")[name] for name in ("unet", "text_encoder"))
    config = NetworkConfig("lora", network_dim=1, conv_dim=1, train_norm=True)
    network = build_network({"unet": unet, "text_encoder": text}, config)
    found = {k for k, layer in network.layers.items() if layer.plan.algorithm.name == "norm"}
    preset = dict(PRESET["full"])
    # with this class, which is there for another model, its SD1 fails on a name taken twice
    preset["unet_target_module"] = [
        name for name in preset["unet_target_module"] if name != "TimestepEmbedding"
    ]
    LycorisNetworkKohya.apply_preset(preset)
    options = {"lora_dim": 1, "conv_lora_dim": 1, "warn_on_unmatched": False}
    peer = LycorisNetworkKohya([text], unet, train_norm=True, **options)
    modules = [*peer.unet_loras, *peer.text_encoder_loras]
    wanted = {module.lora_name for module in modules if type(module).__name__ == "NormModule"}
    assert found == wanted
    assert len(found) == 108


def tlora_layer(number: int) -> tuple[Model, Tensor]:
    torch.manual_seed(number)
    if number % 2:
        return Model(nn.Linear(12, 20)).double().requires_grad_(False), torch.randn(
            1, 5, 12
        ).double()
    model = Model(nn.Conv2d(6, 8, 1)).double().requires_grad_(False)
    return model, torch.randn(1, 6, 5, 5).double()


def peers_tlora(model: Model) -> nn.Module:
    lycoris.LycorisNetwork.apply_preset({"target_name": ["layer"], "enable_conv": True})
    sizes = {"linear_dim": 4, "linear_alpha": 3.0, "conv_dim": 4, "conv_alpha": 3.0}
    return lycoris.create_lycoris(model, 1.0, algo="tlora", **sizes)  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", range(6))
def test_tlora_in_both_directions(number: int, tmp_path: Path) -> None:
    model, x = tlora_layer(number)
    config = NetworkConfig("tlora", network_dim=4, network_alpha=3.0)
    network = build_network({"model": model}, config).double()
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    before = model(x)
    with network.injected():
        wanted = model(x) - before
    save_adapter(tmp_path / "ours.safetensors", network.adapter_state(dtype=None))
    stored = load_adapter(tmp_path / "ours.safetensors").tensors
    peer, _ = lycoris.create_lycoris_from_weights(1.0, None, model, stored)
    for module in peer.loras:
        module.double()
    agree(update(model, x, peer), wanted)

    other = peers_tlora(model)
    for module in other.loras:
        for parameter in module.double().parameters():
            parameter.data += torch.randn_like(parameter) * 0.3
    wanted = update(model, x, other)
    tensors = {key: tensor.detach() for key, tensor in other.state_dict().items()}
    save_adapter(tmp_path / "theirs.safetensors", AdapterState(tensors))
    again = load_network(tmp_path / "theirs.safetensors", {"model": model}).double()
    agree(model_update(again, model, x), wanted)


@pytest.mark.parametrize("timestep", [0, 1, 249, 333, 500, 750, 999])
def test_tlora_at_a_timestep(timestep: int) -> None:
    from lycoris.modules.tlora import (
        clear_timestep_mask,
        compute_timestep_mask,
        set_timestep_mask,
    )

    model, x = tlora_layer(timestep)
    peer = peers_tlora(model)
    for module in peer.loras:
        for parameter in module.double().parameters():
            parameter.data += torch.randn_like(parameter) * 0.3
    (module,) = peer.loras
    tensors = {f"lycoris_layer.{k}": v.detach() for k, v in module.state_dict().items()}
    network = load_network(AdapterState(tensors), {"model": model}).double().train()
    network.set_timesteps(torch.tensor([timestep]))
    set_timestep_mask(compute_timestep_mask(timestep, 1000, 4))
    try:
        agree(model_update(network, model, x), update(model, x, peer))
    finally:
        clear_timestep_mask()


def test_the_peers_tlora_of_a_larger_kernel_has_another_layout() -> None:
    """It reads a 3x3 convolution at one place and pads that: its own output is too large."""
    model = Model(nn.Conv2d(6, 8, 3, padding=1)).requires_grad_(False)
    peer = peers_tlora(model)
    (module,) = peer.loras
    tensors = {f"lycoris_layer.{k}": v.detach() for k, v in module.state_dict().items()}
    with pytest.raises(FormatError, match=r"q_layer.weight has shape \(4, 6, 1, 1\), the layer"):
        load_network(AdapterState(tensors), {"model": model})
    peer.apply_to()
    with pytest.raises(RuntimeError, match="size of tensor"):
        model(torch.randn(1, 6, 5, 5))
