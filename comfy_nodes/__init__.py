"""ComfyUI nodes for training and sampling: one file a node, and in `host/` what ComfyUI is asked.

The nodes translate; networks, options, training, files and grids are the core's.
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
"""Ids are in people's workflows: they never change."""

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
