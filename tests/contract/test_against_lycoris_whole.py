"""Full and norm, which store whole differences, exchanged with lycoris-lora 4.1.3."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lycoris.config import PRESET
from lycoris.kohya import LycorisNetworkKohya
from torch import nn

from lycoris_ext.models import build_meta
from lycoris_ext.network import NetworkConfig, build_network
from tests.contract.peer import Model, agree, change, modules, perturbed, read, reader, stored

LAYERS = {
    "linear": (lambda: nn.Linear(12, 7), (3, 12), "full"),
    "conv 1x1": (lambda: nn.Conv2d(5, 8, 1), (2, 5, 4, 4), "full"),
    "conv 3x3": (lambda: nn.Conv2d(5, 8, 3, stride=2, padding=1), (2, 5, 7, 7), "full"),
    "conv1d": (lambda: nn.Conv1d(5, 8, 3, padding=1), (2, 5, 9), "full"),
    "layer norm": (lambda: nn.LayerNorm(12), (3, 5, 12), "norm"),
    "group norm": (lambda: nn.GroupNorm(3, 12, eps=1e-6), (2, 12, 5, 4), "norm"),
}


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("seed", range(2))
def test_full_and_norm_files_compute_the_same_here_and_in_lycoris(
    case: str, seed: int, tmp_path: Path
) -> None:
    build, shape, algo = LAYERS[case]
    torch.manual_seed(seed)
    module, x = build(), torch.randn(shape).double()
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    model = Model(module)
    network = perturbed(build_network({"model": model}, NetworkConfig(algo=algo)).double())
    before, wanted = model(x), change(model, x, network)
    tensors = stored(network, tmp_path)
    assert not any(key.endswith("alpha") for key in tensors)
    peer = reader(model, tensors)
    if algo == "full":
        for adapter in modules(peer):
            adapter._org_weight = [model.layer.weight.clone()]
    peer.apply_to()
    agree(model(x) - before, wanted)
    # Only while it is applied does its full tell the difference from the weight.
    theirs = {key: tensor.clone() for key, tensor in peer.state_dict().items()}
    peer.restore()
    model.requires_grad_(False)
    theirs = {key: tensor for key, tensor in theirs.items() if "dtype" not in key}
    agree(change(model, x, read(theirs, model, tmp_path)), wanted)


@pytest.mark.filterwarnings("ignore")
def test_train_norm_adapts_the_normalisations_that_lycoris_adapts() -> None:
    """Both adapt the normalisations inside the blocks that the preset names, and none of CLIP's."""
    unet, text = (build_meta("sd1")[name] for name in ("unet", "text_encoder"))
    config = NetworkConfig(algo="lora", network_dim=1, conv_dim=1, train_norm=True)
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
