"""Which layers are adapted: data, not code.

The names and their layers are LyCORIS's, so that the same preset gives the same modules there and
here. A class name stands for every Linear and Conv below modules of that class; a layer name for
the layer at exactly that path of the U-Net.
"""

from __future__ import annotations

from dataclasses import dataclass

_TRANSFORMER = ("Transformer2DModel", "SpatialTransformer")
_RESNET = ("ResnetBlock2D", "ResBlock")
_SAMPLERS = ("Downsample2D", "Upsample2D", "Downsample", "Upsample")
_TIME = ("time_embedding_linear_1", "time_embedding_linear_2")
_ENDS = ("conv_in", "conv_out")
_ATTENTION = ("CLIPAttention", "CLIPSdpaAttention")
_TEXT = (*_ATTENTION, "CLIPMLP")


@dataclass(frozen=True)
class Preset:
    """Attributes:
    unet_classes, unet_names: blocks and single layers of the U-Net.
    text_classes: blocks of the text encoders.
    spatial: whether convolutions larger than 1x1 are adapted at all.
    """

    unet_classes: tuple[str, ...] = ()
    unet_names: tuple[str, ...] = ()
    text_classes: tuple[str, ...] = ()
    spatial: bool = True


PRESETS: dict[str, Preset] = {
    "full": Preset((*_TRANSFORMER, *_RESNET, *_SAMPLERS), (*_ENDS, *_TIME), _TEXT),
    "full-lin": Preset((*_TRANSFORMER, *_RESNET), _TIME, _TEXT, spatial=False),
    "attn-mlp": Preset(_TRANSFORMER, (), _TEXT, spatial=False),
    "attn-only": Preset(("Attention", "CrossAttention"), (), _ATTENTION, spatial=False),
    "unet-only": Preset((*_TRANSFORMER, *_RESNET, *_SAMPLERS), (*_ENDS, *_TIME)),
    "unet-transformer-only": Preset(_TRANSFORMER, spatial=False),
    "unet-convblock-only": Preset((*_RESNET, *_SAMPLERS), _ENDS),
}
