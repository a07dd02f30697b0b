"""The node that draws the same prompts with several adapters, in one labelled grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.grids.cells import MemoryStore
from lycoris_ext.grids.draw import draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength, with_unique_names
from lycoris_ext.grids.output import grid_picture
from lycoris_ext.grids.plan import GridPlan, parse_seeds
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings

from .host import adapter
from .host.drawing import drawing_widgets
from .host.images import to_image
from .host.painter import SCHEDULER, ComfyPainter
from .host.places import adapter_file, adapter_files
from .host.widgets import Widget, inputs, lines, link

_FILES = Widget(
    "files",
    "STRING",
    {
        "default": "",
        "multiline": True,
        "tooltip": "Adapter files in the LoRA folders, one name on each line; with * and ? a line "
        "stands for several: my_lora-step-*. Each file gets a column for each strength.",
    },
)
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


class CompareGrid:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Draws every prompt and seed without an adapter and with each adapter at each strength: "
        "a row for each prompt and seed, a column for each adapter and strength, all labelled."
    )
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("grid", "images")
    OUTPUT_TOOLTIPS = (
        "The labelled grid.",
        "The pictures alone, row by row: the first prompt with every adapter, then the next.",
    )
    FUNCTION = "compare"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required = (
            link("model", "MODEL", "The diffusion model."),
            link("clip", "CLIP", "The text encoder."),
            link("vae", "VAE", "Turns latents into pictures."),
            _PROMPTS,
            _SEEDS,
            _FILES,
            _STRENGTHS,
            *drawing_widgets(),
            *_SIZE,
        )
        more = tuple(
            link(
                name,
                adapter.TYPE,
                "An adapter from Train or Load; its columns come before those of files.",
            )
            for name in ("adapter", "adapter_2", "adapter_3")
        )
        return inputs(required, (_NEGATIVE, _WITHOUT, _TITLE, *more))

    @classmethod
    def IS_CHANGED(cls, files: str | None = None, **_: Any) -> str:
        """Return a text that changes when other files match `files`, or one of them is written."""
        names = found_files(files or "", must=False)
        return ",".join(f"{name}:{adapter_file(name).stat().st_mtime_ns}" for name in names)

    def compare(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        prompts: str,
        seeds: str,
        files: str,
        strengths: str,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        width: int,
        height: int,
        negative: str = "",
        without_adapter: bool = True,
        title: str = "",
        **adapters: Any,
    ) -> tuple[Tensor, Tensor]:
        connected = [lora for lora in adapters.values() if lora is not None]
        loras = {adapter.content_hash(lora): lora for lora in connected}

        def read(entrant: Entrant) -> Any:
            # A file is read again when its column is due, so that no two are in memory at once.
            return loras.get(entrant.hash) or adapter.read_adapter(entrant.file)

        plan = GridPlan.crossed(
            _entrants(files, loras),
            tuple(PromptTest(line, negative_prompt=negative) for line in lines(prompts) or ("",)),
            strengths=tuple(map(Strength.parse, strengths.replace(",", " ").split())),
            seeds=parse_seeds(seeds),
            settings=Settings(
                steps, cfg, width, height, sampler_name, extra=((SCHEDULER, scheduler),)
            ),
            bare=without_adapter,
        )
        grid = draw_grid(plan, ComfyPainter(model, clip, vae, read), MemoryStore())
        pictures = [cell.picture for row in grid.table() for cell in row if cell is not None]
        return to_image([grid_picture(grid, title=title)]), to_image(pictures)


def found_files(text: str, must: bool = True) -> list[str]:
    """Return the adapter files that match lines of names and patterns, each file once.

    Args:
        text: names or patterns such as "my_lora-step-*", one on each line.
        must: raise if a line matches no file.

    Raises:
        DataError: a line matches no file, and `must` is set.
    """
    known, found = adapter_files(), []
    for line in lines(text):
        plain = line.replace("\\", "/")
        names = [name for name in known if _fits(name.replace("\\", "/"), plain)]
        if must and not names:
            raise DataError(
                "no adapter file has this name",
                where=line,
                fix="write names as Load lists them, or a pattern such as my_lora-step-*",
            )
        found += sorted(names, key=_as_counted)
    return list(dict.fromkeys(found))


def _as_counted(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by size: step-500 before step-1000."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _fits(name: str, pattern: str) -> bool:
    texts = (pattern, f"{pattern}.safetensors")
    return name in texts or any(fnmatchcase(name, text) for text in texts)


def _entrants(files: str, loras: Mapping[str, Any]) -> tuple[Entrant, ...]:
    """List the connected adapters, then those of files.

    Each file is read here once, so that a damaged one is reported before anything is drawn.

    Args:
        files: lines of names and patterns.
        loras: the connected adapters by their content hash.

    Raises:
        ConfigError: there is no adapter.
        DataError, FormatError: a file does not exist or is damaged.
    """

    def found() -> Iterator[Entrant]:
        for digest, lora in loras.items():
            yield Entrant(adapter.name_of(lora), digest)
        for path in map(adapter_file, found_files(files)):
            lora = adapter.read_adapter(path)
            yield Entrant(lora.name, adapter.content_hash(lora), path)

    entrants = with_unique_names(found())
    if not entrants:
        raise ConfigError(
            "no adapter is given",
            where="files",
            fix="connect one, or write the names of files",
        )
    return entrants
