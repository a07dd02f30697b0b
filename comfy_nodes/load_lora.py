"""The node that loads an adapter file and applies it, as LoraLoader does, with any algorithm."""

from __future__ import annotations

from typing import Any

from lycoris_ext.formats.metadata import trigger_words

from .apply import BLOCKS, CLIP, STRENGTH_CLIP, STRENGTH_MODEL
from .host import adapter
from .host.patches import put_on
from .host.places import adapter_file, adapter_files
from .host.status import show
from .host.widgets import chooser, inputs, link
from .load import changed


class LoadLora:
    CATEGORY = "LyCORIS/loaders"
    DESCRIPTION = (
        "Loads a LoRA, LoHa, LoKr, DoRA, OFT, (IA)^3 or other adapter file and applies it to the "
        "model and its text encoder, exactly as it was trained. Gives out the trigger words, for "
        "the prompt."
    )
    SEARCH_ALIASES = (
        "lora loader",
        "lycoris loader",
        "dora",
        "lokr",
        "trigger words",
        "block weights",
    )
    RETURN_TYPES = ("MODEL", "CLIP", "STRING", "STRING", adapter.TYPE)
    RETURN_NAMES = ("model", "clip", "trigger_words", "report", "adapter")
    OUTPUT_TOOLTIPS = (
        "The model with the adapter.",
        "The text encoder with the adapter.",
        "The words that call up what the adapter learnt, as its file says; may be empty.",
        "How many layers the adapter changes, and which keys fit no layer.",
        "The adapter itself, for Compare LoRAs, Save LoRA and Apply LoRA.",
    )
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        model = link("model", "MODEL", "The diffusion model.")
        file = chooser("lora_name", adapter_files(), "A file in ComfyUI's LoRA folders.")
        return inputs(
            (model, file, STRENGTH_MODEL),
            (CLIP, STRENGTH_CLIP, BLOCKS),
            {"unique_id": "UNIQUE_ID"},
        )

    @classmethod
    def IS_CHANGED(cls, lora_name: str | None = None, **_: Any) -> str:
        return changed(lora_name)

    def load(
        self,
        model: Any,
        lora_name: str,
        strength_model: float,
        clip: Any = None,
        strength_clip: float = 1.0,
        block_weights: str = "",
        unique_id: str | None = None,
    ) -> tuple[Any, Any, str, str, adapter.Adapter]:
        lora = adapter.read_adapter(adapter_file(lora_name))
        applied = put_on(model, clip, lora, strength_model, strength_clip, block_weights)
        report = applied.report()
        words = ", ".join(trigger_words(lora.metadata))
        show("\n".join([report, f"trigger words: {words}"] if words else [report]), unique_id)
        return applied.model, applied.clip, words, report, lora
