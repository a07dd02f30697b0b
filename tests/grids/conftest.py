"""A run of two checkpoints, and a painter that needs no model."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from lycoris_ext.formats import save_adapter
from lycoris_ext.grids.cells import Painted
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.plan import Cell
from lycoris_ext.network import NetworkConfig, build_network


def write_checkpoint(path: Path, step: int, seed: int = 0, **config: object) -> Path:
    """Write an adapter of a small module, with metadata."""
    model = nn.Sequential(nn.Linear(12, 10), nn.Conv2d(4, 6, 3))
    network = build_network({"model": model}, NetworkConfig(**{"algo": "loha", **config}))
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn(parameter.shape, generator=numbers)
    metadata = {
        "ss_steps": str(step),
        "ss_sd_model_name": "base.safetensors",
        "ss_base_model_version": "sd_v1",
        "ss_tag_frequency": json.dumps({"10_tilty": {"Tilty": 20, "smile": 8, "<b>": 3}}),
        "ss_dataset_dirs": json.dumps({"10_tilty": {"n_repeats": 10, "img_count": 20}}),
    }
    save_adapter(path, network.adapter_state(metadata))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run's folder with steps 200 and 1000, whose names sort the other way round."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_checkpoint(folder / "tilty-step-200.safetensors", 200, seed=1)
    write_checkpoint(folder / "tilty-step-1000.safetensors", 1000, seed=2, dora_wd=True)
    return folder


def old_plan(entrant: Entrant) -> str:
    """grid.json as version 0.1.0 wrote it: two seeds, drawn without the adapter and with it."""
    content = {
        "id": "0123456789abcdef",
        "entrants": [{"name": entrant.name, "hash": entrant.hash, "path": str(entrant.path)}],
        "tests": [{"prompt": "a cat", "label": "", "negative_prompt": ""}],
        "strengths": [{"text_encoder": 0.5, "unet": 1.0}],
        "seeds": [1, 2],
        "base_models": ["m"],
        "negative_prompts": ["ugly"],
        "settings": {
            "steps": 20,
            "cfg_scale": 7.0,
            "width": 64,
            "height": 64,
            "sampler": "Euler a",
            "clip_skip": 1,
        },
        "faults": [["", "x"], ["", None]],
    }
    return json.dumps(content, indent=2)


class ColourPainter:
    """Paints every cell in a colour of its own, without a model, and remembers the cells."""

    def __init__(self, version: str = "1", faulty: str = "", stop_after: int = 10**6) -> None:
        self.version = version
        self.faulty = faulty
        self.stop_after = stop_after
        self.painted: list[Cell] = []
        self.closed = False

    def decides(self, base_model: str) -> dict[str, str]:
        return {"version": self.version, "base": base_model}

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        try:
            for cell in cells:
                if len(self.painted) == self.stop_after:
                    return
                self.painted.append(cell)
                colour = tuple(cell.key(self.decides(cell.row.base_model)).encode("ascii")[:3])
                fault = "not loaded" if cell.column.adapter == self.faulty else ""
                yield Painted(Image.new("RGB", (32, 24), colour), cell.row.test.prompt, fault)
        finally:
            self.closed = True
