"""The node that says how pictures are drawn; previews of training and grids take it."""

from __future__ import annotations

from typing import Any

from .advanced import Values
from .host.drawing import drawing_widgets
from .host.widgets import inputs, link

TYPE = "LYCORIS_SAMPLING"
#: The input of the nodes that draw.
SAMPLING = link(
    "sampling", TYPE, "Steps, CFG and sampler, from a Sampling node. Not connected: 20 steps, CFG "
    "7, euler, normal.",
)  # fmt: skip


def usual_sampling() -> dict[str, Any]:
    """Return the settings that a Sampling node has at first."""
    return {widget.name: widget.settings["default"] for widget in drawing_widgets()}


class Sampling:
    CATEGORY = "LyCORIS/sampling"
    DESCRIPTION = (
        "Steps, CFG, sampler and scheduler of the pictures that Train Advanced: Previews and "
        "Compare LoRAs draw."
    )
    RETURN_TYPES = (TYPE,)
    RETURN_NAMES = ("sampling",)
    OUTPUT_TOOLTIPS = ("For the input sampling of Train Advanced: Previews and Compare LoRAs.",)
    FUNCTION = "collect"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs(drawing_widgets())

    def collect(self, **values: Any) -> tuple[Values]:
        return (values,)
