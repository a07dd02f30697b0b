"""torch.autocast on every type of device and in every version of torch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def _of_torch_before_2_4(device: str) -> bool:
    """Ask a torch whose ``is_autocast_enabled`` takes no argument and means the GPU."""
    return torch.is_autocast_cpu_enabled() if device == "cpu" else torch.is_autocast_enabled()


def _casting_devices() -> dict[str, bool]:
    """Return the types of device that torch can cast on -> whether it is asked with the type."""
    known = ("cpu", "cuda", "mps", "xpu", "hpu", "xla", "privateuseone")
    available = getattr(torch.amp, "is_autocast_available", None)
    if available is None:
        return {"cpu": False, "cuda": False}
    return {device: True for device in known if available(device)}


_CASTING = _casting_devices()


def is_autocasting(device: str) -> bool:
    """Return True if torch.autocast is on for a type of device, such as "cuda"."""
    if device not in _CASTING:
        return False  # torch raises an error if it is asked
    return torch.is_autocast_enabled(device) if _CASTING[device] else _of_torch_before_2_4(device)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Switch torch.autocast off in a ``with`` block.

    torch itself refuses that on devices where it cannot cast, such as those of DirectML, even
    though it is off there.
    """
    if is_autocasting(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
