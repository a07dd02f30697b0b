"""`lycoris-ext config`: what it writes builds the layers, ranks, alphas and forms of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lycoris_ext.config import build_config
from lycoris_ext.config.from_adapter import write_config
from lycoris_ext.config.toml_file import parse_toml
from lycoris_ext.errors import ConfigError
from lycoris_ext.models import build_meta
from lycoris_ext.network import PRESETS, LayerOverride, Network, NetworkConfig, build_network
from lycoris_ext.network.sites import all_sites
from tests.contract.cases import OWN

Layers = dict[str, dict[str, Tensor]]


@cache
def models(family: str) -> dict[str, nn.Module]:
    return build_meta(family)


def layers_of(network: Network, dtype: torch.dtype = torch.float32) -> Layers:
    """Return the layers of a file of a network over meta models, with tensors of zeros."""
    stored = {}
    for key, layer in network.layers.items():
        tensors = {}
        for name, tensor in layer.tensors().items():
            constant = next((f.constant for f in layer.plan.factors() if f.key == name), None)
            tensors[name] = torch.tensor(constant or 0.0, dtype=dtype).expand(tensor.shape)
        if layer.plan.algorithm.stores_alpha:
            tensors["alpha"] = torch.tensor(float(layer.plan.alpha), dtype=dtype)
        stored[key] = tensors
    return stored


def text_of(layers: Layers, metadata: Mapping[str, str] | None = None) -> str:
    return write_config(metadata or {}, layers)


def read(text: str) -> NetworkConfig:
    return build_config([parse_toml(text, "again.toml")]).effective_network


def content(layers: Layers) -> dict[str, Any]:
    """Return what must be equal: names, shapes, alphas and constants."""
    return {
        key: {
            name: tensor.item() if tensor.ndim == 0 else tuple(tensor.shape)
            for name, tensor in tensors.items()
        }
        for key, tensors in layers.items()
    }


def check(layers: Layers, targets: dict[str, nn.Module], dtype: torch.dtype) -> str:
    """Write the config of a file, build its network again, and compare; return the text."""
    text = text_of(layers)
    again = build_network(targets, read(text))
    assert content(layers_of(again, dtype)) == content(layers), text
    return text


def built(family: str, **options: Any) -> Network:
    return build_network(models(family), NetworkConfig(**options))


@pytest.mark.parametrize(
    ("family", "preset"),
    [
        *(("sd1", name) for name in PRESETS if name != "none"),
        ("sd2", "attn-mlp"),
        ("sdxl", "attn-mlp"),
    ],
)
def test_each_preset_is_found_again(family: str, preset: str) -> None:
    """full-lin is full without convolutions, so of two presets with equal layers either will do."""
    algo = "ia3" if preset == "ia3" else "locon"
    network = built(family, algo=algo, network_dim=4, conv_dim=2, preset=preset)
    text = check(layers_of(network), models(family), torch.float32)
    assert "include" not in text and "exclude" not in text and "overrides" not in text


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"preset": "attn-mlp"}, ['preset = "attn-mlp"']),
        (
            {"preset": "attn-only", "network_train_unet_only": True},
            ['preset = "attn-only"', "network_train_unet_only = true"],
        ),
        ({"exclude": (r"\.attn2\.",)}, [r"exclude = ['\.attn2\.']"]),
        ({"exclude": (r"up_blocks\.[12]",)}, [r"exclude = ['\.up_blocks\.[12]\.']"]),
        ({"exclude": ("^text_encoder_2",)}, ['preset = "unet-only"', r"['^text_encoder\.']"]),
        (
            {"preset": "attn-mlp", "include": ("conv_in",), "conv_dim": 3},
            ['preset = "attn-mlp"', r"include = ['\.conv_in$']"],
        ),
        (
            {
                "preset": "attn-mlp",
                "overrides": (LayerOverride(match="mid_block", network_dim=2, network_alpha=2.0),),
            },
            [r"match = '\.mid_block\.'", "network_dim = 2", "network_alpha = 2.0"],
        ),
        (
            {
                "preset": "attn-mlp",
                "overrides": (LayerOverride(match="mid_block", network_alpha=2.0),),
            },
            [r"match = '\.mid_block\.'", "network_alpha = 2.0"],
        ),
        ({"preset": "attn-mlp", "train_norm": True}, ["train_norm = true"]),
    ],
)
def test_a_choice_of_layers_is_written_in_few_words(
    options: dict[str, Any], lines: list[str]
) -> None:
    family = "sdxl" if "unet-only" in lines[0] else "sd1"
    network = built(family, **{"algo": "lora", "network_dim": 4, **options})
    text = check(layers_of(network), models(family), torch.float32)
    for line in lines:
        assert line in text
    assert len(text.splitlines()) < 20


FORMS: dict[str, dict[str, Any]] = {
    f"{algo}, {form}": {"algo": algo, **options}
    for algo in ("lokr", "ia3", "diag-oft", "boft")
    for form, options in OWN[algo].items()
} | {
    "lora": {"algo": "lora"},
    "locon, tucker": {"algo": "locon", "use_tucker": True},
    "loha": {"algo": "loha"},
    "loha, tucker": {"algo": "loha", "use_tucker": True},
    "loha, rs": {"algo": "loha", "rs_lora": True},
    "dora": {"algo": "lora", "dora_wd": True},
    "dora on output": {"algo": "loha", "dora_wd": True, "wd_on_output": True},
    "glora": {"algo": "glora"},
    "full": {"algo": "full"},
    "tlora": {"algo": "tlora"},
    "norm": {"algo": "norm"},
}


def of_form(form: str, **options: Any) -> dict[str, Any]:
    sizes: dict[str, Any] = {"network_dim": 2, "conv_dim": 1}
    if FORMS[form]["algo"] in ("diag-oft", "boft"):
        sizes = {"network_dim": 20, "conv_dim": 10}
    return {**sizes, **FORMS[form], **options}


@pytest.mark.parametrize("form", FORMS)
def test_every_algorithm_comes_back_over_a_part_of_sd1(form: str) -> None:
    include = (r"\.mid_block\.", r"\.down_blocks\.0\.", r"encoder\.layers\.3\.")
    options = of_form(form, preset="none", include=include)
    check(layers_of(built("sd1", **options)), models("sd1"), torch.float32)


SOME = sorted(site.name for site in all_sites(build_meta("sd1")).values())


@st.composite
def networks(draw: st.DrawFn) -> NetworkConfig:
    """A config over SD1: a form, a preset or some of the layers, and sizes for some of them."""
    form = draw(st.sampled_from([name for name in FORMS if name != "norm"]))
    options = of_form(form)
    options["network_alpha"] = draw(st.sampled_from([1.0, 0.1, 3.0]))
    options["train_norm"] = draw(st.booleans())
    if draw(st.booleans()):
        options["preset"] = draw(st.sampled_from([name for name in PRESETS if name != "none"]))
    else:
        names = draw(st.lists(st.sampled_from(SOME), min_size=1, max_size=30, unique=True))
        options |= {"preset": "none", "include": tuple(f"^{re.escape(name)}$" for name in names)}
    tables = []
    for match in draw(st.lists(st.sampled_from(PARTS), max_size=3, unique=True)):
        if FORMS[form]["algo"] in ("diag-oft", "boft"):
            table: dict[str, Any] = {"algo": "lora", "network_dim": draw(st.integers(1, 3))}
        else:
            table = {"network_dim": draw(st.integers(1, 4))}
            if draw(st.booleans()):
                table |= {"algo": draw(st.sampled_from(["lora", "loha", "lokr", "full"]))}
        table["network_alpha"] = draw(st.sampled_from([1.0, 0.5, 2.0]))
        tables.append(LayerOverride(match=match, **table))
    return NetworkConfig(**options, overrides=tuple(tables))


PARTS = ("down_blocks", "attn2", r"resnets\.1", "to_k$", "text_encoder", "conv1", r"mid_block\.a")


@settings(max_examples=6, suppress_health_check=[HealthCheck.filter_too_much])
@given(networks(), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_any_network_over_sd1_comes_back(config: NetworkConfig, dtype: torch.dtype) -> None:
    try:
        network = build_network(models("sd1"), config)
    except ConfigError:
        assume(False)  # an override that fits no layer, a rank that no layer has
    check(layers_of(network, dtype), models("sd1"), dtype)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(6, 6)
        self.to_out = nn.ModuleList([nn.Linear(6, 8)])
        self.conv1 = nn.Conv2d(4, 6, 3)
        self.norm_1 = nn.LayerNorm(6)


class Plain(nn.Module):
    """A module whose layers have names that cannot be taken apart at their underscores."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.blocks1_to_q = nn.Linear(6, 6)
        self.x_block = Block()
        self.head = nn.Linear(8, 4)


