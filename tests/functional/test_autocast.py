"""torch 2.1 to 2.3, which AUTOMATIC1111 and Forge install, ask for autocast without a device."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

from lycoris_ext.functional import autocast
from lycoris_ext.functional.autocast import is_autocasting

PACKAGE = Path(autocast.__file__).parents[1]


def _check() -> None:
    assert not autocast.is_autocasting("cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert autocast.is_autocasting("cpu") and not autocast.is_autocasting("cuda")
    assert not autocast.is_autocasting("cpu")


def test_autocast_is_seen_by_device() -> None:
    _check()


@pytest.mark.filterwarnings("ignore:torch.is_autocast_cpu_enabled:DeprecationWarning")
def test_autocast_is_seen_by_device_in_a_torch_that_asks_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:  # torch.autocast itself asks, too
        patched.setattr(torch, "is_autocast_enabled", lambda: False)
        importlib.reload(autocast)
    try:
        _check()
    finally:
        importlib.reload(autocast)


def test_nothing_else_asks_torch() -> None:
    asking = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"torch\.(is|get)_autocast", path.read_text("utf-8"))
    ]
    assert asking == ["autocast.py"]


def test_it_is_traced_by_torch_compile() -> None:
    @torch.compile(backend="eager", fullgraph=True)
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x if is_autocasting(x.device.type) else x * 2

    assert torch.equal(doubled(torch.ones(2)), torch.full((2,), 2.0))
