"""LoRA, LoHa, LoKr, IA3, GLoRA, DoRA, OFT and BOFT exchanged with lycoris-lora 4.1.3."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.network import NetworkConfig, build_network
from tests.contract.peer import (
    Model,
    agree,
    change,
    modules,
    peer_network,
    peers_change,
    perturbed,
    perturbed_peer,
    read,
    reader,
    stored,
)

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
    return Model(module), torch.randn(shape(module)).double(), config


def rotation(number: int) -> tuple[Model, Tensor, NetworkConfig]:
    """Return a model, input and config of OFT or BOFT, of a width that both packages can split."""
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
    return Model(module), torch.randn(shape).double(), config


@pytest.mark.parametrize("number", range(80))
def test_lycoris_computes_the_same_from_a_file_of_ours(number: int, tmp_path: Path) -> None:
    model, x, config = configuration(number)
    network = perturbed(build_network({"model": model}, config).double())
    tensors = stored(network, tmp_path)
    if config.algo in ("lokr", "ia3") or config.dora_wd:
        # Its own reader guesses LoKr's form from the shapes and is wrong for some of them; it fails
        # on IA3 and on DoRA over the input.
        alpha = float(tensors.get("lycoris_layer.alpha", 1.0))  # rs_lora is in it already
        peer = peer_network(model, replace(config, rs_lora=False, network_alpha=alpha))
        for module in modules(peer):
            layer = {key.removeprefix("lycoris_layer."): value for key, value in tensors.items()}
            module.load_state_dict(layer)
    else:
        peer = reader(model, tensors)
    agree(peers_change(model, x, peer), change(model, x, network))


@pytest.mark.parametrize("number", range(80))
def test_we_compute_the_same_from_a_file_of_lycoris(number: int, tmp_path: Path) -> None:
    model, x, config = configuration(number)
    (layer,) = build_network({"model": model}, config).layers.values()
    if config.algo == "glora" or not layer.plan.has_rank:
        # It trains at alpha / sqrt(rank) there, too, and its file says alpha / rank, or nothing.
        config = replace(config, rs_lora=False)
    peer = perturbed_peer(peer_network(model, config))
    wanted = peers_change(model, x, peer)
    agree(change(model, x, read(peer.state_dict(), model, tmp_path)), wanted)


@pytest.mark.parametrize("number", range(40))
def test_lycoris_computes_the_same_from_our_oft_and_boft_files(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, config = rotation(number)
    network = perturbed(build_network({"model": model}, config).double())
    wanted = change(model, x, network)
    peer = reader(model, stored(network, tmp_path))
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # its formula, without its rounding
    agree(peers_change(model, x, peer), wanted)


@pytest.mark.parametrize("number", range(40))
def test_we_compute_the_same_from_oft_and_boft_files_of_lycoris(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, config = rotation(number)
    peer = perturbed_peer(peer_network(model, config))
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        wanted = peers_change(model, x, peer)
    agree(change(model, x, read(peer.state_dict(), model, tmp_path)), wanted)
