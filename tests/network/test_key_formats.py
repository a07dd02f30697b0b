"""Random adapters through the keys of every tool, and files that fit nowhere."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import Plan, algorithm, algorithm_names, detect
from lycoris_ext.errors import ConfigError, DataError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter, parse_adapter, save_adapter
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.network.sites import Site, all_sites, place_layers
from tests.key_formats import FORMATS, KeyFormat
from tests.stand_ins import stand_in

Layers = dict[tuple[str, str], dict[str, Tensor]]
FAMILIES = ("sd", "sdxl")
SITES = {
    (family, naming): all_sites(stand_in(family, naming))
    for family in FAMILIES
    for naming in ("diffusers", "ldm")
}
#: algorithms with files of their own, for layers that are matrices
STORED = [
    name
    for name in algorithm_names()
    if not algorithm(name).trains and not algorithm(name).of_norms
]


def random_adapter(dice: random.Random, family: str) -> Layers:
    """Return some layers of one random algorithm, each with its own rank, alpha and dtype."""
    sites = list(SITES[family, "diffusers"].values())
    # every second one a LoRA, which alone all formats have
    chosen = algorithm(dice.choice([*STORED, *["lora"] * len(STORED)]))
    generator = torch.Generator().manual_seed(dice.randrange(2**31))
    layers: Layers = {}
    count = dice.randint(1, 4)
    for site in dice.sample(sites, len(sites)):
        if len(layers) == count:
            break
        rank = dice.randint(1, 3)
        asked = {"use_tucker": dice.random() < 0.5, "factor": dice.choice([-1, 2])}
        options = {name: value for name, value in asked.items() if chosen.reads(name)}
        try:
            plan = chosen.plan(site.spec, rank, rank, chosen.Options(**options))
        except ConfigError:
            continue  # OFT: outputs that have no such blocks
        dtype = dice.choice([torch.float16, torch.bfloat16, torch.float32])
        layers[site.target, site.path] = {
            **{
                name: torch.randn(shape, generator=generator).to(dtype)
                for name, shape in plan.shapes().items()
            },
            **{f.key: torch.tensor(f.constant) for f in plan.factors() if f.constant is not None},
            "alpha": torch.tensor(dice.choice([1.0, 0.5, rank])).to(dtype),
        }
    assert layers
    return layers


def read(tensors: dict[str, Tensor], sites: dict[str, Site]) -> dict[str, tuple[Plan, dict]]:
    """Write and read the bytes of a file; return our key -> (plan, tensors)."""
    state = parse_adapter(bytearray(safetensors.torch.save(tensors)), "test.safetensors")
    layers = state.layers()
    placed = place_layers(layers, sites)
    assert placed.keys() == layers.keys()
    return {
        placed[layer].key: (detect(stored, layer, placed[layer].spec), stored)
        for layer, stored in layers.items()
    }


def check(key_format: KeyFormat, layers: Layers, family: str, naming: str) -> int:
    sites = SITES[family, naming]
    tensors = key_format.write(layers, family)
    if not tensors:
        return 0
    found = read(tensors, sites)
    by_place = {site.place: site.key for site in SITES[family, "diffusers"].values()}
    named = {(site.target, site.path): by_place[site.place]
             for site in SITES[family, "diffusers"].values()}  # fmt: skip
    for layer, stored in layers.items():
        if named[layer] not in found:
            continue
        plan, tensors_found = found[named[layer]]
        for name, tensor in stored.items():
            if name != "alpha" or key_format.has_alpha:
                assert torch.equal(tensors_found[name], tensor), (key_format.name, layer, name)
        assert plan.alpha == (float(stored["alpha"]) if key_format.has_alpha else plan.rank)
    return len(found)


def test_a_thousand_random_adapters_are_read_from_every_format() -> None:
    read_layers = dict.fromkeys((key_format.name for key_format in FORMATS), 0)
    for seed in range(1000):
        dice = random.Random(seed)
        family, naming = dice.choice(FAMILIES), dice.choice(["diffusers", "ldm"])
        layers = random_adapter(dice, family)
        is_lora = all("lora_up.weight" in stored for stored in layers.values())
        flat = all("lora_mid.weight" not in stored for stored in layers.values())
        for key_format in FORMATS:
            if (is_lora and flat) or not key_format.only_lora:
                read_layers[key_format.name] += check(key_format, layers, family, naming)
    assert min(read_layers.values()) > 100, read_layers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("algo", ["locon", "loha"])
def test_a_file_over_one_naming_of_the_unet_loads_into_the_other(
    family: str, algo: str, tmp_path: Path
) -> None:
    """Files go from diffusers' U-Net to the one with ldm's names, and the other way round."""
    models = {naming: stand_in(family, naming) for naming in ("diffusers", "ldm")}
    include = ("",)  # every layer: the stand-ins have no blocks that a preset knows
    for naming, other in (("diffusers", "ldm"), ("ldm", "diffusers")):
        config = NetworkConfig(algo=algo, network_dim=2, conv_dim=2, include=include)
        network = build_network(models[naming], config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
        save_adapter(tmp_path / "a", network.adapter_state(dtype=None))
        again = load_network(tmp_path / "a", models[other])
        assert again.sites.keys() == network.sites.keys()
        for key, tensor in network.state_dict().items():
            assert torch.equal(again.state_dict()[key], tensor)
        starts = {key.split("_")[1] for key in again.sites}
        assert starts == ({"unet", "te"} if family == "sd" else {"unet", "te1", "te2"})
        ldm = {key for key in again.sites if "input_blocks" in key}
        assert bool(ldm) is (family == "sdxl")


LORA = {"lora_A.weight": torch.ones(2, 6), "lora_B.weight": torch.ones(8, 2)}
TO_Q = "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q"


def lora_file(start: str) -> dict[str, Tensor]:
    return {f"{start}{TO_Q}.{name}": tensor for name, tensor in LORA.items()}


def alpha_of(state: AdapterState) -> float:
    (layer,) = load_network(state, stand_in("sd")).layers.values()
    return layer.plan.alpha


@pytest.mark.parametrize(
    ("config", "alpha"),
    [
        ({}, 2.0),  # the rank
        ({"unet.lora_alpha": 5, "text_encoder.lora_alpha": 3}, 5.0),
        ({"unet.lora_alpha": 5, "unet.alpha_pattern": {"attn1.to_q": 7}}, 7.0),
        ({"unet.lora_alpha": 5, "unet.alpha_pattern": {"to_k": 7, "q": 8}}, 5.0),
        ({"unet.lora_alpha": 5, "unet.use_rslora": True}, 5 * 2**0.5),
    ],
)
def test_the_alpha_is_read_from_diffusers_metadata(config: dict[str, object], alpha: float) -> None:
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    assert alpha_of(AdapterState(lora_file("unet."), metadata)) == pytest.approx(alpha)


def test_the_alpha_is_read_from_pefts_config_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_adapter(path, AdapterState(lora_file("base_model.model.")))
    assert alpha_of(load_adapter(path)) == 2.0
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 9, "r": 2}))
    assert alpha_of(load_adapter(path)) == 9.0
    (tmp_path / "adapter_config.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"adapter_config\.json: cannot be read"):
        load_adapter(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"unet.lora_alpha": "x"}', "alpha is 'x'"),
        ('{"unet.lora_alpha": NaN}', "alpha is nan"),
        ('{"unet.alpha_pattern": {"(a+)+$": 1}}', "may take very long"),
    ],
)
def test_metadata_of_diffusers_that_cannot_be_followed_are_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        alpha_of(AdapterState(lora_file("unet."), {"lora_adapter_metadata": text}))


def test_a_layer_without_a_target_that_fits_two_models_is_refused() -> None:
    path = "text_model.encoder.layers.0.self_attn.q_proj"
    tensors = {f"base_model.model.{path}.{name}": tensor for name, tensor in LORA.items()}
    targets = stand_in("sdxl")
    with pytest.raises(FormatError, match=r"any of text_encoder\.text_model.*text_encoder_2\."):
        load_network(AdapterState(tensors), targets)
    only = {"text_encoder": nn.Module()}
    only["text_encoder"].add_module("text_model", targets["text_encoder"].text_model)
    with pytest.raises(
        FormatError, match="the layer needs"
    ):  # placed: now its shapes are looked at
        load_network(AdapterState(tensors), only)


def test_two_names_of_one_layer_are_refused() -> None:
    with pytest.raises(FormatError, match="name the same layer"):
        load_network(AdapterState({**lora_file("unet."), **lora_file("")}), stand_in("sd"))


def test_layers_of_a_file_that_cannot_be_placed_are_counted_and_listed() -> None:
    tensors = {f"unet.nowhere.{number}.{name}": tensor for number in range(12)
               for name, tensor in LORA.items()}  # fmt: skip
    with pytest.raises(FormatError, match=r"12 layers of the file.*nowhere\.0, .* and 2 more"):
        load_network(AdapterState(tensors), stand_in("sd"))


def test_a_loaded_network_does_not_change_with_its_file(tmp_path: Path) -> None:
    """The file is mapped while it is read; afterwards it may be cut short or replaced."""
    path = tmp_path / "a.safetensors"
    save_adapter(path, AdapterState(lora_file("unet.")))
    network = load_network(path, stand_in("sd"))
    path.write_bytes(b"")
    assert all(float(parameter.sum()) == parameter.numel() for parameter in network.parameters())
