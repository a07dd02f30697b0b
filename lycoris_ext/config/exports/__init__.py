"""Our configs in the words of other programs: one file for each format."""

from collections.abc import Callable

from lycoris_ext.config.exports import kohya_gui, sd_scripts
from lycoris_ext.config.exports.exported import Exported, Target
from lycoris_ext.training.config import TrainConfig

FORMATS: dict[str, tuple[str, Callable[[TrainConfig, Target], Exported]]] = {
    "sd-scripts": (".toml", sd_scripts.export),
    "kohya-gui": (".json", kohya_gui.export),
}
"""Format -> ending of its files, and what writes them."""

__all__ = ["FORMATS", "Exported", "Target"]
