"""Two axes for the host's own X/Y/Z plot: which adapter, and how strongly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.grids.entrants import Strength
from webui_extension.laboratory import Laboratory

CHECKPOINT, STRENGTH = "[LyCORIS Ext] checkpoint", "[LyCORIS Ext] strength"
NONE = "None"
_KEY = "lycoris_ext_axes"
_TAG = re.compile(r" ?<lora:[^:>]*__[0-9a-f]{12}:[^>]*>")


def add_axes(laboratory: Laboratory) -> None:
    """Add both axes, once: a reload of the host's page asks again."""
    from modules import scripts

    for data in scripts.scripts_data:
        if not data.path.endswith("xyz_grid.py"):
            continue
        options = data.module.axis_options
        if any(option.label == CHECKPOINT for option in options):
            continue
        axes = Axes(laboratory)
        option = data.module.AxisOption
        options.append(
            option(CHECKPOINT, str, axes.set_checkpoint, confirm=axes.confirm, choices=axes.choices)
        )
        options.append(option(STRENGTH, str, axes.set_strength, confirm=axes.confirm_strength))


class Axes:
    """What the plot calls for each of its cells.

    The adapter's tag is the last of the prompt; whichever axis comes second writes it anew.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory

    def choices(self) -> list[str]:
        """None, and every adapter of the youngest run."""
        found = [NONE]
        for folder in self._laboratory.runs()[0][:1]:
            try:
                found += [str(c.path) for c in self._laboratory.pick(str(folder)).checkpoints]
            except LycorisExtError:
                continue
        return found

    def confirm(self, p: Any, xs: Sequence[str]) -> None:
        """Refuse the plot before its first picture.

        Raises:
            RuntimeError: a file is not there; the host shows the sentence.
        """
        for text in xs:
            if text.strip() not in ("", NONE):
                try:
                    self._laboratory.checkpoint(text)
                except LycorisExtError as error:
                    raise RuntimeError(str(error)) from error

    def confirm_strength(self, p: Any, xs: Sequence[str]) -> None:
        """Refuse the plot before its first picture.

        Raises:
            RuntimeError: a strength is none; the host shows the sentence.
        """
        for text in xs:
            try:
                Strength.parse(text)
            except LycorisExtError as error:
                raise RuntimeError(str(error)) from error

    def set_checkpoint(self, p: Any, x: str, xs: Sequence[str]) -> None:
        """An axis value: an adapter's path, or None."""
        self._write(p, checkpoint="" if x.strip() in ("", NONE) else x.strip())

    def set_strength(self, p: Any, x: str, xs: Sequence[str]) -> None:
        """An axis value: 0.8, or 0.5:1 for text encoder and U-Net."""
        self._write(p, strength=x.strip())

    def _write(self, p: Any, *, checkpoint: str | None = None, strength: str | None = None) -> None:
        chosen = dict(getattr(p, _KEY, {"checkpoint": "", "strength": "1"}))
        if checkpoint is not None:
            chosen["checkpoint"] = checkpoint
        if strength is not None:
            chosen["strength"] = strength
        setattr(p, _KEY, chosen)
        p.prompt = _TAG.sub("", p.prompt)
        if chosen["checkpoint"]:
            known = self._laboratory.checkpoint(chosen["checkpoint"])
            staged = self._laboratory.staging.stage(known.path, known.hash)
            p.prompt += f" <lora:{staged.stem}:{chosen['strength']}>"