PLAIN = [
    path
    for path, module in Plain().named_modules()
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.LayerNorm))
]
SMALL = {"network_dim": 2, "conv_dim": 1}
PLAIN_FORMS = {name: {**SMALL, **FORMS[name]} for name in ("lora", "locon, tucker", "loha", "full")}
PLAIN_FORMS["lokr"] = {**SMALL, "algo": "lokr", "factor": 2}
PLAIN_FORMS["diag-oft"] = {**SMALL, "algo": "diag-oft", "conv_dim": 2}
PLAIN_FORMS["ia3"] = {**SMALL, "algo": "ia3"}


@settings(max_examples=25)
@given(
    form=st.sampled_from(sorted(PLAIN_FORMS)),
    chosen=st.lists(st.sampled_from(PLAIN), min_size=1, unique=True),
    small=st.lists(st.sampled_from(PLAIN), unique=True),
    target=st.sampled_from(["model", "unet", "text_encoder", "diffusion_model"]),
)
def test_any_layers_of_a_module_that_is_not_known_come_back(
    form: str, chosen: list[str], small: list[str], target: str
) -> None:
    """Its other layers stay without adapter, though nobody can tell from the file what they are."""
    tables = ()
    found = sorted(set(small) & {path for path in chosen if "norm" not in path})
    if found and PLAIN_FORMS[form]["algo"] in ("lora", "loha"):
        match = "|".join(rf"\.{re.escape(path)}$" for path in found)
        tables = (LayerOverride(match=match, network_dim=1, network_alpha=0.25),)
    include = tuple(rf"^[^.]+\.{re.escape(path)}$" for path in chosen)
    targets: dict[str, nn.Module] = {target: Plain()}
    options = {**PLAIN_FORMS[form], "preset": "none", "train_norm": True, "include": include}
    if options["algo"] == "lora":
        options["algo"] = "locon"
    try:
        network = build_network(targets, NetworkConfig(**options, overrides=tables))
    except ConfigError:
        assume(False)  # no layer has what an option is for: Tucker cores, with normalisations alone
    check(layers_of(network), targets, torch.float32)


