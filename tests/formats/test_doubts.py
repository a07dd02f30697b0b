"""What is strange about an adapter is told: a changed hash, numbers that overflow, no effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import algorithm, algorithm_names
from lycoris_ext.cli.info import main as info
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, load_adapter, open_adapter, save_adapter
from lycoris_ext.formats.doubts import LARGEST, doubts, largest
from lycoris_ext.formats.summary import plans_of
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.network import NetworkConfig, NetworkWarning, build_network, load_network

STORED = [name for name in algorithm_names() if not algorithm(name).trains]


def lora(up: float = 0.5, down: float = 0.5, **tensors: Tensor) -> AdapterState:
    """Return a LoRA of one Linear(16, 16), rank 4, with these numbers."""
    content = {
        "lora_up.weight": torch.full((16, 4), up),
        "lora_down.weight": torch.full((4, 16), down),
        "alpha": torch.tensor(4.0),
        **tensors,
    }
    return AdapterState({f"lycoris_0.{name}": tensor for name, tensor in content.items()})


def told(state: AdapterState) -> tuple[str, ...]:
    return doubts(state, plans_of(state))


def damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("read", [load_adapter, open_adapter])
def test_tensors_that_do_not_fit_the_stored_hash_are_told(read, tmp_path: Path) -> None:
    save_adapter(tmp_path / "x", lora())
    assert told(read(tmp_path / "x")) == ()
    (said,) = told(read(damaged(tmp_path / "x")))
    assert "do not fit the hash" in said and "get the file again" in said


def test_other_metadata_no_hash_and_other_hashes_are_no_alarm(tmp_path: Path) -> None:
    save_adapter(tmp_path / "x", lora())
    state = load_adapter(tmp_path / "x")
    stored = state.metadata["sshs_model_hash"]
    for hashes in ({"sshs_model_hash": stored.upper()}, {}, {"sshs_model_hash": "0x12"}):
        path = tmp_path / "y"
        safetensors.torch.save_file(state.tensors, path, {"ss_comment": "edited", **hashes})
        assert told(load_adapter(path)) == ()
    safetensors.torch.save_file(state.tensors, path, {"sshs_model_hash": "0" * 64})
    assert len(told(load_adapter(path))) == 1


def test_peft_files_are_compared_under_their_own_names(tmp_path: Path) -> None:
    prefix, tensors = "base_model.model.layer.", lora().tensors
    named = {
        f"{prefix}lora_A.weight": tensors["lycoris_0.lora_down.weight"],
        f"{prefix}lora_B.weight": tensors["lycoris_0.lora_up.weight"],
    }
    save_adapter(tmp_path / "x", AdapterState(named))
    assert told(load_adapter(tmp_path / "x")) == ()
    assert "do not fit the hash" in told(load_adapter(damaged(tmp_path / "x")))[0]


def test_a_part_of_a_file_is_not_compared_with_the_hash_of_the_whole(tmp_path: Path) -> None:
    save_adapter(tmp_path / "x", lora())
    assert load_adapter(tmp_path / "x").only(["unet"]).hash_check() is None


@pytest.mark.parametrize("algo", STORED)
def test_a_fresh_adapter_changes_nothing_and_a_trained_one_has_no_doubts(algo: str) -> None:
    model = nn.Sequential(nn.LayerNorm(16)) if algorithm(algo).of_norms else trained_on()
    network = build_network({"model": model}, NetworkConfig(algo=algo, network_dim=4), warn=False)
    if algo != "tlora":  # its factors begin with the weight's, and the update is a difference
        (said,) = told(network.adapter_state(dtype=None))
        assert said == "it changes nothing: the updates of all its layers are zero"
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    assert told(network.adapter_state(dtype=None)) == ()


def trained_on() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 16), nn.Conv2d(4, 4, 3)).requires_grad_(False)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (lora(1e30, 1e30), "its only layer has an update with numbers up to inf"),
        (lora(1e4, 1e4), "up to 4e+08, which overflows"),
        (lora(alpha=torch.tensor(-4.0)), "alpha that is negative"),
        (lora(alpha=torch.tensor(0)), "it changes nothing"),
        (lora(0.0, 1e30), "it changes nothing"),
        (lora(alpha=torch.tensor(1e29)), "up to 2.5e+28"),
    ],
)
def test_strange_numbers_are_told(state: AdapterState, said: str) -> None:
    assert said in " ".join(told(state))


def test_a_large_factor_beside_a_small_one_is_no_doubt() -> None:
    assert told(lora(1e6, 1e-6)) == ()


def test_an_alpha_of_zero_in_some_layers_is_told() -> None:
    other = {key.replace("_0", "_1"): tensor for key, tensor in lora().tensors.items()}
    state = AdapterState({**lora(alpha=torch.tensor(0.0)).tensors, **other})
    (said,) = told(state)
    assert said == "1 of its 2 layers has an alpha that is 0, so that the update is zero"


@pytest.mark.parametrize("algo", STORED)
def test_the_bound_is_never_below_the_update(algo: str) -> None:
    """Else an overflow would be passed over."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(16)) if algorithm(algo).of_norms else trained_on()
    config = NetworkConfig(algo=algo, network_dim=4, network_alpha=8, conv_dim=2)
    network = build_network({"model": model}, config, warn=False)
    for layer, site in zip(network.layers.values(), network.sites.values(), strict=True):
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=3.0)
        if layer.plan.needs_base:
            continue  # rotations and lengths do not grow with the factors alone
        tensors = {key: tensor.detach() for key, tensor in layer.tensors().items()}
        base = FrozenLayer.of(site.module, site.spec)
        update = float(layer.plan.delta(tensors, base).dense().abs().amax())
        assert update <= largest(layer.plan, tensors) * 1.0001 <= LARGEST


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"alpha": torch.ones(192)}, "alpha is 192 numbers"),
        ({"alpha": torch.ones(0)}, "alpha is 0 numbers"),
        ({"alpha": torch.tensor(1e300, dtype=torch.float64)}, r"its alpha is 1e\+300"),
        ({"alpha": torch.tensor(float("nan"))}, "its alpha is nan"),
        ({"lora_up.weight": torch.ones(16, 4, dtype=torch.int64)}, r"whole numbers \(int64\)"),
        ({"lora_up.weight": torch.ones(16, 4, dtype=torch.bool)}, r"whole numbers \(bool\)"),
        ({"lora_up.weight": torch.ones(16, 0), "lora_down.weight": torch.ones(0, 16)}, "rank 0"),
    ],
)
def test_tensors_that_mean_nothing_are_refused(tensors: dict[str, Tensor], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        plans_of(lora(**tensors))


@pytest.mark.parametrize(
    "alpha", [torch.tensor([[4.0]]), torch.tensor(4), torch.tensor(4.0, dtype=torch.float64)]
)
def test_an_alpha_of_any_shape_and_dtype_that_is_one_number_is_read(alpha: Tensor) -> None:
    (plan,) = plans_of(lora(alpha=alpha)).values()
    assert plan.alpha == 4.0


def test_info_tells_what_is_strange(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_adapter(tmp_path / "x", lora(1e20, 1e30))
    info([str(damaged(tmp_path / "x"))])
    said = capsys.readouterr().out
    assert "tensors were changed after saving" in said and "get the file again" in said
    assert "which overflows" in said


@pytest.mark.parametrize("content", [b"{}", b"{}      ", b'{"__metadata__": {}}'])
def test_a_file_without_tensors_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(FormatError, match="the file holds no tensors"):
        info([str(tmp_path / "x")])


def test_a_header_in_utf_16_is_refused(tmp_path: Path) -> None:
    content = "{}".encode("utf-16")
    (tmp_path / "x").write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(FormatError):
        info([str(tmp_path / "x")])


def test_a_network_that_is_loaded_from_a_damaged_file_warns(tmp_path: Path) -> None:
    save_adapter(tmp_path / "x", lora())
    model = nn.Sequential(nn.Linear(16, 16))
    assert load_network(tmp_path / "x", {"model": model}).notices == ()
    with pytest.warns(NetworkWarning, match="do not fit the hash"):
        network = load_network(damaged(tmp_path / "x"), {"model": model})
    assert len(network.notices) == 1


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_merge_that_overflows_is_refused_and_undone(dtype: torch.dtype, keep: bool) -> None:
    model = nn.Sequential(nn.Linear(16, 16)).to(dtype)
    before = model[0].weight.detach().clone()
    size = 1e30 if dtype == torch.float32 else 1e3
    network = load_network(lora(size, size), {"model": model})
    with pytest.raises(FormatError, match="NaN or beyond the largest number"):
        network.merge(keep=keep)
    assert not keep or torch.equal(model[0].weight, before)
