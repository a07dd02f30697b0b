"""ComfyUI nodes to train, apply and compare adapters: one file for each node.

The nodes only translate between ComfyUI and the package lycoris_ext, which holds networks, options,
training, files and grids. `host/` holds all that talks to ComfyUI's own modules.
"""

from __future__ import annotations

from typing import Any

from . import core  # noqa: F401 - before anything that imports lycoris_ext

# isort: split
from .apply import Apply
from .compare_grid import CompareGrid
from .dataset import DatasetFolder, DatasetImages
from .inspect_file import Inspect
from .load import Load
from .network import Network
from .optimizer import Optimizer
from .save import Save
from .train import Train

NODE_CLASS_MAPPINGS: dict[str, type[Any]] = {
    "LycorisExtNetwork": Network,
    "LycorisExtDataset": DatasetFolder,
    "LycorisExtDatasetImages": DatasetImages,
    "LycorisExtOptimizer": Optimizer,
    "LycorisExtTrain": Train,
    "LycorisExtLoad": Load,
    "LycorisExtApply": Apply,
    "LycorisExtInspect": Inspect,
    "LycorisExtCompareGrid": CompareGrid,
    "LycorisExtSave": Save,
}
"""Saved workflows hold these ids, so that they must never change."""

NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "LycorisExtNetwork": "LyCORIS Network",
    "LycorisExtDataset": "LyCORIS Dataset",
    "LycorisExtDatasetImages": "LyCORIS Dataset from Images",
    "LycorisExtOptimizer": "LyCORIS Optimizer",
    "LycorisExtTrain": "LyCORIS Train",
    "LycorisExtLoad": "LyCORIS Load",
    "LycorisExtApply": "LyCORIS Apply",
    "LycorisExtInspect": "LyCORIS Inspect",
    "LycorisExtCompareGrid": "LyCORIS Compare Grid",
    "LycorisExtSave": "LyCORIS Save",
}
