"""Files that PEFT and diffusers themselves wrote, and ldm's names as diffusers converts them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.formats.keys import key_prefix, place_in_file, place_in_model
from lycoris_ext.formats.summary import summarize
from lycoris_ext.functional import spec_of
from lycoris_ext.models import build_meta
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.network import load_network

SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def unet_of(family: str) -> Any:
    if family == "sd":
        return build_meta("sd1")["unet"]
    with quiet_loading():
        from diffusers import UNet2DConditionModel
    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_ldm_names_are_those_of_diffusers_conversion(family: str) -> None:
    """Every weight of the U-Net under our ldm name comes out of diffusers' conversion of
    checkpoints under its own name."""
    unet = unet_of(family)
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    layers = {path: module for path, module in unet.named_modules() if spec_of(module)}
    assert len(layers) > 350  # normalisations among them
    marked: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    places = {place_in_model("unet", path): path for path in layers}
    for key in unet.state_dict():
        if key.endswith(".weight"):
            path = key.removesuffix(".weight")
            ldm = ldm_name(path, family)
            numbers[key] = float(len(numbers))
            marked[f"model.diffusion_model.{ldm}.weight"] = torch.tensor([numbers[key]])
            marked[f"model.diffusion_model.{ldm}.bias"] = torch.empty(0)
            if path in layers:
                assert places[place_in_file(f"diffusion_model.{ldm}")] == path
    converted = convert_ldm_unet_checkpoint(marked, dict(unet.config))
    assert {key: float(converted[key]) for key in numbers} == numbers


def ldm_name(path: str, family: str) -> str:
    """Return ldm's dotted path of a layer, from the name with underscores in its key."""
    name = key_prefix("unet", path, FAMILIES["sdxl"]).removeprefix("lora_unet_")
    if family == "sd" and name == "output_blocks_2_2_conv":
        name = "output_blocks_2_1_conv"  # no attention in that block of SD1
    for word in WORDS:
        name = name.replace(word, word.replace("_", "~"))
    return name.replace("_", ".").replace("~", "_")


WORDS = ("input_blocks", "output_blocks", "middle_block", "time_embed", "label_emb", "in_layers",
         "out_layers", "emb_layers", "skip_connection", "transformer_blocks", "proj_in", "proj_out",
         "to_q", "to_k", "to_v", "to_out")  # fmt: skip


