"""Which layers a config adapts, and what a file that does not fit is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.network.selection import all_sites


class ResnetBlock2D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(8, 8, 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(8, 8)


class Transformer2DModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj_in = nn.Linear(8, 8)
        self.attn1 = Attention()


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(8, 8, 3, padding=1)
        self.block = ResnetBlock2D()
        self.attention = Transformer2DModel()
        self.other = nn.Linear(8, 8)


class CLIPAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(8, 8)


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = CLIPAttention()


@pytest.fixture
def targets() -> dict[str, nn.Module]:
    return {"unet": UNet(), "text_encoder": TextEncoder()}


UNET = {
    "conv_in",
    "block.conv1",
    "block.conv_shortcut",
    "attention.proj_in",
    "attention.attn1.to_q",
}
LINEAR = {"block.conv_shortcut", "attention.proj_in", "attention.attn1.to_q"}
TEXT = {"attention.q_proj"}
EXPECTED = {
    "full": UNET | TEXT,
    "full-lin": LINEAR | TEXT,
    "attn-mlp": {"attention.proj_in", "attention.attn1.to_q"} | TEXT,
    "attn-only": {"attention.attn1.to_q"} | TEXT,
    "unet-only": UNET,
    "unet-transformer-only": {"attention.proj_in", "attention.attn1.to_q"},
    "unet-convblock-only": {"conv_in", "block.conv1", "block.conv_shortcut"},
}


@pytest.mark.parametrize("preset", EXPECTED)
def test_presets(targets: dict[str, nn.Module], preset: str) -> None:
    network = build_network(targets, NetworkConfig(preset=preset))
    assert {site.path for site in network.sites.values()} == EXPECTED[preset]


@pytest.mark.parametrize(
    ("algo", "conv_dim", "has_conv"),
    [("lora", None, False), ("lora", 4, True), ("locon", None, True), ("loha", None, True)]
    + [(algo, 0, False) for algo in ("lora", "locon", "loha")],
)
def test_conv_dim_default_per_algorithm(
    targets: dict[str, nn.Module], algo: str, conv_dim: int | None, has_conv: bool
) -> None:
    network = build_network(targets, NetworkConfig(algo=algo, network_dim=6, conv_dim=conv_dim))
    ranks = {site.path: network.layers[key].plan.rank for key, site in network.sites.items()}
    assert ("block.conv1" in ranks) is has_conv
    assert ranks["block.conv_shortcut"] == 6  # 1x1 convolutions take the linear rank
    if has_conv:
        assert ranks["block.conv1"] == (conv_dim or 6)


def test_include_and_exclude_by_name_and_pattern(targets: dict[str, nn.Module]) -> None:
    config = NetworkConfig(preset="attn-only", include=("unet.other",), exclude=(r"^text_encoder",))
    network = build_network(targets, config)
    assert {s.path for s in network.sites.values()} == {"attention.attn1.to_q", "other"}


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_fits_nothing_is_an_error(
    targets: dict[str, nn.Module], option: str
) -> None:
    config = NetworkConfig(**{option: ("no_such_layer",)})
    with pytest.raises(ConfigError, match="'no_such_layer' fits no layer"):
        build_network(targets, config)


def test_a_spatial_layer_by_name_without_conv_dim_is_an_error(
    targets: dict[str, nn.Module],
) -> None:
    config = NetworkConfig(algo="lora", include=("block.conv1",))
    with pytest.raises(ConfigError, match=r"unet\.block\.conv1.*convolutions have no rank"):
        build_network(targets, config)


def test_one_side_only(targets: dict[str, nn.Module]) -> None:
    unet = build_network(targets, NetworkConfig(network_train_unet_only=True))
    text = build_network(targets, NetworkConfig(network_train_text_encoder_only=True))
    assert {site.target for site in unet.sites.values()} == {"unet"}
    assert {site.target for site in text.sites.values()} == {"text_encoder"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algo": "lohaa"}, "unknown algorithm 'lohaa'.*loha"),
        ({"preset": "ful"}, "unknown preset 'ful'.*full-lin"),
        ({"network_dim": 0}, "network_dim: is 0"),
        ({"conv_dim": -1}, "conv_dim: is -1"),
        ({"network_alpha": 0.0}, "network_alpha: is 0.0"),
        ({"include": ("(",)}, "no regular expression"),
        (
            {"network_train_unet_only": True, "network_train_text_encoder_only": True},
            "exclude each other",
        ),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        NetworkConfig(**options)  # type: ignore[arg-type]


def test_a_layer_starts_the_same_whatever_else_is_adapted(targets: dict[str, nn.Module]) -> None:
    everything = build_network(targets, NetworkConfig(), seed=5)
    attention = build_network(targets, NetworkConfig(preset="attn-only"), seed=5)
    for key, tensor in attention.state_dict().items():
        assert torch.equal(tensor, everything.state_dict()[key])
    other = build_network(targets, NetworkConfig(), seed=6)
    assert not torch.equal(
        next(iter(other.state_dict().values())), next(iter(everything.state_dict().values()))
    )


def test_learning_rates_per_target(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    groups = network.param_groups(1e-3, text_encoder_lr=5e-4)
    assert {group["name"]: group["lr"] for group in groups} == {"unet": 1e-3, "text_encoder": 5e-4}
    (group,) = network.param_groups(1e-3, text_encoder_lr=0.0)
    assert group["name"] == "unet"
    frozen = [p for p in network.parameters() if not p.requires_grad]
    assert len(frozen) == 4  # one text layer of LoHa
    with pytest.raises(ConfigError, match="every learning rate is 0"):
        network.param_groups(0.0)


def stored(targets: dict[str, nn.Module]) -> AdapterState:
    return build_network(targets, NetworkConfig()).adapter_state(dtype=None)


def test_a_layer_without_a_place_is_named(targets: dict[str, nn.Module]) -> None:
    state = stored(targets)
    extra = {f"lora_unet_nowhere.{n}": t for n, t in state.layers()["lora_unet_conv_in"].items()}
    with pytest.raises(FormatError, match=r"1 layers of the file have no place.*lora_unet_nowhere"):
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
def test_layers_that_contradict_themselves_or_the_model(
    targets: dict[str, nn.Module],
    change,  # type: ignore[no-untyped-def]
    message: str,
) -> None:
    tensors = dict(stored(targets).tensors)
    change(tensors)
    with pytest.raises(FormatError, match=message) as caught:
        load_network(AdapterState(tensors), targets)
    assert "lora_unet_conv_in" in str(caught.value)


def test_nothing_is_half_loaded(targets: dict[str, nn.Module]) -> None:
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


def test_nothing_is_half_loaded_where_a_later_layer_has_another_rank(
    targets: dict[str, nn.Module],
) -> None:
    """Its tensors fit each other, so that reading the layer alone finds nothing wrong."""
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


def test_a_part_of_a_file_and_a_part_of_a_network(targets: dict[str, nn.Module]) -> None:
    wide = build_network(targets, NetworkConfig())
    narrow = build_network(targets, NetworkConfig(preset="attn-mlp"))
    unet = build_network({"unet": targets["unet"]}, NetworkConfig())
    missing, left_over = wide.load_adapter_state(narrow.adapter_state(), partly=True)
    assert set(missing) == set(wide.layers) - set(narrow.layers) and left_over == []
    missing, left_over = unet.load_adapter_state(wide.adapter_state(), partly=True)
    assert missing == [] and left_over == ["lora_te_text_model_attention_q_proj"]
    with pytest.raises(FormatError, match="have no place"):
        narrow.load_adapter_state(wide.adapter_state(), partly=True)


def test_a_model_that_is_left_out(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    assert network.targets == ("unet", "text_encoder")
    network.leave_out(["text_encoder", "text_encoder_2"])
    assert network.targets == ("unet",)
    assert all(key.startswith("lora_unet_") for key in network.state_dict())
    with pytest.raises(ConfigError, match="adapts unet alone"):
        network.leave_out(["unet"])
    both = build_network(targets, NetworkConfig())
    with both.injected(), pytest.raises(ConfigError, match="injected already"):
        both.leave_out(["unet"])


def test_a_merge_that_the_host_undid(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    network.merge(keep=False)
    with pytest.raises(ConfigError, match="merged or injected already"):
        network.merge()
    network.forget_merge()
    network.merge()


def test_tensors_of_a_file_under_the_names_of_the_state(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig(algo="locon"))
    own = network.state_dict()
    stored = {key: tensor for key, tensor in own.items() if not key.endswith("alpha")}
    conv = "lora_unet_block_conv_shortcut.lora_up.weight"
    stored[conv] = stored[conv].flatten(1)
    stored["lora_unet_elsewhere.lora_up.weight"] = torch.zeros(3, 3)
    named = network.as_own(AdapterState(stored))
    assert named.keys() == own.keys() | {"lora_unet_elsewhere.lora_up.weight"}
    assert all(named[key].shape == tensor.shape for key, tensor in own.items())


def test_rates_of_each_text_encoder() -> None:
    targets = {name: TextEncoder() for name in ("text_encoder", "text_encoder_3")}
    network = build_network({"unet": UNet(), **targets}, NetworkConfig())
    for given, expected in (([1.0, 2.0], (1.0, 2.0)), ([1.0], (1.0, 1.0)), ([], (9.0, 9.0))):
        rates = {g["name"]: g["lr"] for g in network.param_groups(9.0, text_encoder_lr=given)}
        assert (rates["text_encoder"], rates["text_encoder_3"]) == expected
        assert rates["unet"] == 9.0


def test_an_empty_file_is_refused(targets: dict[str, nn.Module]) -> None:
    with pytest.raises(FormatError, match="holds no tensors"):
        load_network(AdapterState({}), targets)


def test_two_layers_with_one_key_are_refused() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2)}), "a_b": nn.Linear(2, 2)})
    with pytest.raises(FormatError, match=r"model\.a\.b and model\.a_b share this key"):
        all_sites({"model": model})


def test_out_proj_of_multihead_attention_is_left_alone() -> None:
    model = nn.Sequential(nn.MultiheadAttention(4, 1), nn.Linear(8, 8))
    assert set(all_sites({"model": model})) == {"lycoris_1"}


def test_meta_tensors_build_without_memory() -> None:
    with torch.device("meta"):
        model = UNet()
    network = build_network({"unet": model}, NetworkConfig())
    assert all(parameter.is_meta for parameter in network.parameters())
    assert network.parameter_count() > 0


@pytest.mark.parametrize("algo", ["lora", "locon", "loha"])
@pytest.mark.parametrize("use_tucker", [False, True])
def test_limited_norms_keep_the_direction(targets, algo, use_tucker):
    config = NetworkConfig(algo=algo, network_dim=3, use_tucker=use_tucker, use_scalar=True)
    network = build_network(targets, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    before = {key: layer.delta().dense().detach() for key, layer in network.layers.items()}
    limit = 1.001 * float(torch.stack([delta.norm() for delta in before.values()]).median())
    longer = sum(float(delta.norm()) > limit for delta in before.values())
    assert 0 < longer < len(before)
    count, norms = network.limit_norms(limit)
    assert count == longer
    torch.testing.assert_close(norms, network.norms())
    for key, layer in network.layers.items():
        after, share = layer.delta().dense(), min(1.0, limit / float(before[key].norm()))
        torch.testing.assert_close(after, before[key] * share)
    assert network.limit_norms(limit * 1.0001)[0] == 0


def test_limited_norms_of_a_lora_are_sd_scripts():
    """Numbers from its apply_max_norm_regularization(1.5) on these factors, alpha 1."""
    module = nn.Linear(4, 3)
    network = build_network({"model": nn.Sequential(module)}, NetworkConfig("lora", network_dim=2))
    (layer,) = network.layers.values()
    up = torch.tensor([[1.0, -2.0], [0.5, 1.5], [2.0, 0.0]])
    down = torch.tensor([[1.0, 2.0, -1.0, 0.5], [0.0, -1.0, 1.0, 2.0]])
    with torch.no_grad():
        layer.tensors()["lora_up.weight"].copy_(up)
        layer.tensors()["lora_down.weight"].copy_(down)
    assert network.limit_norms(1.5)[0] == 1
    share = 0.587955
    torch.testing.assert_close(layer.tensors()["lora_up.weight"].detach(), up * share)
    torch.testing.assert_close(layer.tensors()["lora_down.weight"].detach(), down * share)


def test_merging_for_good_keeps_no_copy(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 8)
    layer = targets["unet"].attention.attn1.to_q
    with network.injected():
        wanted = layer(x)
    network.merge(keep=False)
    torch.testing.assert_close(layer(x), wanted)
    assert not network._kept
    with pytest.raises(ConfigError, match="merged or injected already"):
        network.merge()
    with pytest.raises(ConfigError, match="the old weights were not kept"):
        network.unmerge()


def test_unmerging_is_exact_and_can_be_repeated(targets: dict[str, nn.Module]) -> None:
    network = build_network(targets, NetworkConfig())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    before = {key: tensor.clone() for key, tensor in targets["unet"].state_dict().items()}
    for _ in range(2):
        network.merge(0.7)
        assert not torch.equal(targets["unet"].conv_in.weight, before["conv_in.weight"])
        network.unmerge()
        after = targets["unet"].state_dict()
        assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    network.unmerge()  # nothing is merged: nothing happens


def test_a_denoiser_that_is_no_unet_is_adapted_whole(targets: dict[str, nn.Module]) -> None:
    """Its keys are ComfyUI's, dots included."""
    model = nn.Module()
    model.double_blocks = nn.ModuleList([nn.Linear(4, 4)])
    model.final_layer = nn.Linear(4, 6)
    network = build_network(
        {"diffusion_model": model}, NetworkConfig(network_dim=2, preset="attn-only")
    )
    assert list(network.layers) == [
        "diffusion_model.double_blocks.0",
        "diffusion_model.final_layer",
    ]
    with torch.no_grad():
        for layer in network.layers.values():
            for tensor in layer.tensors().values():
                tensor.add_(0.1)
    groups = network.param_groups(1e-3, unet_lr=5e-4)
    assert [group["lr"] for group in groups] == [5e-4]
    state = network.adapter_state(dtype=None)
    again = load_network(state, {"diffusion_model": model})
    for key, layer in again.layers.items():
        for name, tensor in layer.tensors().items():
            assert torch.equal(tensor, network.layers[key].tensors()[name])
    assert network.state_dict().keys() == again.state_dict().keys()


def test_kernels_that_a_file_holds_flat() -> None:
    """As ComfyUI's own trainer stores them."""
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


def test_rates_go_by_the_models_that_are_handed_over() -> None:
    encoders = {name: TextEncoder() for name in ("text_encoder", "text_encoder_2")}
    targets = {"unet": UNet(), **encoders}
    built = build_network(targets, NetworkConfig(exclude=(r"^text_encoder\.",)))
    for network in (built, load_network(built.adapter_state(), targets).requires_grad_(True)):
        groups = network.param_groups(9.0, text_encoder_lr=[1.0, 2.0])
        assert {g["name"]: g["lr"] for g in groups} == {"unet": 9.0, "text_encoder_2": 2.0}
    everything = build_network(targets, NetworkConfig())
    everything.leave_out(["text_encoder"])
    rates = {g["name"]: g["lr"] for g in everything.param_groups(9.0, text_encoder_lr=[1.0, 2.0])}
    assert rates["text_encoder_2"] == 2.0