def test_a_rank_that_metadata_tell_wrongly_is_that_of_the_tensors() -> None:
    network = built("sd1", algo="lora", network_dim=4, preset="attn-mlp")
    arguments = '{"dropout": "0.1", "conv_dim": "4", "up_lr_weight": "1,1"}'
    metadata = {
        "ss_network_dim": "64",
        "ss_network_alpha": "8",
        "ss_network_module": "x.y",
        "ss_network_args": arguments,
    }
    text = text_of(layers_of(network), metadata)
    assert (read(text).network_dim, read(text).network_alpha) == (4, 1.0)
    assert read(text).dropout == 0.1 and read(text).conv_dim == 0
    assert '# network_args = ["up_lr_weight=1,1"]' in text
    assert '# network_module = "x.y"' in text


def test_a_stored_config_that_does_not_build_the_file_gives_way_to_the_tensors() -> None:
    network = built("sd1", algo="lora", network_dim=4, preset="attn-only")
    for stored, kept in (("attn-only", True), ("full", False)):
        config = f'[network]\nalgo = "lora"\nnetwork_dim = 4\npreset = "{stored}"\ndropout = 0.5\n'
        text = text_of(layers_of(network), {"lycoris_ext_config": config + "[run]\nseed = 3\n"})
        assert ("From the config that the file holds. " in text) is kept
        found = build_config([parse_toml(text, "again.toml")])
        assert (found.network.preset, found.network.dropout) == ("attn-only", 0.5)
        assert found.run.seed == 3


def test_what_no_option_makes_is_told_in_a_comment() -> None:
    network = built("sd1", algo="lora", network_dim=4, preset="attn-only")
    layers = layers_of(network)
    biased = [key for key, site in network.sites.items() if site.spec.has_bias]
    for key in biased:
        layers[key]["diff_b"] = torch.zeros(network.sites[key].spec.out_features)
    text = text_of(layers)
    assert f"# No option makes what the file has beside its factors: bias in {len(biased)} " in text
    assert "dim_from_weights = true" in text and read(text).preset == "attn-only"
    assert "No option makes" not in text_of(layers_of(network))


def test_layers_of_two_algorithms_in_one_file_come_back() -> None:
    table = LayerOverride(match="attn2", algo="lokr", factor=4, network_dim=1)
    network = built("sd1", algo="loha", network_dim=4, preset="attn-mlp", overrides=(table,))
    text = check(layers_of(network), models("sd1"), torch.float32)
    assert r"match = '\.attn2\.'" in text and 'algo = "lokr"' in text


def test_a_file_of_diffusers_gets_the_preset_of_its_attention_layers() -> None:
    network = built("sd1", algo="lora", network_dim=4, preset="attn-only", network_alpha=4.0)
    layers = {
        f"unet.{network.sites[key].path}": {n: t for n, t in tensors.items() if n != "alpha"}
        for key, tensors in layers_of(network).items()
        if key.startswith("lora_unet")
    }
    assert len(layers) == 128
    text = text_of(layers)
    assert 'preset = "attn-only"' in text and "network_train_unet_only = true" in text
