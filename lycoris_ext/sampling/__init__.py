"""Pictures from a base model and adapters."""

from __future__ import annotations

from lycoris_ext.sampling.adapters import AdapterUse, LoadedAdapter, adapters_applied
from lycoris_ext.sampling.compare import (
    Column,
    Drawn,
    adapter_columns,
    describe,
    draw,
    draw_columns,
)
from lycoris_ext.sampling.infotext import AdapterInfo, infotext
from lycoris_ext.sampling.progress import progress_bar
from lycoris_ext.sampling.prompts import parse_prompt, read_prompts
from lycoris_ext.sampling.sample import Progress, sample_pictures
from lycoris_ext.sampling.samplers import SAMPLERS
from lycoris_ext.sampling.specs import PromptSpec

__all__ = [
    "SAMPLERS",
    "AdapterInfo",
    "AdapterUse",
    "Column",
    "Drawn",
    "LoadedAdapter",
    "Progress",
    "PromptSpec",
    "adapter_columns",
    "adapters_applied",
    "describe",
    "draw",
    "draw_columns",
    "infotext",
    "parse_prompt",
    "progress_bar",
    "read_prompts",
    "sample_pictures",
]
