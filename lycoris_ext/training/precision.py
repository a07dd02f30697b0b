"""Device, number formats and autocast of a run."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from lycoris_ext.errors import ConfigError, EnvironmentFault

DTYPES = {
    "no": torch.float32,
    "float": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def choose_device(name: str) -> torch.device:
    """Return the device that the option ``device`` names; "auto" prefers a GPU over the CPU.

    Raises:
        EnvironmentFault: torch cannot use this device, or finds no GPU.
        ConfigError: torch knows no such kind of device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"device {name!r} is unknown", where="device", fix='use "auto", "cpu" or "cuda"'
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(
            f"device {name!r} is asked for, but torch {torch.__version__} finds no GPU",
            where="device",
            fix='install a torch build with CUDA (see pytorch.org), or use device = "cpu"',
        )
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EnvironmentFault(
            f"torch cannot use device {name!r}: {str(error).partition(chr(10))[0]}",
            where="device",
            fix='use "auto", "cpu", or the number of a device that is there, such as "cuda:0"',
        ) from error
    return device


def check_precision(mixed_precision: str, device: torch.device) -> None:
    """Refuse a precision that the device does not support.

    Raises:
        ConfigError: fp16 without a CUDA GPU: gradients underflow, and there is no loss scaler.
    """
    if mixed_precision == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"fp16 training needs a CUDA GPU, this run is on {device.type}",
            where="mixed_precision",
            fix='use mixed_precision = "no" (fastest on a CPU) or "bf16"',
        )


def autocast(mixed_precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for forward passes: autocast, or nothing for mixed_precision "no"."""
    if mixed_precision == "no":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[mixed_precision])


def build_scaler(mixed_precision: str) -> torch.amp.GradScaler | None:
    """Return the loss scaler for fp16; None for other precisions, which need none."""
    if mixed_precision != "fp16":
        return None
    # torch before 2.3 has this class under another name.
    build = getattr(torch.amp, "GradScaler", None)
    return torch.cuda.amp.GradScaler() if build is None else build("cuda")


def describe_device(device: torch.device) -> str:
    """Describe the hardware; two runs can be equal bit for bit only if their texts are equal."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu: {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return device.type
