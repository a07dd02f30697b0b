"""`lycoris-ext sample`: draw pictures with a base model and adapters, as files or as a grid."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.cells import MemoryStore
from lycoris_ext.grids.draw import draw_grid
from lycoris_ext.grids.output import grid_picture
from lycoris_ext.grids.pipeline_painter import PipelinePainter, columns_of, row_of
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.models import ModelConfig, Pipeline, load_pipeline
from lycoris_ext.plots.png import numbered_path, save_picture
from lycoris_ext.sampling.adapters import AdapterUse, refuse_unreadable
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.progress import progress_bar
from lycoris_ext.sampling.prompts import parse_prompt, read_prompts
from lycoris_ext.sampling.samplers import SAMPLERS
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.precision import choose_device
from lycoris_ext.words import count

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw pictures and print their paths; return the exit code."""
    options = _parser().parse_args(arguments)
    uses = [AdapterUse.parse(text) for text in options.adapter]
    specs = _specs(options)
    if options.strengths and not options.grid:
        raise ConfigError(
            "--strengths works only with --grid",
            where="--strengths",
            fix="add --grid, or write the strength after the file: --adapter FILE:0.8",
        )
    device = choose_device(options.device)
    precision = options.precision or ("fp16" if device.type == "cuda" else "fp32")
    model = ModelConfig(
        pretrained_model_name_or_path=options.model,
        vae=options.vae,
        clip_skip=options.clip_skip,
        v_parameterization=options.v_parameterization,
    )
    refuse_unreadable(uses)
    pipeline = load_pipeline(model, device, _DTYPES[precision])
    if options.grid:
        paths = [_draw_grid(pipeline, specs, uses, options)]
    else:
        paths = _draw_pictures(pipeline, specs, uses, options)
    for path in paths:
        print(path)
    return 0


def _specs(options: argparse.Namespace) -> list[PromptSpec]:
    if options.number < 1:
        raise ConfigError(
            f"{count(options.number, 'picture')} asked for", where="-n", fix="use 1 or more"
        )
    prompts = [parse_prompt(prompt) for prompt in options.prompt]
    if options.sample_prompts:
        prompts += read_prompts([options.sample_prompts])
    if not prompts:
        raise ConfigError(
            "no prompt is given",
            where="--prompt",
            fix='add --prompt "a cat", or --sample-prompts FILE',
        )
    defaults = {
        "negative_prompt": options.negative_prompt,
        "seed": options.seed,
        "steps": options.steps,
        "cfg_scale": options.cfg_scale,
        "width": options.width,
        "height": options.height,
        "sampler": options.sampler,
    }
    specs = [PromptSpec(**{**defaults, **prompt}) for prompt in prompts]
    return [
        replace(spec, seed=spec.seed + index) for spec in specs for index in range(options.number)
    ]


def _draw_pictures(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    uses: Sequence[AdapterUse],
    options: argparse.Namespace,
) -> list[Path]:
    with progress_bar("sampling") as progress:
        drawn = draw(pipeline, specs, uses, batch_size=options.batch_size, progress=progress)
    return [
        save_picture(numbered_path(options.output_dir), each.picture, each.parameters)
        for each in drawn
    ]


def _draw_grid(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    uses: Sequence[AdapterUse],
    options: argparse.Namespace,
) -> Path:
    rows = dict.fromkeys(row_of(spec, pipeline) for spec in specs)
    plan = GridPlan(tuple(rows), columns_of(uses, options.strengths))
    with progress_bar("sampling") as progress:
        grid = draw_grid(
            plan, PipelinePainter(pipeline, options.batch_size, progress), MemoryStore()
        )
    picture = grid_picture(grid, title=plan.title)
    return save_picture(numbered_path(options.output_dir, "-grid.png"), picture, grid.parameters)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lycoris-ext sample", description="Draw pictures with a base model and adapters."
    )
    add = parser.add_argument
    add(
        "--prompt",
        action="append",
        default=[],
        help="a prompt of any length; may be repeated, and may end in options such as "
        "--n blurry --w 512 --d 1",
    )
    add(
        "--sample-prompts",
        metavar="FILE",
        help="a file of prompts in sd-scripts' form: .txt with one prompt per line "
        '("a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7 --ss euler_a"), .toml or .json',
    )
    add("--negative-prompt", default="", help="negative prompt of all prompts without their own")
    add(
        "--adapter",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="an adapter file, such as my_style.safetensors:0.8; without strength, 1 is used; "
        "may be repeated",
    )
    add(
        "--model",
        default="mini",
        help="a Stable Diffusion 1.x, 2.x or XL model, as a file or a diffusers folder "
        "(default: mini, the small model that ships with the package)",
    )
    add("--vae", help="a VAE to use instead of the model's own, as a file or a folder")
    add(
        "--v-parameterization",
        action=argparse.BooleanOptionalAction,
        help="whether the model predicts velocity (default: read from the model)",
    )
    add(
        "--output-dir",
        type=Path,
        default=Path("samples"),
        help="folder for the pictures (default: samples)",
    )
    _add_settings(parser)
    _add_grid(parser)
    add(
        "--batch-size",
        type=int,
        default=8,
        help="number of pictures that are drawn at once; does not change them (default: 8)",
    )
    add("--device", default="auto", help='"auto" (a GPU if there is one), "cpu", "cuda:1"')
    add(
        "--precision",
        choices=sorted(_DTYPES),
        help="precision of the model (default: fp16 on a GPU, fp32 on a CPU)",
    )
    return parser


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grid",
        action="store_true",
        help="draw one comparison grid: every prompt without adapter and with each adapter alone",
    )
    parser.add_argument(
        "--strengths",
        type=float,
        nargs="+",
        default=[],
        help="with --grid: draw every adapter at these strengths instead of those after --adapter",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options for seed, steps, size and so on, which a prompt's own options override."""
    add = parser.add_argument
    add(
        "-n",
        "--number",
        type=int,
        default=1,
        help="number of pictures per prompt, with consecutive seeds (default: 1)",
    )
    add("--seed", type=int, default=0, help="seed of each prompt's first picture (default: 0)")
    add("--steps", type=int, default=20, help="number of denoising steps (default: 20)")
    add("--cfg-scale", type=float, default=7.0, help="guidance scale; 1 is off (default: 7)")
    names = ", ".join(SAMPLERS)
    add("--sampler", default="Euler", help=f"{names}, or sd-scripts' name (default: Euler)")
    add("--width", type=int, help="width in pixels (default: the model's native size)")
    add("--height", type=int, help="height in pixels (default: the model's native size)")
    add(
        "--clip-skip",
        type=int,
        default=1,
        help="use the text encoder's layer N from the end (default: 1, the last)",
    )
