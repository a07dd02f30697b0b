"""`lycoris-ext ema FILES --sigma S`: average the checkpoints of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.cli.arguments.ema import parser
from lycoris_ext.cli.new_config import unused_path
from lycoris_ext.formats import save_adapter
from lycoris_ext.printable import printable
from lycoris_ext.tools.ema import average
from lycoris_ext.words import table

_ENDING = ".safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the average of some checkpoints; return the exit code."""
    options = parser().parse_args(arguments)
    if options.output and not options.output.is_dir():
        unused_path(_with_ending(options.output))  # told before the files are read
    made = average(options.files, options.sigma)
    output = unused_path(_path(options.output, made.files[-1], options.sigma))
    save_adapter(output, made.state)
    for note in made.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    rows = [("checkpoint", "step", "weight")]
    rows += [
        (file.name, f"{step:g}", f"{weight:.4f}")
        for file, step, weight in zip(made.files, made.steps, made.weights, strict=True)
    ]
    print(printable("\n".join([*table(rows), f"written: {output}"])))
    return 0


def _path(output: Path | None, last: Path, sigma: float) -> Path:
    name = f"{last.stem if last.is_file() else last.name}-ema-{sigma:g}{_ENDING}"
    if output is None:
        return last.with_name(name)
    return output / name if output.is_dir() else _with_ending(output)


def _with_ending(path: Path) -> Path:
    return path if path.suffix == _ENDING else path.with_name(path.name + _ENDING)
