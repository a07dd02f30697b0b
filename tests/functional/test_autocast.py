"""torch 2.1 to 2.3, which AUTOMATIC1111 and Forge install, ask for autocast without a device."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lycoris_ext.functional import autocast
from lycoris_ext.functional.autocast import is_autocasting
from lycoris_ext.network import NetworkConfig, build_network

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
    with monkeypatch.context() as patched:
        patched.delattr(torch.amp, "is_autocast_available")
        importlib.reload(autocast)
    try:
        assert set(autocast._CASTING.values()) == {False}
        _check()
    finally:
        importlib.reload(autocast)


def test_nothing_else_asks_torch_or_switches_autocast_off() -> None:
    asking = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"torch\.(is|get)_autocast|torch\.autocast\(.*False", path.read_text("utf-8"))
    ]
    assert asking == ["autocast.py"]


def test_autocast_can_be_switched_off_where_it_is_on() -> None:
    factor = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (factor @ factor).dtype == torch.bfloat16
        with autocast.without_autocast("cpu"):
            assert (factor @ factor).dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"dora_wd": True}, {"algo": "glora"}])
def test_adapters_run_on_a_device_that_torch_cannot_cast_on(options: dict[str, Any]) -> None:
    """torch refuses DirectML ("privateuseone") and "meta" in the same way."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 6), nn.GroupNorm(2, 6), nn.Linear(6, 4))
        x = torch.ones(3, 8)
    network = build_network({"model": model}, NetworkConfig(train_norm=True, **options), warn=False)
    with network.injected():
        assert model(x).shape == (3, 4)
    assert not autocast.is_autocasting("meta")
    with autocast.without_autocast("privateuseone"):
        pass


def test_it_is_traced_by_torch_compile() -> None:
    @torch.compile(backend="eager", fullgraph=True)
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x if is_autocasting(x.device.type) else x * 2

    assert torch.equal(doubled(torch.ones(2)), torch.full((2,), 2.0))
