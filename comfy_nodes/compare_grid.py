"""The node that draws the same pictures with several adapters and lays them out under headings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.plots.grid import comparison_grid
from lycoris_ext.sampling.compare import BARE

from .apply import put_on
from .host import adapter
from .host.drawing import Drawing, draw, drawing_widgets
from .host.images import to_image
from .host.places import adapter_file, adapter_files
from .host.status import Bar
from .host.widgets import Widget, inputs, lines, link

Number = TypeVar("Number", int, float)

_FILES = Widget(
    "files",
    "STRING",
    {
        "default": "",
        "multiline": True,
        "tooltip": "Adapter files, one a line, as they are called in the LoRA folders; * and ? "
        "fit many: my_lora-step-*.",
    },
)
_STRENGTHS = Widget(
    "strengths",
    "STRING",
    {"default": "1.0", "tooltip": "Each adapter is drawn at each of these: 0.5, 0.75, 1"},
)
_PROMPTS = Widget(
    "prompts",
    "STRING",
    {"default": "", "multiline": True, "tooltip": "One a line."},
)
_NEGATIVE = Widget("negative", "STRING", {"default": "", "tooltip": "Negative prompt of all."})
_SEEDS = Widget("seeds", "STRING", {"default": "1", "tooltip": "Numbers, with commas: 1, 2, 3"})
_SIZE = tuple(
    Widget(
        name,
        "INT",
        {"default": 512, "min": 16, "max": 8192, "step": 8, "tooltip": "In pixels."},
    )
    for name in ("width", "height")
)
_WITHOUT = Widget(
    "without_adapter",
    "BOOLEAN",
    {"default": True, "tooltip": "Also draw without any adapter, first."},
)
_TITLE = Widget("title", "STRING", {"default": "", "tooltip": "Above the grid."})


@dataclass(frozen=True)
class Row:
    """A label, and the model that draws."""

    label: str
    lora: Any = None
    strength: float = 0.0


class CompareGrid:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Draws every prompt and seed without an adapter and with each adapter at each strength: "
        "one row an adapter and strength, one column a prompt and seed, all labelled."
    )
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("grid", "images")
    OUTPUT_TOOLTIPS = ("The labelled grid.", "The pictures, row by row.")
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
            link(name, adapter.TYPE, "From Train or Load, beside the files.")
            for name in ("adapter", "adapter_2", "adapter_3")
        )
        return inputs(required, (_NEGATIVE, _WITHOUT, _TITLE, *more))

    @classmethod
    def IS_CHANGED(cls, files: str | None = None, **_: Any) -> str:
        """Another text when a pattern fits other files, or one of them was written."""
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
        how = Drawing(negative, steps, cfg, sampler_name, scheduler, width, height)
        columns = [(prompt, seed) for prompt in _prompts(prompts) for seed in _seeds(seeds)]
        rows = [Row(BARE)] if without_adapter else []
        rows += _rows(files, [lora for lora in adapters.values() if lora is not None], strengths)
        bar, done = Bar(len(rows) * len(columns) * steps), 0
        cells: list[list[Image.Image]] = []
        for row in rows:
            drawer, reader = model, clip
            if row.lora is not None:
                applied = put_on(model, clip, row.lora, row.strength, row.strength)
                drawer, reader = applied.model, applied.clip
            cells.append([])
            for prompt, seed in columns:

                def step(now: int, total: int, before: int = done) -> None:
                    bar.at(before + now)

                picture = draw(drawer, reader, vae, prompt, seed, how, step)
                done += steps
                bar.at(done, picture)
                cells[-1].append(picture)
        several = len(_seeds(seeds)) > 1
        headings = [f"{prompt}, seed {seed}" if several else prompt for prompt, seed in columns]
        grid = comparison_grid(
            cells, [row.label for row in rows], headings, title, subtitle=_about(how)
        )
        return to_image([grid]), to_image([picture for row in cells for picture in row])


def found_files(text: str, must: bool = True) -> list[str]:
    """The files that lines of names and patterns stand for, each once.

    Raises:
        DataError: a line fits none, and one must.
    """
    known, found = adapter_files(), []
    for line in lines(text):
        plain = line.replace("\\", "/")
        names = [name for name in known if _fits(name.replace("\\", "/"), plain)]
        if must and not names:
            raise DataError(
                "no adapter is called so",
                where=line,
                fix="write names as Load lists them, or a pattern such as my_lora-step-*",
            )
        found += sorted(names, key=_as_counted)
    return list(dict.fromkeys(found))


def _as_counted(name: str) -> list[tuple[int, str]]:
    """Sorts step-500 before step-1000."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _fits(name: str, pattern: str) -> bool:
    return any(fnmatchcase(name, text) for text in (pattern, f"{pattern}.safetensors"))


def _rows(files: str, connected: list[Any], strengths: str) -> Iterator[Row]:
    loras = [*connected, *(adapter.read_adapter(adapter_file(name)) for name in found_files(files))]
    if not loras:
        raise ConfigError(
            "no adapter is given",
            where="files",
            fix="connect one, or write the names of files",
        )
    for lora in loras:
        for strength in _strengths(strengths):
            yield Row(f"{adapter.name_of(lora)} {strength:g}", lora, strength)


def _prompts(text: str) -> tuple[str, ...]:
    return lines(text) or ("",)


def _seeds(text: str) -> list[int]:
    found = _numbers(text, "seeds", int, "write whole numbers: 1, 2, 3")
    for seed in found:
        if not 0 <= seed < 2**64:
            raise ConfigError(f"{seed} is no seed", where="seeds", fix="use 0 to 2^64 - 1")
    return found


def _strengths(text: str) -> list[float]:
    found = _numbers(text, "strengths", float, "write 0.5, 1")
    for strength in found:
        if not isfinite(strength):
            raise ConfigError(f"{strength} is no strength", where="strengths", fix="write 0.5, 1")
    return found


def _numbers(text: str, where: str, read: Callable[[str], Number], fix: str) -> list[Number]:
    """Numbers with commas or spaces between.

    Raises:
        ConfigError: there are none, or something else stands there.
    """
    try:
        found = [read(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError(
            f"{text!r} holds no numbers of this kind", where=where, fix=fix
        ) from error
    if not found:
        raise ConfigError("no number is given", where=where, fix="write at least one")
    return found


def _about(how: Drawing) -> str:
    return (
        f"{how.sampler_name}, {how.scheduler}, {how.steps} steps, cfg {how.cfg:g}, "
        f"{how.width}x{how.height}"
    )
