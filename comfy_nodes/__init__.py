"""ComfyUI nodes to train, apply and compare adapters: one file for each subject.

The nodes only translate between ComfyUI and the package lycoris_ext, which holds networks, options,
training, files and grids. `host/` holds all that talks to ComfyUI's own modules.
"""

from __future__ import annotations

from typing import Any

from . import core  # noqa: F401 - before anything that imports lycoris_ext

# isort: split
from . import dataset, deprecated, network, optimizer, train
from .apply import Apply
from .compare_grid import CompareGrid
from .dataset_latents import DatasetLatents
from .inspect_file import Inspect
from .load import Load
from .load_lora import LoadLora
from .lora_list import LoraList
from .messages import Places, places, speaking
from .sampling import Sampling
from .save import Save

_NODES: dict[str, tuple[str, type[Any]]] = {
    "LycorisExtTrainLora": ("Train LoRA / LoHa", train.Train),
    "LycorisExtTrainNetwork": ("Network (LoRA, LoHa, LoKr)", network.Network),
    "LycorisExtTrainOptimizer": ("Optimizer (Train LoRA)", optimizer.Optimizer),
    "LycorisExtDatasetFolder": ("Dataset (Train LoRA)", dataset.DatasetFolder),
    "LycorisExtDatasetFromLatents": ("Dataset from Latents (Train LoRA)", DatasetLatents),
    "LycorisExtDatasetFromImages": ("Dataset from Images (Train LoRA)", dataset.DatasetImages),
    "LycorisExtTrainPreviews": ("Train Advanced: Previews", train.TrainPreviews),
    "LycorisExtTrainSaving": ("Train Advanced: Saving", train.TrainSaving),
    "LycorisExtTrainMetadata": ("Train Advanced: Metadata", train.TrainMetadata),
    "LycorisExtNetworkLayers": ("Network Advanced: Layers", network.NetworkLayers),
    "LycorisExtNetworkScaling": ("Network Advanced: DoRA, Scaling", network.NetworkScaling),
    "LycorisExtNetworkLokr": ("Network Advanced: LoKr", network.NetworkLokr),
    "LycorisExtNetworkAlgorithms": (
        "Network Advanced: OFT, (IA)^3, DyLoRA",
        network.NetworkAlgorithms,
    ),
    "LycorisExtOptimizerSettings": (
        "Optimizer Advanced: Weight Decay, Betas",
        optimizer.OptimizerSettings,
    ),
    "LycorisExtOptimizerRates": ("Optimizer Advanced: Rates", optimizer.OptimizerRates),
    "LycorisExtOptimizerSchedule": ("Optimizer Advanced: Schedule", optimizer.OptimizerSchedule),
    "LycorisExtOptimizerLoss": ("Optimizer Advanced: Loss", optimizer.OptimizerLoss),
    "LycorisExtOptimizerTimesteps": ("Optimizer Advanced: Timesteps", optimizer.OptimizerTimesteps),
    "LycorisExtOptimizerNoise": ("Optimizer Advanced: Noise", optimizer.OptimizerNoise),
    "LycorisExtDatasetTags": ("Dataset Advanced: Tags", dataset.DatasetTags),
    "LycorisExtDatasetCaptions": ("Dataset Advanced: Captions", dataset.DatasetCaptions),
    "LycorisExtDatasetPictures": ("Dataset Advanced: Pictures", dataset.DatasetPictures),
    "LycorisExtLoadLora": ("Load LoRA / LoHa", LoadLora),
    "LycorisExtLoad": ("Read LoRA File", Load),
    "LycorisExtApply": ("Apply LoRA", Apply),
    "LycorisExtSave": ("Save LoRA", Save),
    "LycorisExtInspect": ("Inspect LoRA", Inspect),
    "LycorisExtLoraList": ("List of LoRAs", LoraList),
    "LycorisExtCompareLoras": ("Compare LoRAs (Grid)", CompareGrid),
    "LycorisExtSampling": ("Sampling (Grid, Previews)", Sampling),
    # of version 0.1.0
    "LycorisExtNetwork": ("Network", deprecated.OldNetwork),
    "LycorisExtDataset": ("Dataset", deprecated.OldDataset),
    "LycorisExtDatasetImages": ("Dataset from Images", deprecated.OldDatasetImages),
    "LycorisExtOptimizer": ("Optimizer", deprecated.OldOptimizer),
    "LycorisExtTrain": ("Train", deprecated.OldTrain),
    "LycorisExtCompareGrid": ("Compare Grid", deprecated.OldCompareGrid),
}
"""Saved workflows hold these ids, so that they must never change."""

NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    name: f"LyCORIS {shown}" for name, (shown, _) in _NODES.items()
}


def _places() -> Places:
    return places(NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)


NODE_CLASS_MAPPINGS: dict[str, type[Any]] = {
    name: speaking(node, _places) for name, (_, node) in _NODES.items()
}
