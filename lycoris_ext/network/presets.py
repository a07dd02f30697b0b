"""Presets: named choices of the layers that get an adapter.

They have LyCORIS's names and select the same layers as LyCORIS does. A class name selects every
Linear and convolution inside modules of that class; a layer name is a pattern that is matched with
the paths inside one model. LyCORIS's attn-only and ia3 select nothing in a U-Net of diffusers; here
they select the layers that their names promise. Two are not LyCORIS's: "blocks", the layers of
sd-scripts' networks with convolutions, and "none", for layers that are all named with include.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lycoris_ext.network.overrides import Settings
from lycoris_ext.patterns import pattern_fits

_TRANSFORMER = ("Transformer2DModel", "SpatialTransformer")
_RESNET = ("ResnetBlock2D", "ResBlock")
_SAMPLERS = ("Downsample2D", "Upsample2D", "Downsample", "Upsample")
_TIME = ("time_embedding.linear_1", "time_embedding.linear_2")
_ENDS = ("conv_in", "conv_out")
_ATTENTION = ("Attention", "CrossAttention", "SelfAttention", "AttentionLinears", "JointAttention")
#: Transformers instead of U-Nets: FLUX and Chroma, SD3, HunyuanImage, Lumina, Anima.
_DIT = (
    "DoubleStreamBlock", "SingleStreamBlock",
    "SingleDiTBlock",
    "MMDoubleStreamBlock", "MMSingleStreamBlock",
    "JointTransformerBlock",
    "Block", "LLMAdapterTransformerBlock",
)  # fmt: skip
_DIT_ENDS = ("FinalLayer",)
#: Anima's embeddings of patches and of time.
_DIT_NAMES = ("x_embedder.proj.1", "t_embedder.1.linear_1", "t_embedder.1.linear_2")
_KINDS = ("Attention", "SdpaAttention", "FlashAttention2")
_TEXT_ATTENTION = (
    "CLIPAttention", "CLIPSdpaAttention",
    "T5Attention",
    *(f"{model}{kind}" for model in ("Gemma2", "Qwen3") for kind in _KINDS),
)  # fmt: skip
_TEXT = (*_TEXT_ATTENTION, "CLIPMLP", "T5DenseGatedActDense", "Gemma2MLP", "Qwen3MLP")


@dataclass(frozen=True)
class Preset:
    """A choice of layers, and settings for some of them.

    Attributes:
        unet_classes, unet_names: classes of modules, and patterns of layers, in the U-Net.
        text_classes, text_names: the same for text encoders.
        spatial: False leaves out convolutions larger than 1x1 that no override gives a rank.
        classes, names: the same for a model that is neither; classes None selects all of it.
        exclude: patterns of paths that are left out.
        class_settings, name_settings: settings for the layers inside a class of modules, and for
            the layers that a pattern fits.
        prefix: what the keys in files begin with, for a model that is neither.
        use_fnmatch: patterns have * and ? and must fit the whole path; False: they are regular
            expressions that must fit the beginning of the path.
    """

    unet_classes: tuple[str, ...] = ()
    unet_names: tuple[str, ...] = ()
    text_classes: tuple[str, ...] = ()
    spatial: bool = True
    text_names: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    class_settings: Mapping[str, Settings] = field(default_factory=dict)
    name_settings: Mapping[str, Settings] = field(default_factory=dict)
    prefix: str = "lycoris"
    use_fnmatch: bool = False

    def fits(self, pattern: str, path: str) -> bool:
        """Return True if a pattern of this preset fits a module's path inside its model."""
        if self.use_fnmatch:
            return fnmatchcase(path, pattern)
        return path == pattern or pattern_fits(pattern, path, "match")


def is_preset_file(name: str) -> bool:
    """Return True if a value of the option ``preset`` is the path of a preset file."""
    return name.lower().endswith(".toml")


_INPUT: Settings = {"train_on_input": True}

_FULL = (*_TRANSFORMER, *_RESNET, *_SAMPLERS, *_DIT, *_DIT_ENDS)

PRESETS: dict[str, Preset] = {
    "full": Preset(_FULL, (*_ENDS, *_TIME, *_DIT_NAMES), _TEXT),
    "full-lin": Preset(
        (*_TRANSFORMER, *_RESNET, *_DIT, *_DIT_ENDS), (*_TIME, *_DIT_NAMES), _TEXT, spatial=False
    ),
    "attn-mlp": Preset((*_TRANSFORMER, *_DIT), (), _TEXT, spatial=False),
    "blocks": Preset((*_TRANSFORMER, *_RESNET, *_SAMPLERS, *_DIT), (), _TEXT),
    "attn-only": Preset(_ATTENTION, (), _TEXT_ATTENTION, spatial=False),
    "unet-only": Preset(_FULL, (*_ENDS, *_TIME, *_DIT_NAMES)),
    "unet-transformer-only": Preset((*_TRANSFORMER, *_DIT), spatial=False),
    "unet-convblock-only": Preset((*_RESNET, *_SAMPLERS), _ENDS),
    "ia3": Preset(
        unet_names=("*.to_k", "*.to_v", "*.ff.net.2"),
        text_names=("*.k_proj", "*.v_proj", "*.mlp.fc2"),
        spatial=False,
        name_settings={"*.mlp.fc2": _INPUT, "*.ff.net.2": _INPUT},
        use_fnmatch=True,
    ),
    "none": Preset(classes=()),
}
