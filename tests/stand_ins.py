"""Small modules under the real names of Stable Diffusion's layers, in every tool's naming.

The pairs of names are written out, not computed: they are what the tables of formats/keys.py are
checked against.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Build = Callable[[], nn.Module]


def linear(width: int = 6) -> Build:
    return lambda: nn.Linear(width, width + 2)


def pointwise() -> nn.Module:
    return nn.Conv2d(5, 4, 1)


def spatial() -> nn.Module:
    return nn.Conv2d(3, 4, 3, padding=1)


#: (diffusers' path, ldm's path, layer)
Layer = tuple[str, str, Build]

_ATTENTION = "transformer_blocks.0"
_SHARED: list[Layer] = [
    ("conv_in", "input_blocks.0.0", spatial),
    ("conv_out", "out.2", spatial),
    ("time_embedding.linear_1", "time_embed.0", linear()),
    ("time_embedding.linear_2", "time_embed.2", linear()),
    ("down_blocks.0.resnets.0.conv1", "input_blocks.1.0.in_layers.2", spatial),
    ("down_blocks.0.resnets.1.time_emb_proj", "input_blocks.2.0.emb_layers.1", linear()),
    ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op", spatial),
    ("down_blocks.1.resnets.0.conv_shortcut", "input_blocks.4.0.skip_connection", pointwise),
    ("down_blocks.1.attentions.0.proj_in", "input_blocks.4.1.proj_in", pointwise),
    ("mid_block.resnets.1.conv2", "middle_block.2.out_layers.3", spatial),
    ("mid_block.attentions.0.proj_out", "middle_block.1.proj_out", linear()),
    ("up_blocks.0.resnets.2.conv1", "output_blocks.2.0.in_layers.2", spatial),
    ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv", spatial),
    *(
        (
            f"down_blocks.2.attentions.1.{_ATTENTION}.{inner}",
            f"input_blocks.8.1.{_ATTENTION}.{inner}",
            linear(width),
        )
        for inner, width in (
            ("attn1.to_q", 6),
            ("attn1.to_out.0", 6),
            ("attn2.to_k", 7),
            ("ff.net.0.proj", 6),
            ("ff.net.2", 8),
        )
    ),
]
_SD_ONLY: list[Layer] = [
    ("down_blocks.0.attentions.1.proj_in", "input_blocks.2.1.proj_in", pointwise),
    ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.1.conv", spatial),
    ("up_blocks.3.attentions.2.proj_out", "output_blocks.11.1.proj_out", pointwise),
]
_SDXL_ONLY: list[Layer] = [
    ("add_embedding.linear_1", "label_emb.0.0", linear()),
    ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv", spatial),
    ("up_blocks.0.attentions.1.proj_out", "output_blocks.1.1.proj_out", linear()),
]
UNETS = {"sd": _SHARED + _SD_ONLY, "sdxl": _SHARED + _SDXL_ONLY}
TEXT = [
    "text_model.encoder.layers.0.self_attn.q_proj",
    "text_model.encoder.layers.0.self_attn.out_proj",
    "text_model.encoder.layers.1.mlp.fc1",
]


def module_tree(layers: dict[str, nn.Module]) -> nn.Module:
    """Return a module whose submodules lie under these dotted paths."""
    root = nn.Module()
    for path, layer in layers.items():
        owner = root
        *parents, name = path.split(".")
        for parent in parents:
            if parent not in owner._modules:
                owner.add_module(parent, nn.Module())
            owner = owner.get_submodule(parent)
        owner.add_module(name, layer)
    return root


def stand_in(family: str, naming: str = "diffusers") -> dict[str, nn.Module]:
    """Return targets of a family, "sd" or "sdxl", with a U-Net in "diffusers" or "ldm" naming."""
    unet = module_tree({(p if naming == "diffusers" else q): f() for p, q, f in UNETS[family]})
    text = {"text_encoder": module_tree({path: linear(5)() for path in TEXT})}
    if family == "sdxl":
        text["text_encoder_2"] = module_tree(
            {path: linear(7)() for path in [*TEXT, "text_projection"]}
        )
    return {"unet": unet, **text}
