"""The X/Y/Z plot's axes, on prompts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from webui_extension.axes import Axes
from webui_extension.laboratory import Laboratory


@pytest.fixture
def axes(laboratory: Laboratory) -> Axes:
    return Axes(laboratory)


def test_either_axis_may_come_first(axes: Axes, folder: Path) -> None:
    path = str(folder / "tilty-step-200.safetensors")
    prompts = set()
    for checkpoint_first in (True, False):
        p = SimpleNamespace(prompt="a cat <lora:mine:1>")
        if checkpoint_first:
            axes.set_checkpoint(p, path, [])
        axes.set_strength(p, "0.5:1", [])
        if not checkpoint_first:
            axes.set_checkpoint(p, path, [])
        prompts.add(p.prompt)
    (prompt,) = prompts
    assert prompt.startswith("a cat <lora:mine:1> <lora:tilty-step-200__")
    assert prompt.endswith(":0.5:1>") and prompt.count("tilty-step-200") == 1


def test_none_is_without(axes: Axes) -> None:
    p = SimpleNamespace(prompt="a cat")
    axes.set_checkpoint(p, "None", [])
    axes.set_strength(p, "0.5", [])
    assert p.prompt == "a cat"


def test_choices_and_what_is_not_there(axes: Axes, folder: Path) -> None:
    choices = axes.choices()
    assert choices[0] == "None" and len(choices) == 3
    axes.confirm(None, choices)
    with pytest.raises(RuntimeError, match="no such file"):
        axes.confirm(None, [str(folder / "gone.safetensors")])
