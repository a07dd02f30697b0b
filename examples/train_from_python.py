"""Train an adapter with the whole recipe, from a config in Python.

The same as `lycoris-ext train`: captions, schedule, pictures on the way, metadata, and a run that
goes on where it was stopped. It learns a drawing style on the small base model that comes along, in
less than a minute on a CPU:

    python examples/train_from_python.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.formats.summary import summarize
from lycoris_ext.mini import style_folder
from lycoris_ext.training.pipeline_base import PipelineBase
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run
from lycoris_ext.training.train import train
from lycoris_ext.training.watcher import Watcher


class PrintsTheLoss(Watcher):
    """Follows the run: says how far it is."""

    def say(self, text: str) -> None:
        print(text)

    def after_step(self, run: Run, report: StepReport) -> None:
        if report.step % 10 == 0 or report.step == run.total_steps:
            print(f"step {report.step} of {run.total_steps}: average loss {report.average:.4f}")


def train_style(output_dir: Path, steps: int) -> Path:
    """Train a LoHa of the style "by ink"; returns the adapter's file."""
    options = {
        "pretrained_model_name_or_path": "mini",  # yours: a .safetensors file or a diffusers folder
        "train_data_dir": str(style_folder()),  # yours: the parent of folders like 10_mystyle
        "resolution": 64,
        "train_batch_size": 8,
        "algo": "loha",
        "network_dim": 8,
        "conv_dim": 4,
        "optimizer_type": "AdamW",
        "learning_rate": 6e-3,
        "lr_scheduler": "cosine",
        "max_train_steps": steps,
        "output_dir": str(output_dir),
        "output_name": "ink",
    }
    config = build_config([OptionSource("train_from_python.py", options)])
    return train(config, PipelineBase(config), PrintsTheLoss())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output-dir", type=Path, default=Path("output"))
    options = parser.parse_args()
    adapter = train_style(options.output_dir, options.steps)
    summary = summarize(adapter)
    print(f"adapter: {adapter}, {summary.parameters:,} numbers in {summary.modules}")


if __name__ == "__main__":
    main()
