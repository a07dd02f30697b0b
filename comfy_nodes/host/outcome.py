"""What a Train node gives out when its run is finished, or was finished before."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from lycoris_ext.config import all_options
from lycoris_ext.plots.curve import loss_curve
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.words import file_size

from ..wording import readable
from .adapter import Adapter, read_adapter
from .images import opened, to_image
from .live_curve import recorded_losses
from .places import listed_name
from .watching import NodeWatcher

_NO_LOG = (960, 540)


class Outcome(NamedTuple):
    """The outputs of the Train node, in their order.

    Attributes:
        adapter: as it was saved.
        path: of its file.
        curve: the loss over the steps.
        samples: the pictures that were drawn during the run; the curve if none were drawn.
        checkpoints: paths of the adapters saved during the run and at its end.
    """

    adapter: Adapter
    path: str
    curve: Tensor
    samples: Tensor
    checkpoints: tuple[Path, ...]


def outcome(path: Path, watcher: NodeWatcher) -> Outcome:
    """Read what a run has written.

    Args:
        path: of its adapter.
        watcher: of the run; if it drew no pictures, those of the earlier run are read.
    """
    paths = RunPaths(path.parent, path.stem)
    losses = recorded_losses(paths.events)
    curve = loss_curve(losses, title=path.stem) if losses else Image.new("RGB", _NO_LOG, "white")
    pictures = watcher.pictures or [opened(picture) for picture in paths.drawn()] or [curve]
    # The copy of the last step is the adapter itself.
    last = paths.checkpoint(losses[-1].step) if losses else path
    checkpoints = (*(copy for copy in paths.checkpoints() if copy != last), path)
    return Outcome(
        read_adapter(path), str(path), to_image([curve]), to_image(pictures), checkpoints
    )


def told(path: Path, watcher: NodeWatcher) -> str:
    """Return lines for the node: notes of the run, its file, and the state if it was kept."""
    lines = [*(readable(note, frozenset(all_options())) for note in watcher.told)]
    lines.append(f"saved {listed_name(path)}")
    state = RunPaths(path.parent, path.stem).state
    if state.is_file():
        size = file_size(state.stat().st_size)
        lines.append(f"{listed_name(state)} ({size}) is kept, from which a longer run goes on")
    return "\n".join(lines)
