"""`lycoris-ext sample`: draw pictures with a base model and adapters, as files or as a grid."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from lycoris_ext.cli.arguments.sample import parser
from lycoris_ext.errors import ConfigError, DivergedError, Faults
from lycoris_ext.formats.atomic import check_folder
from lycoris_ext.grids.cells import MemoryStore
from lycoris_ext.grids.draw import draw_grid
from lycoris_ext.grids.output import grid_picture
from lycoris_ext.grids.pipeline_painter import PipelinePainter, columns_of, row_of
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.models import ModelConfig, Pipeline, load_pipeline
from lycoris_ext.plots.png import numbered_path, save_picture
from lycoris_ext.printable import printable
from lycoris_ext.sampling.adapters import AdapterUse, refuse_unreadable
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.progress import progress_bar
from lycoris_ext.sampling.prompts import parse_prompt, read_prompts
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.precision import choose_device
from lycoris_ext.words import count, short

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw pictures and print their paths; return the exit code."""
    options = parser().parse_args(arguments)
    uses = [AdapterUse.parse(text) for text in (*options.files, *options.adapter)]
    specs = _specs(options)
    if options.strengths and not options.grid:
        raise ConfigError(
            "--strengths works only with --grid",
            where="--strengths",
            fix="add --grid, or write the strength after the file: --adapter FILE:0.8",
        )
    if not all(map(math.isfinite, options.strengths)):
        raise ConfigError(
            f"a strength is {next(s for s in options.strengths if not math.isfinite(s))}",
            where="--strengths",
            fix="use numbers such as 0.5 and 1",
        )
    device = choose_device(options.device)
    precision = options.precision or ("fp16" if device.type == "cuda" else "fp32")
    model = ModelConfig(
        pretrained_model_name_or_path=options.model,
        vae=options.vae,
        clip_skip=options.clip_skip,
        v_parameterization=options.v_parameterization,
    )
    for note in refuse_unreadable(uses):
        print(printable(f"note: {note}"), file=sys.stderr)
    check_folder(options.output_dir, "--output-dir")
    pipeline = load_pipeline(model, device, DTYPES[precision])
    if options.grid:
        _draw_grid(pipeline, specs, uses, options)
    else:
        _draw_pictures(pipeline, specs, uses, options)
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
) -> None:
    """Save the pictures and print their paths.

    Raises:
        DivergedError: some became NaN or infinite; the others are saved.
    """
    with progress_bar("sampling") as progress:
        drawn = draw(pipeline, specs, uses, batch_size=options.batch_size, progress=progress)
    faults = Faults()
    for spec, each in zip(specs, drawn, strict=True):
        where = f"seed {spec.seed}, {short(spec.prompt, 60)}"
        if each.fault:
            what = f"this picture is not saved, for it would be black: {each.fault}"
            fix = "add --precision fp32, or use another adapter, a lower strength or another VAE"
            faults.found.append(DivergedError(what, where=where, fix=fix))
        else:
            path = numbered_path(options.output_dir)
            print(printable(str(save_picture(path, each.picture, each.parameters))))
    faults.raise_all()


def _draw_grid(
    pipeline: Pipeline,
    specs: Sequence[PromptSpec],
    uses: Sequence[AdapterUse],
    options: argparse.Namespace,
) -> None:
    """Save the grid and print its path; a picture that became NaN is crossed out in it."""
    rows = dict.fromkeys(row_of(spec, pipeline) for spec in specs)
    plan = GridPlan(tuple(rows), columns_of(uses, options.strengths))
    with progress_bar("sampling") as progress:
        grid = draw_grid(
            plan, PipelinePainter(pipeline, options.batch_size, progress), MemoryStore()
        )
    for fault in grid.faults:
        print(printable(f"note: {fault}"), file=sys.stderr)
    picture = grid_picture(grid, title=plan.title)
    path = numbered_path(options.output_dir, "-grid.png")
    print(printable(str(save_picture(path, picture, grid.parameters))))
