"""The Optimizer node offers what is installed, and tells at once what is missing."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from comfy_nodes.optimizer import Optimizer
from lycoris_ext.errors import EnvironmentFault


@pytest.fixture
def without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)


def offered() -> Any:
    return Optimizer.INPUT_TYPES()["required"]["optimizer_type"][0]


def test_only_installed_optimizers_are_offered(without_bitsandbytes: None) -> None:
    assert "AdamW" in offered() and not any("8bit" in name for name in offered())


def test_a_saved_workflow_with_a_missing_one_is_told_before_anything_runs(
    without_bitsandbytes: None,
) -> None:
    said = Optimizer.VALIDATE_INPUTS("AdamW8bit")
    assert "bitsandbytes cannot be imported" in said and "pip install bitsandbytes" in said
    assert Optimizer.VALIDATE_INPUTS("AdamW") is True
    assert "not known" in str(Optimizer.VALIDATE_INPUTS("Tiger"))
    with pytest.raises(EnvironmentFault, match="pip install bitsandbytes"):
        Optimizer().describe(optimizer_type="AdamW8bit")
