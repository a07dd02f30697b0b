"""The node that applies an adapter to a model and its text encoder."""

from __future__ import annotations

from typing import Any

from .host import adapter
from .host.patches import put_on
from .host.status import show
from .host.widgets import Widget, inputs, link

_STRENGTH = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}
STRENGTH_MODEL = Widget(
    "strength_model",
    "FLOAT",
    _STRENGTH
    | {
        "tooltip": "How strongly the adapter changes the model: its weights become W + strength x "
        "update. 0: not at all."
    },
)
STRENGTH_CLIP = Widget(
    "strength_clip",
    "FLOAT",
    _STRENGTH | {"tooltip": "How strongly the adapter changes the text encoder. 0: not at all."},
)
BLOCKS = Widget(
    "block_weights",
    "STRING",
    {
        "default": "",
        "tooltip": "Strengths of single blocks of the U-Net, which multiply the strength of the "
        "model: IN04=0.5, OUT=0, BASE=1, or a list of 17 or 26 numbers (SD1, SD2), 12 or 20 "
        "(SDXL). BASE is the text encoder and all layers outside of blocks. Empty: 1 for every "
        "block.",
    },
)
CLIP = link(
    "clip", "CLIP", "The text encoder. Not connected: the file's layers for it are not used."
)


class Apply:
    CATEGORY = "LyCORIS/loaders"
    DESCRIPTION = (
        "Applies a LoRA or other adapter to a model and its text encoder, exactly as it was "
        "trained: DoRA, (IA)^3, OFT and T-LoRA included. The node lists keys of the file that fit "
        "no layer."
    )
    SEARCH_ALIASES = ("lora loader", "block weights")
    RETURN_TYPES = ("MODEL", "CLIP", "STRING")
    RETURN_NAMES = ("model", "clip", "report")
    OUTPUT_TOOLTIPS = (
        "The model with the adapter.",
        "The text encoder with the adapter.",
        "How many layers the adapter changes, and which keys fit no layer.",
    )
    FUNCTION = "apply"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required = (
            link("model", "MODEL", "The diffusion model."),
            link(
                "adapter",
                adapter.TYPE,
                "An adapter from Train LoRA or Read LoRA File, or from ComfyUI's own trainer.",
            ),
            STRENGTH_MODEL,
        )
        return inputs(required, (CLIP, STRENGTH_CLIP, BLOCKS), {"unique_id": "UNIQUE_ID"})

    def apply(
        self,
        model: Any,
        adapter: Any,
        strength_model: float,
        clip: Any = None,
        strength_clip: float = 1.0,
        block_weights: str = "",
        unique_id: str | None = None,
    ) -> tuple[Any, Any, str]:
        applied = put_on(model, clip, adapter, strength_model, strength_clip, block_weights)
        report = applied.report()
        show(report, unique_id)
        return applied.model, applied.clip, report
