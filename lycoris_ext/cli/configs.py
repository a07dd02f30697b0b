"""Read the configs that a command is given, and build one config of them and its flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.config import OptionSource, Reading, TrainConfig, build_config, read_config
from lycoris_ext.errors import LycorisExtError, together

HINT = "--skip-unsupported leaves out what is not supported"


def build_from(files: Sequence[Path], flags: OptionSource, reading: Reading) -> TrainConfig:
    """Build a config from files of this library or other programs, and flags.

    What was left out of other programs' configs, and what else is notable, is printed to stderr.

    Args:
        files: later ones override earlier ones.
        flags: override the files.
        reading: whether settings that are not supported are left out; collects them.

    Raises:
        ConfigError: all faults at once.
    """
    try:
        config = build_config([*(read_config(file) for file in files), flags], reading)
    except LycorisExtError as error:
        if reading.refused and not reading.skip_unsupported:
            told = together(error.parts)
            told.fix = f"{told.fix}; {HINT}" if told.fix else HINT
            raise told from error
        raise
    for text in reading.notes:
        print(f"note: {text}", file=sys.stderr)
    for left_out in reading.left_out:
        why = (left_out.fix or "").removeprefix("leave it out").removeprefix(": ")
        lines = [f"left out: {left_out.where}: {left_out.what}", *([f"  -> {why}"] if why else [])]
        print("\n".join(lines), file=sys.stderr)
    return config
