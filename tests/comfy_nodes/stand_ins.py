"""Small stand-ins of the modules of ComfyUI that our nodes import."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m"]
SCHEDULERS = ["simple", "normal", "karras"]


class DiagonalGaussianRegularizer(nn.Module):
    """Takes the mean of a VAE's mean and log-variance, under the name of ComfyUI's class."""

    def forward(self, z: Tensor) -> tuple[Tensor, dict[str, Any]]:
        mean, _ = z.chunk(2, dim=1)
        return mean, {}


class InterruptProcessingException(Exception):
    """The exception that Cancel raises in ComfyUI."""


class Host:
    """What the modules share: folders, Cancel, what was shown.

    Args:
        folder: holds input, temp and models/loras.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loras = folder / "models" / "loras"
        self.input = folder / "input"
        self.temp = folder / "temp"
        for place in (self.loras, self.input, self.temp):
            place.mkdir(parents=True, exist_ok=True)
        self.cancelled = False
        self.cancel_at: tuple[int, int] | None = None
        self.shown: list[tuple[str, str]] = []
        self.progress: list[tuple[int, int, Any]] = []

    def modules(self) -> dict[str, types.ModuleType]:
        """Return the stand-ins by the names under which our nodes import them."""
        adapters = self._adapters()
        content: dict[str, dict[str, Any]] = {
            "folder_paths": self._folder_paths(),
            "server": {"PromptServer": types.SimpleNamespace(instance=self._server())},
            "comfy": {},
            "comfy.model_management": self._management(),
            "comfy.utils": {"ProgressBar": self._bar_class()},
            "comfy.samplers": {
                "KSampler": types.SimpleNamespace(SAMPLERS=SAMPLERS, SCHEDULERS=SCHEDULERS)
            },
            "comfy.sample": self._sample(),
            "comfy.model_sampling": SAMPLING,
            "comfy.weight_adapter": adapters,
            "comfy.lora": {
                "model_lora_keys_unet": lambda model, names: names,
                "model_lora_keys_clip": lambda model, names: names,
                "load_lora": lambda tensors, names, log_missing: {},
            },
            "comfy.lora_convert": {"convert_lora": lambda tensors: tensors},
            "comfy.ldm": {},
            "comfy.ldm.models": {},
            "comfy.ldm.models.autoencoder": {
                "DiagonalGaussianRegularizer": DiagonalGaussianRegularizer
            },
            "comfy.ldm.modules": {},
            "comfy.ldm.modules.attention": {"attention_pytorch": None},
        }
        modules = {}
        for name, values in content.items():
            module = types.ModuleType(name)
            vars(module).update(values)
            modules[name] = module
        for name, module in modules.items():
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(modules[parent], last, module)
        return modules

    def _folder_paths(self) -> dict[str, Any]:
        def full_path(kind: str, name: str) -> str | None:
            path = self.loras / name
            return str(path) if path.is_file() else None

        def names(kind: str) -> list[str]:
            return sorted(
                p.relative_to(self.loras).as_posix() for p in self.loras.rglob("*.safet*")
            )

        return {
            "get_filename_list": names,
            "get_full_path": full_path,
            "get_folder_paths": lambda kind: [str(self.loras)],
            "get_input_directory": lambda: str(self.input),
            "get_temp_directory": lambda: str(self.temp),
        }

    def _server(self) -> Any:
        def send(text: str, node_id: str) -> None:
            self.shown.append((node_id, text))

        return types.SimpleNamespace(send_progress_text=send)

    def _management(self) -> dict[str, Any]:
        def load(patchers: list[Any], **options: Any) -> None:
            for patcher in patchers:
                patcher.load()

        def throw() -> None:
            if self.cancelled:
                self.cancelled = False
                raise InterruptProcessingException

        return {
            "get_torch_device": lambda: torch.device("cpu"),
            "is_device_cpu": lambda device: device.type == "cpu",
            "should_use_bf16": lambda device: False,
            "load_models_gpu": load,
            "processing_interrupted": lambda: self.cancelled,
            "throw_exception_if_processing_interrupted": throw,
        }

    def _bar_class(self) -> Any:
        host = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total

            def update_absolute(self, value: int, total: int, preview: Any = None) -> None:
                host.progress.append((value, total, preview))
                if host.cancel_at == (value, total):
                    host.cancelled = True

        return ProgressBar

    def _sample(self) -> dict[str, Any]:
        def sample(model: Any, noise: Tensor, *others: Any, **more: Any) -> Tensor:
            # As good as any sampler here: something that every patch changes.
            weights = [model.patched(key) for key in model.patches]
            return noise + 100.0 * sum(float(weight.mean()) for weight in weights)

        def prepare(latents: Tensor, seed: int) -> Tensor:
            return torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))

        return {
            "sample": sample,
            "prepare_noise": prepare,
            "fix_empty_latent_channels": lambda model, latents: latents,
        }

    @staticmethod
    def _adapters() -> dict[str, Any]:
        class WeightAdapterBase:
            """Stands for the class that ComfyUI's patches are derived from."""

        return {"WeightAdapterBase": WeightAdapterBase}


class _Eps:
    pass


class _Velocity(_Eps):
    pass


class _Edm(_Velocity):
    pass


class _Const:
    pass


class _X0(_Eps):
    pass


class _Continuous(nn.Module):
    pass


SAMPLING: dict[str, Any] = {
    "EPS": _Eps,
    "V_PREDICTION": _Velocity,
    "EDM": _Edm,
    "CONST": _Const,
    "X0": _X0,
    "ModelSamplingContinuousEDM": _Continuous,
}


@contextmanager
def inside_comfyui(folder: Path) -> Iterator[Host]:
    """Make the stand-ins importable inside the ``with``."""
    host = Host(folder)
    modules = host.modules()
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield host
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
