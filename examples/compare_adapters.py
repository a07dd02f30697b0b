"""Compare adapters: the same prompts and seeds without and with each of them, on one grid.

Without arguments it trains a short one of its own first. Runs in less than a minute on a CPU:

    python examples/compare_adapters.py
    python examples/compare_adapters.py mine-step-1000.safetensors mine.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from train_from_python import train_style

from lycoris_ext.grids import GridPlan, MemoryStore, draw_grid, grid_picture
from lycoris_ext.grids.pipeline_painter import PipelinePainter, columns_of, row_of
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.plots.png import save_picture
from lycoris_ext.sampling.adapters import AdapterUse
from lycoris_ext.sampling.specs import PromptSpec

PROMPTS = ("by ink, fox, brown, yellow background", "by flat, fox, brown, yellow background")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("adapters", nargs="*", type=Path)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--steps", type=int, default=60, help="of training, without adapters")
    parser.add_argument("--output-dir", type=Path, default=Path("output"))
    options = parser.parse_args()
    adapters = options.adapters or [train_style(options.output_dir, options.steps)]

    base = load_pipeline(
        ModelConfig(pretrained_model_name_or_path="mini"), torch.device("cpu"), torch.float32
    )
    specs = [PromptSpec(prompt, seed=2, steps=12, cfg_scale=4.0) for prompt in PROMPTS]
    plan = GridPlan(
        rows=tuple(row_of(spec, base) for spec in specs),
        columns=columns_of([AdapterUse(adapter) for adapter in adapters], options.strengths),
    )
    grid = draw_grid(plan, PipelinePainter(base), MemoryStore())
    picture = grid_picture(grid, title=plan.title)
    print(save_picture(options.output_dir / "comparison.png", picture, grid.parameters))


if __name__ == "__main__":
    main()
