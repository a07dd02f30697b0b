"""Which files are refused and why, and which layers of a file a network takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.network import NetworkConfig, build_network, load_network
from tests.network.models import UNet


def stored(targets: dict[str, nn.Module]) -> AdapterState:
    return build_network(targets, NetworkConfig()).adapter_state(dtype=None)


def test_an_empty_file_is_refused(targets: dict[str, nn.Module]) -> None:
    with pytest.raises(FormatError, match="holds no tensors"):
        load_network(AdapterState({}), targets)


def test_a_file_of_textual_inversions_alone_is_refused(targets: dict[str, nn.Module]) -> None:
    state = AdapterState({"bundle_emb.x.string_to_param.*": torch.ones(1, 8)})
    assert state.embeddings()
    with pytest.raises(FormatError, match="holds textual inversions and no layer of an adapter"):
        load_network(state, targets)


def test_a_layer_of_the_file_that_the_model_lacks_is_named(targets: dict[str, nn.Module]) -> None:
    state = stored(targets)
    extra = {f"lora_unet_nowhere.{n}": t for n, t in state.layers()["lora_unet_conv_in"].items()}
    with pytest.raises(FormatError, match="no place for 1 layer of the file: lora_unet_nowhere"):
        load_network(AdapterState({**state.tensors, **extra}), targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("lora_unet_conv_in.hada_w1_a"), "no algorithm stores the keys"),
        (lambda t: t.update({"lora_unet_conv_in.odd": torch.zeros(1)}), "no algorithm stores"),
        (
            lambda t: t.update({"lora_unet_conv_in.hada_w1_a": torch.zeros(4, 3)}),
            "says rank = ",
        ),
        (
            lambda t: t.update({"lora_unet_conv_in.hada_w1_a": torch.zeros(4)}),
            r"hada_w1_a has shape \(4,\), expected axes",
        ),
        (
            lambda t: t.update(
                {
                    f"lora_unet_conv_in.{name}": torch.zeros(5, 8)
                    for name in ("hada_w1_a", "hada_w2_a")
                }
            ),
            r"hada_w1_a has shape \(5, 8\), the layer needs \(8, 8\)",
        ),
    ],
)
def test_tensors_that_contradict_each_other_or_the_model_are_refused(
    targets: dict[str, nn.Module],
    change,  # type: ignore[no-untyped-def]
    message: str,
) -> None:
    tensors = dict(stored(targets).tensors)
    change(tensors)
    with pytest.raises(FormatError, match=message) as caught:
        load_network(AdapterState(tensors), targets)
    assert "lora_unet_conv_in" in str(caught.value)


def test_a_refused_file_changes_no_tensor(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    tensors = {
        key: tensor if key.endswith("alpha") else tensor + 1
        for key, tensor in stored(targets).tensors.items()
    }
    tensors["lora_te_text_model_attention_q_proj.hada_w2_b"] = torch.zeros(8, 99)
    with pytest.raises(FormatError):
        network.load_adapter_state(AdapterState(tensors))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_a_file_with_another_rank_in_its_last_layer_changes_no_tensor(
    targets: dict[str, nn.Module],
) -> None:
    """The tensors of that layer fit each other, so reading it alone finds nothing wrong."""
    network = build_network(targets, NetworkConfig(network_alpha=2.0))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    last = [*network.layers][-1]
    other = build_network(targets, NetworkConfig(network_dim=4, network_alpha=2.0))
    tensors = {key: tensor + 1 for key, tensor in network.adapter_state(dtype=None).tensors.items()
               if not key.endswith("alpha")}  # fmt: skip
    tensors |= {key: tensor for key, tensor in other.adapter_state(dtype=None).tensors.items()
                if key.endswith("alpha") or key.startswith(last)}  # fmt: skip
    with pytest.raises(FormatError, match="the layer") as caught:
        network.load_adapter_state(AdapterState(tensors))
    assert last in str(caught.value)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_another_alpha_is_refused(targets: dict[str, nn.Module]) -> None:
    state = build_network(targets, NetworkConfig(network_alpha=2.0)).adapter_state()
    network = build_network(targets, NetworkConfig(network_alpha=3.0))
    with pytest.raises(FormatError, match=r"alpha is 2 in the file and 3 in the network"):
        network.load_adapter_state(state)
    assert network.load_adapter_state(
        build_network(targets, NetworkConfig(network_alpha=3.0)).adapter_state()
    ) == ([], [])


def test_loading_partly_takes_the_common_layers_and_returns_the_others(
    targets: dict[str, nn.Module],
) -> None:
    wide = build_network(targets, NetworkConfig())
    narrow = build_network(targets, NetworkConfig(preset="attn-mlp"))
    unet = build_network({"unet": targets["unet"]}, NetworkConfig())
    missing, left_over = wide.load_adapter_state(narrow.adapter_state(), partly=True)
    assert set(missing) == set(wide.layers) - set(narrow.layers) and left_over == []
    missing, left_over = unet.load_adapter_state(wide.adapter_state(), partly=True)
    assert missing == [] and left_over == ["lora_te_text_model_attention_q_proj"]
    with pytest.raises(FormatError, match="has no place"):
        narrow.load_adapter_state(wide.adapter_state(), partly=True)


def test_as_own_gives_the_tensors_of_a_file_the_shapes_of_the_state(
    targets: dict[str, nn.Module],
) -> None:
    network = build_network(targets, NetworkConfig(algo="locon"))
    own = network.state_dict()
    stored = {key: tensor for key, tensor in own.items() if not key.endswith("alpha")}
    conv = "lora_unet_block_conv_shortcut.lora_up.weight"
    stored[conv] = stored[conv].flatten(1)
    stored["lora_unet_elsewhere.lora_up.weight"] = torch.zeros(3, 3)
    named = network.as_state_dict(AdapterState(stored))
    assert named.keys() == own.keys() | {"lora_unet_elsewhere.lora_up.weight"}
    assert all(named[key].shape == tensor.shape for key, tensor in own.items())


def test_kernels_that_a_file_holds_flat_are_reshaped() -> None:
    """ComfyUI's own trainer stores them so."""
    unet = UNet()
    key = "diffusion_model.block.conv1"
    up, down = torch.randn(8, 2), torch.randn(2, 8 * 9)
    tensors = {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down}
    network = load_network(
        AdapterState({**tensors, f"{key}.alpha": torch.tensor(2.0)}), {"unet": unet}
    )
    before = unet.block.conv1.weight.detach().clone()
    network.merge()
    torch.testing.assert_close(unet.block.conv1.weight - before, (up @ down).view(8, 8, 3, 3))
    with pytest.raises(FormatError, match=r"lora_down.weight has shape \(2, 71\)"):
        wrong = {**tensors, f"{key}.lora_down.weight": down[:, :71]}
        load_network(AdapterState(wrong), {"unet": unet})
