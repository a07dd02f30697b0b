"""The axes that the tab adds to the X/Y/Z plot, seen in the prompts that they write."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.webui_extension.conftest import FakeHost
from webui_extension.axes import CHECKPOINT, STRENGTH, Axes, add_axes
from webui_extension.laboratory import Laboratory


@pytest.fixture
def axes(laboratory: Laboratory) -> Axes:
    return Axes(laboratory)


def test_either_axis_of_the_plot_may_come_first(axes: Axes, folder: Path) -> None:
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


def test_the_choice_none_draws_without_adapter(axes: Axes) -> None:
    p = SimpleNamespace(prompt="a cat")
    axes.set_checkpoint(p, "None", [])
    axes.set_strength(p, "0.5", [])
    assert p.prompt == "a cat"


def test_missing_checkpoints_and_wrong_strengths_of_the_plot_are_refused(
    axes: Axes, folder: Path
) -> None:
    choices = axes.choices()
    assert choices[0] == "None" and len(choices) == 3
    axes.confirm(None, choices)
    axes.confirm_strength(None, ["1", " 0.5:1"])
    with pytest.raises(RuntimeError, match="'x' is no strength"):
        axes.confirm_strength(None, ["1", "x"])
    with pytest.raises(RuntimeError, match="no such file"):
        axes.confirm(None, [str(folder / "gone.safetensors")])


def test_the_choices_are_those_of_all_runs_the_newest_first(axes: Axes, folder: Path) -> None:
    older = folder.with_name("older")
    older.mkdir()
    path = older / "first.safetensors"
    path.write_bytes((folder / "tilty-step-200.safetensors").read_bytes())
    os.utime(path, (1, 1))
    names = [Path(choice).name for choice in axes.choices()]
    assert names[1:] == [
        "tilty-step-1000.safetensors",
        "tilty-step-200.safetensors",
        "first.safetensors",
    ]


def test_the_host_is_told_of_an_adapter_of_the_plot_and_no_copy_is_made(
    axes: Axes, folder: Path, host: FakeHost
) -> None:
    path = folder / "tilty-step-200.safetensors"
    p = SimpleNamespace(prompt="a cat")
    axes.set_checkpoint(p, str(path), [])
    (lent,) = host.lent
    assert lent.path == path and f"<lora:{lent.name}:1>" in p.prompt
    assert not list(host.lora_folder().iterdir()) and not host.output_folder().exists()


def test_both_axes_are_added_once_with_a_check_before_the_first_picture(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[SimpleNamespace] = []

    def option(label: str, kind: type, apply: Any, **more: Any) -> SimpleNamespace:
        return SimpleNamespace(label=label, **more)

    plot = SimpleNamespace(axis_options=options, AxisOption=option)
    data = [SimpleNamespace(path="xyz_grid.py", module=plot)]
    host: Any = ModuleType("modules")
    host.scripts = SimpleNamespace(scripts_data=data)
    monkeypatch.setitem(sys.modules, "modules", host)
    add_axes(laboratory)
    add_axes(laboratory)
    assert [each.label for each in options] == [CHECKPOINT, STRENGTH]
    assert all(callable(each.confirm) for each in options)