class Tiny(nn.Module):
    """Two layers under names of a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 6, 3, padding=1)
        self.down_blocks = nn.ModuleList([nn.Module()])
        self.down_blocks[0].attentions = nn.ModuleList([nn.Module()])
        self.down_blocks[0].attentions[0].proj_in = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x).movedim(1, -1)
        return self.down_blocks[0].attentions[0].proj_in(x)  # type: ignore[no-any-return]


LAYERS = ["conv_in", "down_blocks.0.attentions.0.proj_in"]
PEFT_CONFIGS = {
    "lora": ("LoraConfig", {"lora_alpha": 3, "alpha_pattern": {"conv_in": 5}}),
    "rslora": ("LoraConfig", {"lora_alpha": 3, "use_rslora": True}),
    "dora": ("LoraConfig", {"lora_alpha": 3, "use_dora": True}),
    "dora, rslora": ("LoraConfig", {"lora_alpha": 3, "use_dora": True, "use_rslora": True}),
    "biases": ("LoraConfig", {"lora_alpha": 3, "lora_bias": True}),
    "loha": ("LoHaConfig", {"alpha": 3}),
    "loha tucker": ("LoHaConfig", {"alpha": 3, "use_effective_conv2d": True}),
    "lokr": ("LoKrConfig", {"alpha": 3, "r": 1}),
    "lokr, whole": ("LoKrConfig", {"alpha": 3, "r": 4}),
    "lokr, two products": ("LoKrConfig", {"alpha": 3, "r": 1, "decompose_both": True}),
    "lokr tucker": ("LoKrConfig", {"alpha": 3, "r": 1, "use_effective_conv2d": True}),
}


def peft_model(model: nn.Module, kind: str, options: dict[str, Any]) -> Any:
    """Return the model adapted by PEFT, with every factor moved away from its start."""
    config = getattr(peft, kind)(**{"r": 2, "target_modules": LAYERS, **options})
    adapted = peft.get_peft_model(model, config).double()
    for name, parameter in adapted.named_parameters():
        if "magnitude" in name:
            parameter.data *= torch.linspace(0.8, 1.3, parameter.numel()).view_as(parameter)
        elif parameter.requires_grad:
            nn.init.normal_(parameter, std=0.4)
    return adapted


@pytest.mark.filterwarnings("ignore:.*invalid shape")  # a bias looks to PEFT like a torn file
@pytest.mark.parametrize("case", PEFT_CONFIGS)
def test_a_file_of_peft_computes_the_same_here(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tiny().double()
    clean = deepcopy(model)
    x = torch.randn(1, 4, 5, 5).double()
    before = clean(x)
    adapted = peft_model(model, *PEFT_CONFIGS[case])
    wanted = adapted(x).detach()
    adapted.save_pretrained(tmp_path)
    network = load_network(tmp_path / "adapter_model.safetensors", {"unet": clean}).double()
    assert len(network.sites) == 2
    with network.injected():
        found = clean(x)
    assert (wanted - before).norm() > 0.1
    assert (found - wanted).norm() <= 1e-5 * (wanted - before).norm()


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}])
def test_peft_computes_an_embedding_as_we_do(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 4)).double().requires_grad_(False)
    clean, words = deepcopy(model), torch.tensor([[1, 8, 3], [3, 0, 2]])
    options = {"lora_alpha": 3, "target_modules": ["0", "1"], **options}
    adapted = peft_model(model, "LoraConfig", options)
    wanted = adapted(words).detach()
    adapted.save_pretrained(tmp_path)
    network = load_network(tmp_path / "adapter_model.safetensors", {"model": clean}).double()
    assert len(network.sites) == 2
    before = clean(words)
    with network.injected():
        found = clean(words)
    assert (found - wanted).norm() <= 1e-6 * (wanted - before).norm()


UNREAD: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "(IA)^3": ("IA3Config", {"feedforward_modules": ["proj_in"]}, ["ia3_l: (IA)^3"]),
    "OFT": ("OFTConfig", {"r": 0, "oft_block_size": 2}, ["oft_R: OFT"]),
    "BOFT": ("BOFTConfig", {"boft_block_size": 2}, ["boft_R: BOFT"]),
    "AdaLoRA": ("AdaLoraConfig", {"total_step": 1}, ["lora_E: AdaLoRA"]),
    "HRA": ("HRAConfig", {}, ["hra_u: a kind of adapter that no algorithm here computes"]),
    "norms": ("LNTuningConfig", {"target_modules": ["norm"]}, ["ln_tuning_layers.bias: norm"]),
    "whole layers": ("LoraConfig", {"modules_to_save": ["conv_in"]}, ["(modules_to_save)"]),
    "their biases": ("LoraConfig", {"bias": "lora_only"}, ['(bias = "all" or "lora_only")']),
    "all biases": ("LoraConfig", {"bias": "all"}, ['(bias = "all" or "lora_only")']),
    "layers and biases": (
        "LoraConfig",
        {"modules_to_save": ["conv_in"], "bias": "lora_only"},
        ["(modules_to_save)", '(bias = "all" or "lora_only")'],
    ),
}


# BOFT looks for a CUDA compiler
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", UNREAD)
def test_what_only_peft_has_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    kind, options, messages = UNREAD[case]
    model = nn.ModuleDict({"conv_in": nn.Conv2d(4, 4, 1), "proj_in": nn.Linear(4, 4)})
    model["norm"] = nn.LayerNorm(4)
    config = getattr(peft, kind)(**{"target_modules": ["proj_in"], **options})
    peft.get_peft_model(model, config).save_pretrained(tmp_path)
    for read in (lambda: load_network(tmp_path, {"unet": Tiny()}), lambda: summarize(tmp_path)):
        with pytest.raises(FormatError) as raised:
            read()
        text = str(raised.value)
        assert text.count("holds PEFT's") == len(messages)
        assert all(message in text for message in (*messages, "merge_and_unload", str(tmp_path)))


@pytest.mark.parametrize("layer", ["lora_unet_mid_block_x", "transformer.blocks.0.to_q"])
def test_onetrainers_oft_is_not_taken_for_pefts(layer: str) -> None:
    state = AdapterState({f"{layer}.oft_R.weight": torch.ones(2, 6)})
    with pytest.raises(FormatError, match="holds OneTrainer's oft_R") as raised:
        state.layers()
    assert "merge_and_unload" not in str(raised.value)


def test_a_file_of_diffusers_is_read_with_its_alpha(tmp_path: Path, tiny_base: Path) -> None:
    with quiet_loading():
        from diffusers import StableDiffusionPipeline, UNet2DConditionModel
        from diffusers.training_utils import _collate_lora_metadata

    unet = UNet2DConditionModel.from_pretrained(tiny_base / "unet", local_files_only=True)
    unet.add_adapter(peft.LoraConfig(r=2, lora_alpha=7, target_modules=["to_q", "to_out.0"]))
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=peft.get_peft_model_state_dict(unet),
        **_collate_lora_metadata({"unet": unet}),
    )
    (file,) = tmp_path.glob("*.safetensors")
    plain = UNet2DConditionModel.from_pretrained(tiny_base / "unet", local_files_only=True)
    network = load_network(load_adapter(file), {"unet": plain})
    assert {layer.plan.alpha for layer in network.layers.values()} == {7.0}
    assert {layer.plan.rank for layer in network.layers.values()} == {2}
    wanted = {path for path, _ in plain.named_modules() if path.endswith(("to_q", "to_out.0"))}
    assert {site.path for site in network.sites.values()} == wanted


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_a_sparse_bias_of_lycoris_extraction_gives_back_the_tuned_model(
    sparsity: float, tmp_path: Path
) -> None:
    """A rank of 1 leaves much out, and the sparse part has all of it, or the larger half."""
    from lycoris.utils import extract_diff

    torch.manual_seed(0)
    base, tuned = Tiny(), Tiny()
    tuned.load_state_dict({key: t + torch.randn_like(t) for key, t in base.state_dict().items()})
    tensors = extract_diff([], [], base, tuned, "fixed", 1, 1, "cpu", True, sparsity, False)
    assert any(key.endswith("bias_indices") for key in tensors)
    save_adapter(tmp_path / "a.safetensors", AdapterState(tensors))
    network = load_network(tmp_path / "a.safetensors", {"unet": base})
    network.merge()
    wrong = [
        float((base.get_parameter(name) - tuned.get_parameter(name)).detach().abs().mean())
        for name in (f"{layer}.weight" for layer in LAYERS)
    ]
    assert max(wrong) < (2e-3 if sparsity == 0 else 0.3)
    assert (min(wrong) > 0.05) is (sparsity > 0)
