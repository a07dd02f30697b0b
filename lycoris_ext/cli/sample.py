"""`lycoris-ext sample`: pictures from a base model and adapters, one by one or as a grid."""

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
from lycoris_ext.sampling.adapters import AdapterUse
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.progress import progress_bar
from lycoris_ext.sampling.prompts import parse_prompt, read_prompts
from lycoris_ext.sampling.samplers import SAMPLERS
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.precision import choose_device

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw pictures; returns the exit code."""
    options = _parser().parse_args(arguments)
    uses = [AdapterUse.parse(text) for text in options.adapter]
    specs = _specs(options)
    if options.strengths and not options.grid:
        raise ConfigError(
            "--strengths belongs to --grid",
            where="--strengths",
            fix="add --grid, or write the strength behind the file: --adapter FILE:0.8",
        )
    device = choose_device(options.device)
    precision = options.precision or ("fp16" if device.type == "cuda" else "fp32")
    model = ModelConfig(
        pretrained_model_name_or_path=options.model,
        vae=options.vae,
        clip_skip=options.clip_skip,
        v_parameterization=options.v_parameterization,
    )
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
            f"{options.number} pictures are asked for", where="-n", fix="use 1 or more"
        )
    prompts = [parse_prompt(prompt) for prompt in options.prompt]
    if options.sample_prompts:
        prompts += read_prompts([options.sample_prompts])
    if not prompts:
        raise ConfigError(
            "there is nothing to draw",
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
        help="what is to be seen; may be repeated, and end in options as in a prompt file",
    )
    add(
        "--sample-prompts",
        metavar="FILE",
        help="a prompt file as sd-scripts reads it: .txt with a line a prompt "
        '("a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7 --ss euler_a"), .toml or .json',
    )
    add("--negative-prompt", default="", help="what is to be kept away")
    add(
        "--adapter",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="an adapter, such as my_style.safetensors:0.8; may be repeated, strengths may differ",
    )
    add(
        "--model",
        default="mini",
        help="a Stable Diffusion 1.x, 2.x or XL model, one file or a folder (default: mini)",
    )
    add("--vae", help="another autoencoder, one file or a folder")
    add(
        "--v-parameterization",
        action=argparse.BooleanOptionalAction,
        help="whether the model predicts velocity (default: as it says itself)",
    )
    add("--output-dir", type=Path, default=Path("samples"), help="(default: samples)")
    _add_settings(parser)
    add("--batch-size", type=int, default=8, help="pictures at once; changes none of them")
    add("--device", default="auto", help='"auto" (a GPU where there is one), "cpu", "cuda:1"')
    add("--precision", choices=sorted(_DTYPES), help="(default: fp16 on a GPU, fp32 otherwise)")
    add(
        "--grid",
        action="store_true",
        help="one picture of all prompts without adapter and with each adapter by itself",
    )
    add(
        "--strengths",
        type=float,
        nargs="+",
        default=[],
        help="with --grid: strengths of every adapter, in place of those behind the files",
    )
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """What decides the pictures of a prompt that does not say otherwise."""
    add = parser.add_argument
    add("-n", "--number", type=int, default=1, help="pictures a prompt, with consecutive seeds")
    add("--seed", type=int, default=0, help="of the first picture of each prompt (default: 0)")
    add("--steps", type=int, default=20, help="denoising steps (default: 20)")
    add("--cfg-scale", type=float, default=7.0, help="guidance; 1 is none (default: 7)")
    names = ", ".join(SAMPLERS)
    add("--sampler", default="Euler", help=f"{names}, or sd-scripts' name (default: Euler)")
    add("--width", type=int, help="in pixels (default: the model's)")
    add("--height", type=int, help="in pixels (default: the model's)")
    add("--clip-skip", type=int, default=1, help="layer of the text encoder, from the end")
