"""network_module: the layers, ranks and alphas that sd-scripts and LyCORIS give it are ours, too.

The layers are counted and named by the rules below, which were read off sd-scripts' classes;
tests/hosts/test_sd_scripts_models.py compares them with the real networks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from torch import nn

from lycoris_ext.config import Reading, build_config
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.errors import ConfigError
from lycoris_ext.models import build_meta
from lycoris_ext.network import NetworkConfig
from lycoris_ext.network.selection import SelectedLayer, select_layers

#: (number of the down block, of the up block) -> depth of each of its transformers.
DEPTHS = {
    "sd1": ({0: 1, 1: 1, 2: 1}, 1, {1: 1, 2: 1, 3: 1}),
    "sdxl": ({1: 2, 2: 10}, 10, {0: 10, 1: 2}),
}
LEVELS = {"sd1": 4, "sdxl": 3}
ATTENTION = [f"attn{n}.{name}" for n in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")]


def transformers(family: str) -> set[str]:
    """The U-Net's layers inside Transformer2DModel, under diffusers' names."""
    down, middle, up = DEPTHS[family]
    places = {f"down_blocks.{i}.attentions.{j}": down[i] for i in down for j in range(2)}
    places |= {f"up_blocks.{i}.attentions.{j}": up[i] for i in up for j in range(3)}
    places["mid_block.attentions.0"] = middle
    return {
        f"{place}.{name}"
        for place, depth in places.items()
        for name in (
            "proj_in",
            "proj_out",
            *(
                f"transformer_blocks.{block}.{inner}"
                for block in range(depth)
                for inner in (*ATTENTION, "ff.net.0.proj", "ff.net.2")
            ),
        )
    }


def resnets(family: str) -> set[str]:
    """The layers inside ResnetBlock2D, Downsample2D and Upsample2D."""
    levels = LEVELS[family]
    down = [f"down_blocks.{i}.resnets.{j}" for i in range(levels) for j in range(2)]
    up = [f"up_blocks.{i}.resnets.{j}" for i in range(levels) for j in range(3)]
    middle = ["mid_block.resnets.0", "mid_block.resnets.1"]
    widened = {f"down_blocks.{i}.resnets.0" for i in range(1, 3)} | {*up}
    names = {
        f"{place}.{name}"
        for place in (*down, *middle, *up)
        for name in ("conv1", "conv2", "time_emb_proj")
    }
    names |= {f"{place}.conv_shortcut" for place in widened}
    names |= {f"down_blocks.{i}.downsamplers.0.conv" for i in range(levels - 1)}
    return names | {f"up_blocks.{i}.upsamplers.0.conv" for i in range(levels - 1)}


@cache
def models(family: str) -> dict[str, nn.Module]:
    return build_meta(family)


def network(module: str | None, *arguments: str, **options: Any) -> NetworkConfig:
    values = {"network_args": list(arguments), **options}
    if module is not None:
        values["network_module"] = module
    return build_config([OptionSource("a.toml", values)]).network


def layers(family: str, config: NetworkConfig) -> dict[str, SelectedLayer]:
    """Path in the U-Net -> layer."""
    unet = {"unet": models(family)["unet"]}
    return {layer.site.path: layer for layer in select_layers(unet, config)}


COUNTS = {("sd1", False): 192, ("sdxl", False): 722, ("sd1", True): 278, ("sdxl", True): 788}
MODULES = ("networks.lora", "networks.loha", "networks.lokr", "networks.dylora")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("family", "conv"), COUNTS)
def test_sd_scripts_modules_adapt_blocks_and_with_conv_dim_resnets(
    module: str, family: str, conv: bool
) -> None:
    arguments = ["conv_dim=4", "conv_alpha=2"] if conv else []
    config = network(module, *arguments, network_dim=4, network_alpha=2)
    found = layers(family, config)
    assert set(found) == transformers(family) | (resnets(family) if conv else set())
    assert len(found) == COUNTS[family, conv]
    assert {(layer.rank, layer.alpha) for layer in found.values()} == {(4, 2.0)}
    assert config.algorithm.name == module.partition(".")[2]
    targets = models(family)
    texts = [one.site for one in select_layers(targets, config) if one.site.target != "unet"]
    assert len(texts) == {"sd1": 72, "sdxl": 264}[family]


def test_the_ranks_that_modules_have_without_network_dim() -> None:
    assert network("networks.lora").network_dim == network("lycoris.kohya").network_dim == 4
    config = network("networks.lora", "conv_dim=8", network_dim=16, network_alpha=8)
    found = layers("sd1", config)
    assert (found["mid_block.resnets.0.conv1"].rank, found["mid_block.resnets.0.conv1"].alpha) == (
        8,
        1.0,
    )
    config = network("lycoris.kohya", network_dim=16, network_alpha=8)
    assert (config.dims(spatial=True), config.algo) == ((16, 8.0), "locon")
    config = network("locon.locon_kohya", "conv_dim=2", network_dim=16, network_alpha=8)
    assert (config.dims(spatial=True), config.preset) == ((2, 8.0), "blocks")
    assert network("networks.lora", network_dim=16, network_alpha=0).network_alpha == 16


def test_conv_dim_0_adapts_the_linear_layers_of_resnets() -> None:
    found = layers("sd1", network("networks.lora", "conv_dim=0"))
    pointwise = {name for name in resnets("sd1") if name.endswith(("time_emb_proj", "shortcut"))}
    assert set(found) == transformers("sd1") | pointwise


def test_dylora_and_lycoris_have_their_own_defaults() -> None:
    assert network("networks.dylora").block_size == 1
    assert network("networks.dylora", "unit=2").block_size == 2
    assert network("lycoris.kohya", "algo=dylora").block_size == 4
    assert network("lycoris.kohya", "dora_wd=True").wd_on_output
    assert not network("lycoris_ext.kohya", "dora_wd=True").wd_on_output
    assert network("lycoris.kohya", "preset=attn-mlp").preset == "attn-mlp"


def block_of(path: str, family: str) -> int:
    """sd-scripts' number of a layer's block, as get_block_index counts it."""
    first, number, kind, place = (*path.replace("mid_block", "mid.0").split("."), "0")[:4]
    if first == "mid":
        middles = {"resnets0": 0, "attentions0": 1, "resnets1": 2}
        return 12 if family == "sd1" else 10 + middles[kind + place]
    index = 3 * int(number) + (2 if kind.endswith("samplers") else int(place))
    if first == "down_blocks":
        return index + (1 if family == "sd1" else 2)
    return index + 13


@pytest.mark.parametrize(("family", "count"), [("sd1", 25), ("sdxl", 23)])
@pytest.mark.parametrize("conv", [False, True])
def test_ranks_of_blocks_are_those_of_sd_scripts(family: str, count: int, conv: bool) -> None:
    dims = ",".join(str(block % 5 + 1) for block in range(count))
    convs = ",".join(str(block % 3) for block in range(count))
    arguments = [f"block_dims={dims}"]
    if conv:
        arguments += [f"conv_block_dims={convs}", "conv_dim=7"]
    config = network("networks.lora", *arguments, network_dim=3, network_alpha=2)
    found = layers(family, config)
    expected = {path: block_of(path, family) % 5 + 1 for path in transformers(family)}
    if conv:
        for path in resnets(family):
            block, wide = block_of(path, family), path.endswith(("conv1", "conv2", ".conv"))
            expected[path] = block % 3 if wide else block % 5 + 1
    assert {path: layer.rank for path, layer in found.items()} == {
        path: rank for path, rank in expected.items() if rank
    }
    texts = select_layers(models(family), config)
    assert {one.rank for one in texts if one.site.target != "unet"} == {3}


def test_blocks_with_a_weight_of_0_get_no_adapter() -> None:
    arguments = ["down_lr_weight=0,0,0,0,1,1,1,0.5,0.5,0,0,0", "mid_lr_weight=2"]
    found = layers("sd1", network("networks.lora", *arguments))
    blocks = {block_of(path, "sd1"): layer.rate.weight for path, layer in found.items()}
    assert blocks == {4: 1.0, 5: 1.0, 7: 0.5, 8: 0.5, 12: 2.0, **dict.fromkeys(range(16, 25), 1.0)}


def test_blocks_are_read_for_our_own_network_too() -> None:
    dims = ",".join(["0"] * 12 + ["6"] + ["0"] * 12)
    found = layers("sd1", network(None, f"block_dims={dims}", algo="lora"))
    inside = {path: layer.rank for path, layer in found.items() if path.startswith("mid_block")}
    assert set(inside.values()) == {6}
    ends = {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert {path for path in found if not path.startswith("mid_block")} <= ends


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("networks.lora_fa", [], "use networks.lora"),
        ("networks.oft", [], "diag-oft"),
        ("networks.lora_flux", [], "train this model in sd-scripts"),
        ("networks.lorra", [], "did you mean networks.lora"),
        ("my.own", [], "use networks.lora, networks.loha"),
        ("networks.lora", ["block_dims=1,2,3"], "block_dims has 3 numbers"),
        ("networks.lora", ["down_lr_weight=sine"], "no list of numbers tells the model"),
    ],
)
def test_what_cannot_be_trained_here_is_refused_with_the_nearest(
    module: str, arguments: list[str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        network(module, *arguments)
    assert said in str(caught.value) and "a.toml" in str(caught.value)


def test_what_is_left_out_on_demand_gives_way_to_the_nearest_network() -> None:
    for arguments, module in (([], "networks.lora_fa"), (["block_dims=1,2"], "networks.lora")):
        values = {"network_module": module, "network_args": arguments, "network_dim": 16}
        reading = Reading(skip_unsupported=True)
        made = build_config([OptionSource("a.toml", values, True)], reading).network
        assert (made.algo, made.preset, made.network_dim) == ("lora", "attn-mlp", 16)
        assert len(reading.left_out) == 1
