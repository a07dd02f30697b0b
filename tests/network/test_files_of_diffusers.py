"""Files that diffusers itself wrote compute what they compute in diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, save_adapter
from lycoris_ext.formats.peft_config import CONFIG_KEY, Configs
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.network import load_network

TARGETS = ["to_q", "to_out.0", "conv1", "ff.net.0.proj"]
CONFIGS: dict[str, dict[str, Any]] = {
    "alpha": {"lora_alpha": 7},
    "rslora": {"lora_alpha": 7, "use_rslora": True},
    "patterns": {
        "lora_alpha": 7,
        "alpha_pattern": {
            "conv1": 3,
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0": 9,
            "to_q": 5,
        },
        "rank_pattern": {"to_q": 3, "conv1": 1},
    },
    "expressions": {
        "lora_alpha": 7,
        "alpha_pattern": {
            r"^(down|up)_blocks\.\d+\.attentions\.\d+\..*\.to_q": 3,
            r"attn[12]\.to_(q|k)": 5,
        },
        "rank_pattern": {r".*\.conv\d": 3},
    },
    "dora": {"lora_alpha": 7, "use_dora": True},
    "dora, rslora": {"lora_alpha": 7, "use_dora": True, "use_rslora": True},
    "biases": {"lora_alpha": 7, "lora_bias": True, "target_modules": ["to_out.0", "conv1"]},
}


def unet_of(base: Path) -> Any:
    with quiet_loading():
        from diffusers import UNet2DConditionModel
    return UNet2DConditionModel.from_pretrained(base / "unet", local_files_only=True).double()


def output(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 8, 8, generator=generator).double()
    text = torch.randn(1, 5, 32, generator=generator).double()
    with torch.no_grad():
        return unet(x, torch.tensor([500]), text).sample  # type: ignore[no-any-return]


def adapt(unet: Any, options: dict[str, Any]) -> None:
    """Let PEFT adapt the U-Net, and move every factor away from its start."""
    unet.add_adapter(peft.LoraConfig(**{"r": 2, "target_modules": TARGETS, **options}))
    torch.manual_seed(0)
    for name, parameter in unet.named_parameters():
        if "magnitude" in name:
            parameter.data *= torch.linspace(0.8, 1.3, parameter.numel()).view_as(parameter)
        elif "lora_" in name:
            nn.init.normal_(parameter, std=0.1)


def by_model(unet: Any, folder: Path) -> None:
    unet.save_lora_adapter(folder)


def by_pipeline(unet: Any, folder: Path) -> None:
    with quiet_loading():
        from diffusers import StableDiffusionPipeline
        from diffusers.training_utils import _collate_lora_metadata
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=peft.get_peft_model_state_dict(unet),
        **_collate_lora_metadata({"unet": unet}),
    )


@pytest.mark.filterwarnings("ignore:.*invalid shape")  # a bias looks to PEFT like a torn file
@pytest.mark.parametrize("write", [by_model, by_pipeline])
@pytest.mark.parametrize("case", CONFIGS)
def test_a_file_of_diffusers_has_its_strength(
    case: str, write: Callable[[Any, Path], None], tiny_base: Path, tmp_path: Path
) -> None:
    adapted, plain = unet_of(tiny_base), unet_of(tiny_base)
    before = output(plain)
    adapt(adapted, CONFIGS[case])
    wanted = output(adapted)
    write(adapted, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    network = load_network(file, {"unet": plain}).double()
    with network.injected():
        found = output(plain)
    assert (wanted - before).norm() > 0.01 * before.norm()
    assert (found - wanted).norm() <= 1e-6 * (wanted - before).norm()
    # The file that we write of it says the same without diffusers' config.
    save_adapter(tmp_path / "ours", network.adapter_state(dtype=None))
    again = load_network(tmp_path / "ours", {"unet": plain}).double()
    with again.injected():
        assert torch.allclose(output(plain), found, rtol=0, atol=1e-6)


LORA = {"lora_A.weight": torch.ones(2, 6), "lora_B.weight": torch.ones(8, 2)}
LAYER = "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q"


def alpha(metadata: dict[str, Any], start: str = "", more: dict[str, Tensor] | None = None) -> Any:
    """Return the alpha that a layer is read with; None if it has none."""
    tensors = {f"{start}{LAYER}.{name}": tensor for name, tensor in LORA.items()}
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in metadata.items()}
    (stored,) = AdapterState({**tensors, **(more or {})}, texts).layers().values()
    return stored.get("alpha")


OURS = "lora_adapter_metadata"


@pytest.mark.parametrize(
    ("metadata", "start", "expected"),
    [
        ({}, "", None),
        ({OURS: {"lora_alpha": 5}}, "", 5),
        ({OURS: {"lora_alpha": 5}}, "unet.", 5),
        ({OURS: {"unet.lora_alpha": 5, "lora_alpha": 3}}, "unet.", 5),
        ({OURS: {"unet.lora_alpha": 5}}, "", None),
        ({OURS: {"transformer.lora_alpha": 5}}, "transformer.", 5),
        ({OURS: {"text_encoder.lora_alpha": 5, "unet.r": 2}}, "unet.", None),
        ({OURS: {"lora_alpha": None, "alpha_pattern": {"attn1.to_q": 7}}}, "", 7),
        ({OURS: {"lora_alpha": 5, "alpha_pattern": {"to_q": 7, "attn1.to_q": 8}}}, "", 7),
        ({OURS: {"lora_alpha": 5, "use_rslora": True}}, "", 5 * 2**0.5),
        ({CONFIG_KEY: {"lora_alpha": 5}}, "base_model.model.", 5),
        ({CONFIG_KEY: {"lora_alpha": 5}}, "", 5),
        ({"lora_config": {"lora_alpha": 5}}, "", 5),
        ({"lora_alpha": "5"}, "", 5),
        ({"lora_alpha": "5", "use_rslora": "True"}, "", 5 * 2**0.5),
        ({"lora_alpha": "5", "use_rslora": "False"}, "", 5),
        ({"lora_alpha": "5", OURS: {"lora_alpha": 3}}, "", 3),
        ({"network_alphas": {f"unet.{LAYER}.alpha": 5}}, "unet.", 5),
        ({"ss_network_alpha": "5"}, "", None),  # converters leave it and scale the factors
    ],
)
def test_the_alpha_is_found_wherever_the_writer_put_it(
    metadata: dict[str, Any], start: str, expected: float | None
) -> None:
    found = alpha(metadata, start)
    assert (found is None) if expected is None else float(found) == pytest.approx(expected)


@pytest.mark.parametrize("end", ["alpha", "lora.alpha", "lora.down.weight.alpha"])
def test_alphas_under_diffusers_names_are_those_of_the_layer(end: str) -> None:
    """diffusers calls them network_alphas; they count before any config."""
    own = {f"unet.{LAYER}.{end}": torch.tensor(4.0)}
    assert float(alpha({OURS: {"unet.lora_alpha": 5}}, "unet.", own)) == 4


def test_alphas_of_attention_processors_are_those_of_the_layer() -> None:
    layer = f"unet.{LAYER.replace('to_q', 'processor.to_q_lora')}"
    for end in ("alpha", "down.weight.alpha"):
        tensors = {
            f"{layer}.down.weight": torch.ones(2, 6),
            f"{layer}.up.weight": torch.ones(8, 2),
            f"{layer}.{end}": torch.tensor(4.0),
        }
        (stored,) = AdapterState(tensors).layers().values()
        assert float(stored["alpha"]) == 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lora_alpha": "x"}, "alpha is 'x'"),
        ({"lora_alpha": True}, "alpha is True"),
        ({"alpha_pattern": [1]}, r"alpha_pattern is \[1\]"),
        ({"alpha_pattern": {"to_(q": 1}}, "no regular expression"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "may take very long"),
        ({"alpha_pattern": {"a?" * 50 + "a" * 50: 1}}, "may take very long"),
        ({"alpha_pattern": {"(a|aa)" * 20: 1}}, "may take very long"),
        ({"alpha_pattern": {".*.*.*.*.*x": 1}}, "may take very long"),
        ({"lora_alpha": 1, "init_lora_weights": "pissa_niter_4"}, "changed the base model"),
        ({"lora_alpha": 1, "unet.init_lora_weights": "olora"}, "changed the base model"),
    ],
)
def test_configs_that_cannot_be_followed_are_refused(config: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        alpha({OURS: config})


def test_an_expression_matches_as_in_peft() -> None:
    patterns = ("to_q", "1.to_q", "x.to_q", r"^to_q", r".*q", r"down_blocks\.\d+\..*to_[qk]",
                "a|to_q", "blocks.2.attentions", r"^down_blocks.*attn2.*|mid")  # fmt: skip
    from peft.utils.other import get_pattern_key

    for pattern in patterns:
        config = json.dumps({"lora_alpha": 5, "alpha_pattern": {pattern: 7}})
        fits = get_pattern_key([pattern], LAYER) == pattern
        assert (Configs({CONFIG_KEY: config}).of_layer(LAYER).alpha == 7) is fits, pattern
