"""The node that draws the same prompts with several adapters, in one labelled grid."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.cells import MemoryStore
from lycoris_ext.grids.draw import draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength, with_unique_names
from lycoris_ext.grids.output import grid_picture
from lycoris_ext.grids.plan import GridPlan, parse_seeds
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings

from .advanced import Values
from .host import adapter
from .host.images import to_image
from .host.painter import SCHEDULER, ComfyPainter
from .host.widgets import Widget, inputs, lines, link
from .sampling import SAMPLING, usual_sampling

_STRENGTHS = Widget(
    "strengths",
    "STRING",
    {
        "default": "1.0",
        "tooltip": "Strengths that each adapter is drawn at: 0.5, 0.75, 1. Two numbers with a "
        "colon are the strengths for text encoder and diffusion model: 0.5:1",
    },
)
_PROMPTS = Widget(
    "prompts",
    "STRING",
    {
        "default": "",
        "multiline": True,
        "tooltip": "Prompts, one on each line; each gets a row for every seed.",
    },
)
_NEGATIVE = Widget(
    "negative",
    "STRING",
    {"default": "", "tooltip": "Negative prompt of all pictures."},
)
_SEEDS = Widget(
    "seeds",
    "STRING",
    {"default": "1", "tooltip": "Seeds, such as 1, 2, 5-8; each gets a row for every prompt."},
)
_SIZE = tuple(
    Widget(
        name,
        "INT",
        {
            "default": 512,
            "min": 16,
            "max": 8192,
            "step": 8,
            "tooltip": f"The {name} of each picture, in pixels.",
        },
    )
    for name in ("width", "height")
)
_WITHOUT = Widget(
    "without_adapter",
    "BOOLEAN",
    {"default": True, "tooltip": "Draw a first column without any adapter."},
)
_TITLE = Widget("title", "STRING", {"default": "", "tooltip": "A heading above the grid."})
LINKS = (
    link("model", "MODEL", "The diffusion model."),
    link("clip", "CLIP", "The text encoder."),
    link("vae", "VAE", "Turns latents into pictures."),
)
ADAPTERS = tuple(
    link(name, adapter.TYPE, "An adapter from Train LoRA or Load LoRA; its columns come first.")
    for name in ("adapter", "adapter_2", "adapter_3")
)
SEVERAL = link(
    "checkpoints",
    adapter.SEVERAL,
    "Several adapters: the checkpoints of Train LoRA, or the files of a List of LoRAs node.",
)
WIDGETS = (_PROMPTS, _NEGATIVE, _SEEDS, _STRENGTHS, *_SIZE, _WITHOUT, _TITLE)


class CompareGrid:
    CATEGORY = "LyCORIS/sampling"
    DESCRIPTION = (
        "Draws every prompt and seed without a LoRA and with each LoRA at each strength: a row for "
        "each prompt and seed, a column for each LoRA and strength, all labelled."
    )
    SEARCH_ALIASES = ("xyz plot", "compare checkpoints", "compare epochs", "lora grid")
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("grid", "images")
    OUTPUT_TOOLTIPS = (
        "The labelled grid.",
        "The pictures alone, row by row: the first prompt with every adapter, then the next.",
    )
    FUNCTION = "compare"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs((*LINKS, *WIDGETS), (SEVERAL, *ADAPTERS, SAMPLING))

    def compare(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        prompts: str,
        seeds: str,
        strengths: str,
        width: int,
        height: int,
        negative: str = "",
        without_adapter: bool = True,
        title: str = "",
        checkpoints: Sequence[Path] = (),
        sampling: Values | None = None,
        **adapters: Any,
    ) -> tuple[Tensor, Tensor]:
        how = usual_sampling() | dict(sampling or {})
        connected = [lora for lora in adapters.values() if lora is not None]
        loras = {adapter.content_hash(lora): lora for lora in connected}

        def read(entrant: Entrant) -> Any:
            # A file is read again when its column is due, so that no two are in memory at once.
            return (
                loras[entrant.hash] if entrant.path is None else adapter.read_adapter(entrant.file)
            )

        plan = GridPlan.crossed(
            _entrants(checkpoints, loras),
            tuple(PromptTest(line, negative_prompt=negative) for line in lines(prompts) or ("",)),
            strengths=tuple(map(Strength.parse, strengths.replace(",", " ").split())),
            seeds=parse_seeds(seeds),
            settings=Settings(
                how["steps"],
                how["cfg"],
                width,
                height,
                how["sampler_name"],
                extra=((SCHEDULER, how["scheduler"]),),
            ),
            bare=without_adapter,
        )
        grid = draw_grid(plan, ComfyPainter(model, clip, vae, read), MemoryStore())
        for fault in grid.faults:
            logging.warning("LyCORIS: %s", fault)
        pictures = [cell.picture for row in grid.table() for cell in row if cell is not None]
        return to_image([grid_picture(grid, title=title)]), to_image(pictures)


def _entrants(files: Sequence[Path], loras: Mapping[str, Any]) -> tuple[Entrant, ...]:
    """List the connected adapters, then those of files.

    Each file is read here once, so that a damaged one is reported before anything is drawn.

    Args:
        files: paths of adapter files.
        loras: the connected adapters by their content hash.

    Raises:
        ConfigError: there is no adapter.
        DataError, FormatError: a file does not exist or is damaged.
    """

    def found() -> Iterator[Entrant]:
        for digest, lora in loras.items():
            yield Entrant(adapter.name_of(lora), digest)
        for path in files:
            lora = adapter.read_adapter(path)
            yield Entrant(lora.name, adapter.content_hash(lora), path)

    entrants = with_unique_names(found())
    if not entrants:
        raise ConfigError(
            "no adapter is given",
            where="checkpoints",
            fix="connect the checkpoints of Train LoRA, a List of LoRAs, or a Load LoRA node",
        )
    return entrants
