"""sd-scripts' and ComfyUI's own U-Nets: classes by name and layers by path, imported from nowhere.

The classes here have the names and submodules of library/original_unet.py, of
library/sdxl_original_unet.py and of ldm's openaimodel.py. tests/hosts runs the real ones.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from lycoris_ext.network import NetworkConfig, build_network, load_network


class CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(8, 8, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(8, 8)])


class BasicTransformerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1 = CrossAttention()
        self.norm1 = nn.LayerNorm(8)


class Transformer2DModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj_in = nn.Conv2d(8, 8, 1)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock()])


class SpatialTransformer(Transformer2DModel):
    """The transformer of ldm and of ComfyUI."""


class Sd1Resnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.time_emb_proj = nn.Linear(8, 8)


class LdmResnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(1, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(8, 8))


class Downsample2D(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.Conv2d(8, 8, 3, stride=2, padding=1))


def named(kind: type[nn.Module], name: str, *arguments: str) -> nn.Module:
    """Return an object of a subclass with the given class name."""
    return type(name, (kind,), {})(*arguments)


class Sd1UNet(nn.Module):
    """The U-Net of library/original_unet.py."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(8, 8, 3, padding=1)
        self.time_embedding = nn.Module()
        self.time_embedding.linear_1 = nn.Linear(8, 8)
        block = nn.Module()
        block.attentions = nn.ModuleList([Transformer2DModel()])
        block.resnets = nn.ModuleList([named(Sd1Resnet, "ResnetBlock2D")])
        block.downsamplers = nn.ModuleList([Downsample2D("conv")])
        self.down_blocks = nn.ModuleList([block])


class LdmUNet(nn.Module):
    """The U-Net of library/sdxl_original_unet.py or of ComfyUI, by the names of its classes."""

    def __init__(self, resnet: str, transformer: type[nn.Module], sampler: str, sdxl: bool) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(8, 8))
        if sdxl:
            self.label_emb = nn.Sequential(nn.Sequential(nn.Linear(8, 8)))
        self.input_blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)),
                nn.ModuleList([named(LdmResnet, resnet), transformer()]),
                nn.ModuleList(),
                nn.Sequential(named(Downsample2D, sampler, "op")),
            ]
        )


UNETS: dict[str, Callable[[], nn.Module]] = {
    "sd1": Sd1UNet,
    "sdxl": lambda: LdmUNet("ResnetBlock2D", Transformer2DModel, "Downsample2D", sdxl=True),
    "comfy sd1": lambda: LdmUNet("ResBlock", SpatialTransformer, "Downsample", sdxl=False),
    "comfy sdxl": lambda: LdmUNet("ResBlock", SpatialTransformer, "Downsample", sdxl=True),
}
SD = {
    "attention": {
        "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
    },
    "projection": {"down_blocks_0_attentions_0_proj_in"},
    "resnet": {"down_blocks_0_resnets_0_conv1", "down_blocks_0_downsamplers_0_conv"},
    "time": {"down_blocks_0_resnets_0_time_emb_proj"},
    "time_ends": {"time_embedding_linear_1"},
    "ends": {"conv_in"},
}
LDM = {
    "attention": {
        "input_blocks_1_1_transformer_blocks_0_attn1_to_q",
        "input_blocks_1_1_transformer_blocks_0_attn1_to_out_0",
    },
    "projection": {"input_blocks_1_1_proj_in"},
    "resnet": {"input_blocks_1_0_in_layers_2", "input_blocks_3_0_op"},
    "time": {"input_blocks_1_0_emb_layers_1"},
    "time_ends": {"time_embed_0"},
    "ends": {"input_blocks_0_0"},
}
PARTS = {
    "full": ("attention", "projection", "resnet", "time", "time_ends", "ends"),
    "full-lin": ("attention", "projection", "time", "time_ends"),
    "attn-mlp": ("attention", "projection"),
    "attn-only": ("attention",),
    "unet-only": ("attention", "projection", "resnet", "time", "time_ends", "ends"),
    "unet-transformer-only": ("attention", "projection"),
    "unet-convblock-only": ("resnet", "time", "ends"),
}


@pytest.mark.parametrize("preset", PARTS)
@pytest.mark.parametrize("unet", UNETS)
def test_presets_select_the_same_layers_in_every_class_of_unet(unet: str, preset: str) -> None:
    network = build_network({"unet": UNETS[unet]()}, NetworkConfig(preset=preset))
    names = LDM if "sdxl" in unet else SD
    expected = {f"lora_unet_{name}" for part in PARTS[preset] for name in names[part]}
    assert set(network.sites) == expected


@pytest.mark.parametrize(("written", "read"), [("sd1", "comfy sd1"), ("sdxl", "comfy sdxl")])
def test_a_file_over_sd_scripts_unet_loads_into_comfyuis_and_back(written: str, read: str) -> None:
    for source, target in ((written, read), (read, written)):
        state = build_network({"unet": UNETS[source]()}, NetworkConfig()).adapter_state()
        assert len(load_network(state, {"unet": UNETS[target]()}).sites) == len(state.layers())


def test_both_text_encoders_of_sdxl_are_adapted_and_left_alone_together() -> None:
    class CLIPAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = nn.Linear(8, 8)

    targets = {"unet": UNETS["sdxl"]()}
    for name in ("text_encoder", "text_encoder_2"):
        encoder = nn.Module()
        encoder.text_model = CLIPAttention()
        targets[name] = encoder
    network = build_network(targets, NetworkConfig(preset="attn-only"))
    assert {key for key in network.sites if "_te" in key} == {
        "lora_te1_text_model_q_proj",
        "lora_te2_text_model_q_proj",
    }
    rates = {group["name"]: group["lr"] for group in network.param_groups(1.0, text_encoder_lr=0.5)}
    assert rates == {"unet": 1.0, "text_encoder": 0.5, "text_encoder_2": 0.5}
    unet = build_network(targets, NetworkConfig(network_train_unet_only=True))
    text = build_network(targets, NetworkConfig(network_train_text_encoder_only=True))
    assert {site.target for site in unet.sites.values()} == {"unet"}
    assert {site.target for site in text.sites.values()} == {"text_encoder", "text_encoder_2"}
