"""`lycoris-ext demo`: train a LoHa on shipped pictures, draw with it, and measure the result.

The LoHa is trained as a user would train one, on a drawing style that the small base model does
not know. It then draws subjects that its training pictures do not show, and classifiers judge
whether style and subject are right.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.cli.arguments.demo import parser
from lycoris_ext.cli.demo_pictures import (
    DemoSettings,
    choose_prompts,
    demo_grid,
    draw_all,
    judge_all,
)
from lycoris_ext.config import OptionSource, TrainConfig, build_config, read_toml
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import check_folder, remove
from lycoris_ext.mini import LEARNED_STYLE, style_folder
from lycoris_ext.mini.judges import judge_accuracy
from lycoris_ext.mini.style_report import StyleReport
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.plots.png import save_picture
from lycoris_ext.runs.losses import read_losses
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.precision import choose_device

CONFIG = Path(__file__).with_name("demo.toml")
FIGURES_MISSED = 1


@dataclass(frozen=True)
class DemoFiles:
    """Paths of the files that the demo writes."""

    adapter: Path
    grid: Path
    curve: Path
    report: Path
    config: Path
    events: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, or 1 if a score misses its limit."""
    options = parser().parse_args(arguments)
    return run_demo(DemoSettings(options.output_dir, options.device))


def run_demo(settings: DemoSettings) -> int:
    """Train, draw, judge and write the report; return the exit code.

    Raises:
        DataError, EnvironmentFault: the shipped model or pictures are missing, or the output
            folder cannot be written.
    """
    started = time.monotonic()
    check_folder(settings.output_dir, "--output-dir")
    config = demo_config(settings)
    files = _start_afresh(config, settings)
    print(
        f'1/3 training a LoHa on "by {LEARNED_STYLE}", a style that the base model does not know',
        flush=True,
    )
    # Imported here, so that the line above is shown before seconds of imports.
    from lycoris_ext.training.terminal import train_in_terminal

    train_in_terminal(config)
    points = read_losses(files.events)
    save_picture(files.curve, loss_curve(points, "LoHa 8/4, alpha 1, on the small base"))
    trained = time.monotonic()
    print("2/3 drawing with and without the LoHa", flush=True)
    prompts = choose_prompts(settings.judged)
    shown, judged = draw_all(prompts, files.adapter, settings)
    print("3/3 judging style and subject of the pictures", flush=True)
    save_picture(files.grid, demo_grid(prompts, shown, settings))
    report = judge_all(prompts, judged)
    seconds = {"training": trained - started, "all": time.monotonic() - started}
    _write_report(files.report, report, config, settings, seconds)
    print("\n".join(["", *_table(report), "", *_list_files(files)]))
    print(f"\n{seconds['all']:.0f} seconds, {seconds['training']:.0f} of them training")
    return 0 if report.passed else FIGURES_MISSED


def demo_config(settings: DemoSettings) -> TrainConfig:
    """Build the training config from demo.toml, with the paths of model, pictures and output."""
    paths: dict[str, object] = {
        "pretrained_model_name_or_path": "mini",
        "train_data_dir": str(style_folder()),
        "output_dir": str(settings.output_dir),
        "output_name": f"{LEARNED_STYLE}_style",
        "device": settings.device,
        "overwrite": True,
    }
    return build_config(
        [read_toml(CONFIG), OptionSource("demo", {**paths, **dict(settings.overrides)})]
    )


def _start_afresh(config: TrainConfig, settings: DemoSettings) -> DemoFiles:
    """Return the paths of the demo's files, and delete those that an earlier demo wrote."""
    folder, run = settings.output_dir, RunPaths.of(config.run)
    files = DemoFiles(
        adapter=run.adapter,
        grid=folder / "comparison.png",
        curve=folder / "loss.png",
        report=folder / "report.json",
        config=run.config,
        events=run.events,
    )
    for path in (*asdict(files).values(), *run.states):
        remove(path)
    return files


def _write_report(
    path: Path,
    report: StyleReport,
    config: TrainConfig,
    settings: DemoSettings,
    seconds: dict[str, float],
) -> None:
    content: dict[str, Any] = {
        **report.to_json(),
        "judges_on_real_pictures": judge_accuracy(),
        "prompts_judged": settings.judged,
        "strength_judged": settings.strengths[-1],
        "training_steps": config.run.max_train_steps,
        "learning_rate": config.optimizer.learning_rate,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": choose_device(settings.device).type,
    }
    atomic_write(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def _table(report: StyleReport) -> list[str]:
    less = "at most 10 points less"
    rows = [
        ("", "without", "with", "must be"),
        (
            "subjects not trained on, drawn in the learned style",
            str(report.style_before),
            str(report.style_after),
            "at most 15%, then at least 70%",
        ),
        (
            "prompts of other styles, drawn in those styles",
            str(report.kept_before),
            str(report.kept_after),
            less,
        ),
        (
            "right subject (without: other styles, with: learned style)",
            str(report.subject_in_base_styles),
            str(report.subject_in_learned_style),
            less,
        ),
    ]
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"{a:<{first}}  {b:>{second}}  {c:>{third}}  {d}" for a, b, c, d in rows]
    return lines + [
        f"MISSED: {each.name} is {each.value:.0%}, must be {each.sign} {each.limit:.0%}"
        for each in report.criteria
        if not each.passed
    ]


def _list_files(files: DemoFiles) -> list[str]:
    meanings = {
        "grid": "pictures without and with the LoHa, side by side",
        "adapter": "the LoHa, which other tools can load too",
        "curve": "the loss over the steps",
        "report": "the numbers above as JSON",
        "config": "every option of the run",
        "events": "loss and learning rate of every step",
    }
    paths = {name: str(getattr(files, name)) for name in meanings}
    width = max(map(len, paths.values()))
    return [f"{paths[name]:<{width}}  {meaning}" for name, meaning in meanings.items()]
