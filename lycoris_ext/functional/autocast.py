"""Whether torch casts at the moment."""

from __future__ import annotations

import torch


def _before_torch_2_4(device: str) -> bool:
    """Ask a torch whose ``is_autocast_enabled`` takes no argument and means the GPU."""
    return torch.is_autocast_cpu_enabled() if device == "cpu" else torch.is_autocast_enabled()


def _asked_by_device() -> bool:
    try:
        torch.is_autocast_enabled("cpu")
    except TypeError:
        return False
    return True


_ENABLED = torch.is_autocast_enabled if _asked_by_device() else _before_torch_2_4


def is_autocasting(device: str) -> bool:
    """Return True if torch.autocast is on for a type of device, such as "cuda"."""
    return _ENABLED(device)
