"""Where Forge differs from AUTOMATIC1111, on stand-ins; tests/hosts/test_forge.py runs Forge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.errors import EnvironmentFault, FormatError
from lycoris_ext.formats import AdapterState, save_adapter
from webui_extension import forge


class Model(nn.Module):
    """A part of the base model with two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Conv2d(4, 2, 3)


def module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(content)
    return made


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put stand-ins of Forge's modules in place, whose model is not loaded yet."""
    objects = SimpleNamespace(
        unet=SimpleNamespace(model=Model(), lora_patches={}),
        clip=SimpleNamespace(
            cond_stage_model=nn.Module(), patcher=SimpleNamespace(lora_patches={})
        ),
    )
    loaded = SimpleNamespace(
        forge_objects_original=objects, forge_objects_after_applying_lora=objects
    )
    shared = module("modules.shared", sd_model=SimpleNamespace())

    def reload() -> tuple[Any, bool]:
        shared.sd_model = loaded  # type: ignore[attr-defined]
        return loaded, True

    models = module("modules.sd_models", checkpoints_list={"a": 1}, forge_model_reload=reload)

    def of_unet(part: nn.Module, known: dict[str, str]) -> dict[str, str]:
        assert not known
        places = ("first", "second", "gone")
        return {f"lora_unet_{name}": f"{name}.weight" for name in places}

    def load_lora(
        tensors: dict[str, Tensor], known: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {key: t for key, t in tensors.items() if key.partition(".")[0] not in known}

    lora = module(
        "backend.patcher.lora",
        load_lora=load_lora,
        model_lora_keys_unet=of_unet,
        model_lora_keys_clip=lambda part, known: known,
    )
    parts = {"modules": module("modules", shared=shared, sd_models=models)}
    parts |= {"modules.shared": shared, "modules.sd_models": models, "backend.patcher.lora": lora}
    parts |= {name: module(name) for name in ("backend", "backend.patcher")}
    for name, part in parts.items():
        monkeypatch.setitem(sys.modules, name, part)
    return SimpleNamespace(loaded=loaded, checkpoints=models.checkpoints_list)


def adapter(path: Path, *layers: str) -> Path:
    tensors = {}
    for layer in layers:
        tensors[f"{layer}.lora_down.weight"] = torch.ones(2, 6)
        tensors[f"{layer}.lora_up.weight"] = torch.ones(4, 2)
    save_adapter(path, AdapterState(tensors, {}))
    return path


def test_applied_layers_are_those_that_forge_and_the_model_know(
    model: SimpleNamespace, tmp_path: Path
) -> None:
    names = ("lora_unet_first", "lora_unet_second", "lora_unet_gone", "lora_unet_other")
    applied = forge.applied_layers(adapter(tmp_path / "a.safetensors", *names))
    shapes = {name: spec and spec.weight_shape for name, spec in applied.items()}
    assert shapes == {"lora_unet_first": (4, 6), "lora_unet_second": (2, 4, 3, 3)}


def test_a_file_that_forge_leaves_out_for_its_unknown_tensors_is_refused(
    model: SimpleNamespace, tmp_path: Path
) -> None:
    six = [f"lora_unet_x{n}" for n in range(6)]
    assert forge.applied_layers(adapter(tmp_path / "a.safetensors", "lora_unet_first", *six))
    path = adapter(tmp_path / "b.safetensors", "lora_unet_first", *six, "lora_unet_y")
    with pytest.raises(FormatError, match="Forge leaves out the whole file: 14 of its tensors"):
        forge.applied_layers(path)


def test_a_host_without_base_model_is_refused(model: SimpleNamespace, tmp_path: Path) -> None:
    model.checkpoints.clear()
    with pytest.raises(EnvironmentFault, match=r"the host has no base model\n  -> put one there"):
        forge.applied_layers(adapter(tmp_path / "a.safetensors", "lora_unet_first"))


def test_loaded_network_reads_strength_and_layers_off_forges_patches(
    model: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    forge.applied_layers(adapter(path, "lora_unet_first"))
    patches = model.loaded.forge_objects_original.unet.lora_patches
    patches[str(tmp_path / "other"), 1.0, 1.0, False] = {"second": 0}
    assert forge.loaded_network(path) == forge.LoadedNetwork(path, None, None, 0)
    patches[str(path), 0.5, 1.0, False] = {"first": 0, "second": 0}
    assert forge.loaded_network(path) == forge.LoadedNetwork(path, None, 0.5, 2)


def test_results_and_exceptions_come_back_from_forges_main_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_and_wait_result(work: Callable[[], None]) -> None:
        work()

    thread = module("modules_forge.main_thread", run_and_wait_result=run_and_wait_result)
    package = module("modules_forge", main_thread=thread)
    monkeypatch.setitem(sys.modules, "modules_forge", package)
    monkeypatch.setitem(sys.modules, "modules_forge.main_thread", thread)
    assert forge.on_main_thread(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        forge.on_main_thread(divmod, 1, 0)
