"""Adapter files through ComfyUI's own loader, onto models of real names; run by ComfyUI's Python.

Argument: a JSON file, [[family, file], ...]. Prints JSON: file -> {"left": keys that ComfyUI did
not take, "lines": number of lines of its log about them}.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_models import ARGUMENTS, small_model  # first: it finds ComfyUI

# isort: split
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.utils
import torch

#: Family -> ComfyUI's class, and its text encoders.
MODELS: dict[str, tuple[str, Any]] = {
    "sd1": ("SD15", comfy.sd1_clip.SD1ClipModel),
    "sdxl": ("SDXL", comfy.sdxl_clip.SDXLClipModel),
    "flux": ("Flux", None),
}


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Clip:
    """What the loader asks of a CLIP, over text encoders without numbers."""

    def __init__(self, encoders: Any) -> None:
        self.cond_stage_model = encoders

    def clone(self) -> Clip:
        return self

    def add_patches(self, patches: dict[str, Any], strength: float) -> list[str]:
        known = self.cond_stage_model.state_dict()
        return [key for key in patches if key in known]


def loaded_models(family: str) -> tuple[Any, Clip | None]:
    name, encoders = MODELS[family]
    with torch.device("meta"):
        clip = None if encoders is None else Clip(encoders(device="meta", dtype=torch.float32))
    return small_model(name), clip


def main() -> None:
    log = Log()
    logging.getLogger().addHandler(log)
    asked: list[tuple[str, str]] = json.loads(Path(ARGUMENTS[0]).read_text("utf-8"))
    models = {family: loaded_models(family) for family in {family for family, _ in asked}}
    found = {}
    for family, file in asked:
        tensors = comfy.utils.load_torch_file(file)
        log.lines.clear()
        comfy.sd.load_lora_for_models(*models[family], dict(tensors), 1.0, 1.0)
        left = [key for key in tensors if f"lora key not loaded: {key}" in log.lines]
        found[file] = {"left": left, "lines": len(log.lines)}
    print("\n" + json.dumps(found))


main()
