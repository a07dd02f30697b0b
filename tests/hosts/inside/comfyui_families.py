"""Run inside ComfyUI: two steps on a small model of each family, and its file in ComfyUI's loader.

Arguments: the clone; a folder of pictures.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_models import ARGUMENTS, FAMILIES, small_model

sys.path.append(ARGUMENTS[0])  # behind everything of ComfyUI's
import comfy.sd
import torch
from comfy.model_management import load_models_gpu
from torch import Tensor

from comfy_nodes.host.base_model import ConnectedModel
from comfy_nodes.host.patches import targets_of
from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.formats import load_adapter
from lycoris_ext.network import load_network
from lycoris_ext.training import train as recipe
from lycoris_ext.training.watcher import Watcher


class Vae:
    """A VAE without weights; a latent covers 8 x 8 pixels."""

    def __init__(self, channels: int) -> None:
        self.channels = self.latent_channels = channels
        self.first_stage_model = torch.nn.Module()

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, images: Tensor) -> Tensor:
        small = torch.nn.functional.avg_pool2d(images.movedim(-1, 1), 8)
        return small.repeat(1, -(-self.channels // 3), 1, 1)[:, : self.channels]


class Losses(Watcher):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_step(self, run: Any, report: Any) -> None:
        self.losses.append(report.loss)


class Missing(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "not loaded" in record.getMessage()


class AnyCaption(dict):
    """Returns the same conditioning for every caption."""

    def __init__(self, states: int, pooled: int) -> None:
        generator = torch.Generator().manual_seed(0)
        told = {"pooled_output": torch.randn(1, pooled, generator=generator)}
        self.only = [[torch.randn(1, 77, states, generator=generator), told]]
        super().__init__()

    def __contains__(self, caption: object) -> bool:
        return True

    def __missing__(self, caption: str) -> Any:
        return self.only


def main() -> None:
    handler = Missing()
    logging.getLogger().addHandler(handler)
    found = {}
    for family, (_, states, pooled) in FAMILIES.items():
        with torch.inference_mode():
            model = small_model(family)
            before = {name: value.clone() for name, value in model.model.state_dict().items()}
        with tempfile.TemporaryDirectory() as folder:
            path, losses = train(model, AnyCaption(states, pooled), folder)
            state = load_adapter(path)
        handler.count = 0
        loaded, _ = comfy.sd.load_lora_for_models(model, None, dict(state.tensors), 1.0, 1.0)
        network = load_network(state, targets_of(model, None))
        with torch.inference_mode():
            after = model.model.state_dict()
            same = all(torch.equal(before[name], after[name]) for name in before)
            network.merge()
            wanted = {k: s.module.weight.clone() for k, s in network.sites.items()}
            network.unmerge()
            load_models_gpu([loaded], force_full_load=True)
            error = max(
                float((wanted[k] - s.module.weight).abs().max() / wanted[k].abs().max())
                for k, s in network.sites.items()
            )
            moved = max(
                float((before[f"diffusion_model.{s.path}.weight"] - wanted[k]).abs().max())
                for k, s in network.sites.items()
            )
            loaded.unpatch_model()
        found[family] = {
            "losses": losses,
            "layers": len(network.layers),
            "starts": sorted({key.partition("_")[0] for key in state.tensors}),
            "kind": state.metadata["ss_base_model_version"],
            "missing": handler.count,
            "error": error,
            "moved": moved,
            "same": same,
        }
    print(json.dumps(found))


@torch.inference_mode(False)
def train(model: Any, texts: AnyCaption, folder: str) -> tuple[Path, list[float]]:
    options = {
        "algo": "loha",
        "network_dim": 4,
        "conv_dim": 2,
        "network_train_unet_only": True,
        "train_data_dir": ARGUMENTS[1],
        "resolution": 64,
        "enable_bucket": False,
        "train_batch_size": 2,
        "optimizer_type": "AdamW",
        "learning_rate": 0.05,
        "output_dir": folder,
        "max_train_steps": 2,
        "save_precision": "float",
        "device": "cpu",
    }
    channels = model.model.latent_format.latent_channels
    base = ConnectedModel(model, None, Vae(channels), trains_text=False, precision="no")
    base._conditionings = texts
    heard = Losses()
    return recipe.train(build_config([OptionSource("test", options)]), base, heard), heard.losses


main()
