"""sd-scripts' arguments that choose layers and ranks in transformers, as a table by family.

Source: sd-scripts 48d368f, networks/lora_flux.py, lora_sd3.py, lora_lumina.py,
lora_hunyuan_image.py and lora_anima.py, create_network and LoRANetwork.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Words = tuple[str, ...]
"""Parts that the name of a layer in a file, such as lora_unet_double_blocks_0_img_mod_lin, has."""


@dataclass(frozen=True)
class Choices:
    """The arguments of one family's network module.

    Attributes:
        ranks: argument -> the words of the layers whose rank it is; the first that fits counts.
        ends: argument -> the words of layers beside the blocks, for each rank in its list.
        blocks: argument -> the word before the numbers of the blocks that it keeps.
        parts: value of train_blocks -> words, of which a layer's name must have one.
        usually_excluded: pattern of layers that only include_patterns adds, once patterns are used.
        searches_keys: patterns of network_reg_dims are searched in the names of layers in a file;
            otherwise they must fit the whole path of the layer in its model.
    """

    ranks: Mapping[str, Words] = field(default_factory=dict)
    ends: Mapping[str, Words] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Words] = field(default_factory=dict)
    usually_excluded: str | None = None
    searches_keys: bool = False

    @property
    def own(self) -> set[str]:
        """The arguments that are of this family and not of all."""
        parts = ("train_blocks",) if self.parts else ()
        return {*self.ranks, *self.ends, *self.blocks, *parts}


PATTERNS = ("include_patterns", "exclude_patterns")
BY_PATTERN = ("network_reg_dims", "network_reg_lrs")

CHOICES: dict[str, Choices] = {
    "flux": Choices(
        ranks={
            "img_attn_dim": ("img_attn",),
            "txt_attn_dim": ("txt_attn",),
            "img_mlp_dim": ("img_mlp",),
            "txt_mlp_dim": ("txt_mlp",),
            "img_mod_dim": ("img_mod",),
            "txt_mod_dim": ("txt_mod",),
            "single_dim": ("single_blocks", "linear"),
            "single_mod_dim": ("modulation",),
        },
        ends={"in_dims": ("_img_in", "_time_in", "_vector_in", "_guidance_in", "_txt_in")},
        blocks={"train_double_block_indices": "double", "train_single_block_indices": "single"},
        parts={"all": ("",), "double": ("double_blocks",), "single": ("single_blocks",)},
        searches_keys=True,
    ),
    "sd3": Choices(
        ranks={
            "context_attn_dim": ("context_block", "attn"),
            "context_mlp_dim": ("context_block", "mlp"),
            "context_mod_dim": ("context_block", "adaLN_modulation"),
            "x_attn_dim": ("x_block", "attn"),
            "x_mlp_dim": ("x_block", "mlp"),
            "x_mod_dim": ("x_block", "adaLN_modulation"),
        },
        ends={
            "emb_dims": (
                "context_embedder", "_t_embedder", "x_embedder", "y_embedder",
                "final_layer_adaLN_modulation", "final_layer_linear",
            )
        },
        blocks={"train_block_indices": "joint"},
    ),
    "lumina": Choices(
        ranks={
            "attn_dim": ("attention",),
            "mlp_dim": ("mlp",),
            "mod_dim": ("modulation",),
            "refiner_dim": ("refiner",),
        },
        ends={"embedder_dims": ("x_embedder", "t_embedder", "cap_embedder")},
        parts={
            "all": ("",),
            "transformer": ("layers_",),
            "refiners": ("noise_refiner", "context_refiner"),
            "noise_refiner": ("noise_refiner",),
            "context_refiner": ("context_refiner",),
        },
    ),
    "hunyuan_image": Choices(searches_keys=True),
    "anima": Choices(usually_excluded=r".*(_modulation|_norm|_embedder|final_layer).*"),
}  # fmt: skip

#: Every argument of this module.
LAYER_ARGUMENTS = (
    *dict.fromkeys(name for choices in CHOICES.values() for name in sorted(choices.own)),
    *PATTERNS,
    *BY_PATTERN,
)
