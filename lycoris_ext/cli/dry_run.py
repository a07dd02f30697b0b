"""`lycoris-ext train --dry-run`: everything that is checked before a run, and what it would do."""

from __future__ import annotations

from lycoris_ext.errors import LycorisExtError, together
from lycoris_ext.printable import printable
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.pipeline_base import PipelineBase
from lycoris_ext.training.rehearsal import rehearse
from lycoris_ext.training.terminal import Telling, Terminal


def dry_run(config: TrainConfig, telling: Telling) -> None:
    """Print what a run would train and write; raise everything that is wrong with it at once.

    Raises:
        LycorisExtError: the error with which ``train`` would end before its first step.
        ModuleNotFoundError: a package is not installed.
    """
    found = rehearse(config, Terminal(PipelineBase(config), telling))
    wrong: list[LycorisExtError] = [
        one.as_error() for one in found.findings if one.severity == "error"
    ]
    if wrong or found.faults:
        raise together([*wrong, *found.faults])
    if found.missing_package:
        raise ModuleNotFoundError(name=found.missing_package)
    for line in found.plan:
        print(printable(line))
    print("dry run: nothing was trained or written")
