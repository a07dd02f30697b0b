"""An algorithm with an option of its own is one file: everything else follows from registering it.

``Bundles`` stands here, outside of the package, and goes through the same door as every other one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from comfy_nodes.network import Network as NetworkNode
from comfy_nodes.network import NetworkAlgorithms
from kohya_adapter.arguments import read_arguments
from lycoris_ext.algorithms import Algorithm, Plan, register, unregister
from lycoris_ext.algorithms.parts import Factor, Part, Raw, normal
from lycoris_ext.cli.train import config_from_arguments
from lycoris_ext.config import all_options, dump_toml
from lycoris_ext.config.from_adapter import write_config
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import load_adapter, save_adapter
from lycoris_ext.formats.keys import split_key
from lycoris_ext.functional import Delta, Diagonal, FrozenLayer, LayerSpec, OutputMap
from lycoris_ext.network import LayerOverride, NetworkConfig, build_network, load_network
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.options import Section, option
from lycoris_ext.training.terminal import train_in_terminal
from tests.config.documents import options_as_markdown


@dataclass(frozen=True, init=False)
class BundlesOptions(Section):
    bundle: int = option(
        4, "How many neighbouring output channels share a factor; it must divide them.", low=1
    )


class Bundles(Algorithm):
    """W' = diag(1 + s) W, where neighbouring outputs share an entry of s."""

    name = "bundles"
    Options = BundlesOptions
    needs_base = True
    stores_alpha = False
    parts: ClassVar = {"s": (Raw(Factor("bundle_scale", "bundles", normal(0.1), zero=True)),)}

    @classmethod
    def choose(cls, layer: LayerSpec, rank: int, alpha: float, options: BundlesOptions) -> Plan:
        bundles, left_over = divmod(layer.out_features, options.bundle)
        if left_over:
            raise ConfigError(
                f"{layer.out_features} outputs are no bundles of {options.bundle}",
                where="bundle",
                fix="choose a size that divides them",
            )
        return Plan(cls, layer, (0,), rank, alpha, (layer,), (("bundles", bundles),))

    @classmethod
    def shown_options(cls, plan: Plan) -> dict[str, Any]:
        return {"bundle": plan.layer.out_features // dict(plan.extra_axes)["bundles"]}

    @classmethod
    def delta(cls, parts: Mapping[str, Part], plan: Plan, base: FrozenLayer | None) -> Delta:
        scales = parts["s"]
        assert isinstance(scales, Tensor) and base is not None
        each = scales.repeat_interleave(plan.layer.out_features // len(scales))
        return OutputMap(plan.layer, plan.scale, base, Diagonal(each))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register(Bundles)
    yield
    unregister("bundles")


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 8)
    return nn.Sequential(*layers).requires_grad_(False)


def bundles(model: nn.Module, **options: Any) -> dict[str, int]:
    """Return key -> how many numbers are trained."""
    network = build_network({"model": model}, NetworkConfig(algo="bundles", **options))
    return {key: len(layer.tensors()["bundle_scale"]) for key, layer in network.layers.items()}


def test_an_algorithm_from_outside_trains_and_comes_back_from_its_file(
    model: nn.Sequential, tmp_path: Path
) -> None:
    network = build_network({"model": model}, NetworkConfig(algo="bundles", bundle=2))
    x = torch.randn(5, 6)
    before, wanted = model(x), torch.randn(5, 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with network.injected():
        torch.testing.assert_close(model(x), before)  # a fresh adapter changes nothing
        loss = (model(x) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        trained = model(x)
        assert (trained - wanted).square().mean() < loss
    save_adapter(tmp_path / "a.safetensors", network.adapter_state(dtype=None))
    again = load_network(tmp_path / "a.safetensors", {"model": model})
    with again.injected():
        torch.testing.assert_close(model(x), trained)
    assert {layer.plan.algorithm for layer in again.layers.values()} == {Bundles}
    assert split_key("model.block.bundle_scale") == ("model.block", "bundle_scale")


def test_the_option_of_an_algorithm_is_a_flag_a_toml_line_and_a_network_arg(tmp_path: Path) -> None:
    config = config_from_arguments(["--algo", "bundles", "--bundle", "2"])
    assert config.network.bundle == 2  # type: ignore[attr-defined]
    (tmp_path / "a.toml").write_text(dump_toml(config), encoding="utf-8")
    assert "bundle = 2" in dump_toml(config)
    assert config_from_arguments([str(tmp_path / "a.toml")]) == config
    arguments = read_arguments(None, None, None, {"algo": "bundles", "bundle": "2"})
    assert arguments.as_texts()["bundle"] == "2"
    (tmp_path / "b.toml").write_text('network_args = ["algo=bundles", "bundle=2"]', "utf-8")
    assert config_from_arguments([str(tmp_path / "b.toml")]).network == config.network


def test_help_lists_the_option_of_an_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config_from_arguments(["--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--bundle INT How many neighbouring output channels share a factor" in shown
    assert "Only for bundles. A whole number, 1 or more" in shown


def test_overrides_and_preset_files_give_layers_another_value_of_the_option(
    model: nn.Sequential, tmp_path: Path
) -> None:
    assert bundles(model) == {"lycoris_0": 2, "lycoris_2": 2}
    override = LayerOverride(match="model.2", bundle=1)
    assert bundles(model, overrides=(override,)) == {"lycoris_0": 2, "lycoris_2": 8}
    preset = tmp_path / "preset.toml"
    preset.write_text('[name_algo_map."0"]\nbundle = 8', encoding="utf-8")
    assert bundles(model, preset=str(preset)) == {"lycoris_0": 1, "lycoris_2": 2}
    alone = NetworkConfig(overrides=(LayerOverride(match="2", algo="bundles", bundle=8),))
    found = build_network({"model": model}, alone).layers
    assert {layer.plan.algorithm.name for layer in found.values()} == {"loha", "bundles"}


def test_wrong_values_of_the_option_are_refused_by_name(
    model: nn.Sequential, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="bundle is 0, expected 1 or more"):
        NetworkConfig(algo="bundles", bundle=0)
    with pytest.raises(ConfigError, match=r'"loha" has no bundle(.|\n)*that has it: bundles'):
        build_network({"model": model}, NetworkConfig(bundle=2))
    with pytest.raises(ConfigError, match=r"^model\.0, bundle: 8 outputs are no bundles of 3"):
        bundles(model, bundle=3)
    preset = tmp_path / "preset.toml"
    preset.write_text("[name_algo_map.a]\nbundel = 8", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"did you mean bundle\?"):
        read_preset(NetworkConfig(preset=str(preset)))


def test_comfyuis_node_and_the_docs_show_the_option() -> None:
    kind, settings = NetworkAlgorithms.INPUT_TYPES()["required"]["bundle"]
    assert (kind, settings["default"], settings["min"]) == ("INT", 4, 1)
    assert settings["tooltip"].startswith("How many neighbouring output channels share a factor")
    assert "bundles" in NetworkNode.INPUT_TYPES()["required"]["algo"][0]
    (advanced,) = NetworkAlgorithms().collect(bundle=2)
    (made,) = NetworkNode().describe(advanced, algo="bundles")
    assert NetworkConfig(**made).bundle == 2  # type: ignore[attr-defined]
    assert "| `bundle` | a whole number, 1 or more | `4` | How many " in options_as_markdown()


def test_the_option_is_written_to_the_metadata_and_read_back_from_the_tensors(
    tiny_base: Path, pictures: Path, tmp_path: Path
) -> None:
    run = config_from_arguments(
        ["--algo", "bundles", "--bundle", "2", "--preset", "attn-only", "--max_train_steps", "1",
         "--pretrained_model_name_or_path", str(tiny_base), "--train_data_dir", str(pictures),
         "--output_dir", str(tmp_path), "--resolution", "32", "--optimizer_type", "AdamW",
         "--device", "cpu"]
    )  # fmt: skip
    state = load_adapter(train_in_terminal(run))
    assert json.loads(state.metadata["ss_network_args"])["bundle"] == "2"
    half = {"bundle_scale": torch.zeros(640)}  # of the 1280 outputs that this layer has in SD1
    assert "bundle = 2" in write_config({}, {"lora_unet_mid_block_attentions_0_proj_in": half})


def test_an_unregistered_algorithm_leaves_nothing_behind(model: nn.Sequential) -> None:
    network = build_network({"model": model}, NetworkConfig(algo="bundles"))
    unregister("bundles")
    try:
        assert "bundle" not in all_options() and "bundle" not in LayerOverride.options()
        assert "bundle" not in NetworkNode.INPUT_TYPES()["optional"]
        with pytest.raises(ConfigError, match="unknown option bundle"):
            NetworkConfig(bundle=2)
        with pytest.raises(ConfigError, match="'bundles' is not supported"):
            NetworkConfig(algo="bundles")
        with network.injected():
            model(torch.randn(2, 6))  # what is built goes on working
    finally:
        register(Bundles)


def test_registering_a_name_twice_is_refused() -> None:
    with pytest.raises(TypeError, match="there is an algorithm bundles already"):
        register(Bundles)
