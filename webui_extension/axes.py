"""Two axes for the host's X/Y/Z plot: the adapter, and its strength."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.grids.entrants import Strength
from webui_extension.laboratory import Laboratory
from webui_extension.staging import Staged, staged_name

CHECKPOINT, STRENGTH = "[LyCORIS Ext] checkpoint", "[LyCORIS Ext] strength"
NONE = "None"
#: Adapters in the list of choices at most; the path of any other can be typed.
_MOST = 2000
_KEY = "lycoris_ext_axes"
_TAG = re.compile(r" ?<lora:[^:>]*__[0-9a-f]{12}:[^>]*>")


def add_axes(laboratory: Laboratory) -> None:
    """Add both axes to the host's X/Y/Z plot, unless an earlier page load added them."""
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
    """The functions that the X/Y/Z plot calls to check the axes' values and to apply them.

    Applying a value writes the adapter's <lora:...> tag at the end of the prompt. If both axes are
    in use, the second to be applied replaces the tag that the first wrote.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory

    def choices(self) -> list[str]:
        """Return the values of a fresh list: "None" and every adapter, the newest run's first."""
        found = [NONE]
        # They are not read here: that takes long, and `confirm` reads those that are chosen.
        for folder in self._laboratory.runs()[0]:
            found += [str(path) for path in sorted(folder.glob("*.safetensors"))]
            if len(found) > _MOST:
                break
        return found[: _MOST + 1]

    def confirm(self, p: Any, xs: Sequence[str]) -> None:
        """Check the values of the adapter axis before the plot draws anything.

        Raises:
            RuntimeError: a file cannot be used; the host shows the message.
        """
        for text in xs:
            if text.strip() not in ("", NONE):
                try:
                    self._laboratory.checkpoint(text)
                except LycorisExtError as error:
                    raise RuntimeError(str(error)) from error

    def confirm_strength(self, p: Any, xs: Sequence[str]) -> None:
        """Check the values of the strength axis before the plot draws anything.

        Raises:
            RuntimeError: a value is no strength; the host shows the message.
        """
        for text in xs:
            try:
                Strength.parse(text)
            except LycorisExtError as error:
                raise RuntimeError(str(error)) from error

    def set_checkpoint(self, p: Any, x: str, xs: Sequence[str]) -> None:
        """Apply a value of the adapter axis (a path, or "None") to the host's task p."""
        self._write(p, checkpoint="" if x.strip() in ("", NONE) else x.strip())

    def set_strength(self, p: Any, x: str, xs: Sequence[str]) -> None:
        """Apply a value of the strength axis to the host's task p.

        Args:
            p: the host's txt2img or img2img task, whose prompt is changed.
            x: "0.8", or "0.5:1" for text encoder and U-Net.
            xs: all values of the axis; not used.
        """
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
            name = staged_name(known.name, known.hash)
            # No copy: nobody knows when the plot is done with it.
            model_hash = known.summary.hash.computed
            self._laboratory.host.lend(Staged(name, known.path, name, model_hash))
            p.prompt += f" <lora:{name}:{chosen['strength']}>"
