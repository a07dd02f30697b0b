"""The settings that a grid varies from row to row."""

from __future__ import annotations

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.grids.axes import AXES, Axis, extra, varied
from lycoris_ext.grids.entrants import Entrant, Strength, Use
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings

BY_NAME = {axis.name: axis for axis in AXES}
A = Entrant("a", "a" * 64)


def test_every_combination_of_the_axes_values_is_drawn_once() -> None:
    axes = [
        (BY_NAME["steps"], ["20", "30", "20"]),
        (BY_NAME["sizes"], ["64x128", "128 × 64"]),
        (BY_NAME["clip_skip"], []),
        (Axis("scheduler", "", "", extra("scheduler")), ["Karras"]),
    ]
    found = varied(Settings(sampler="Euler"), axes)
    assert [(s.steps, s.width, s.height) for s in found] == [
        (20, 64, 128),
        (20, 128, 64),
        (30, 64, 128),
        (30, 128, 64),
    ]
    assert all(s.extra == (("scheduler", "Karras"),) and s.clip_skip == 1 for s in found)
    plan = GridPlan.crossed((A,), (PromptTest("a cat"),), settings=found)
    assert plan.row_labels()[1] == "a cat, 20 steps, 128x64"
    assert plan.subtitle() == "Euler, scheduler Karras, CFG 7, seed 1"


def test_values_that_are_none_of_an_axis_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        varied(Settings(), [(BY_NAME["steps"], ["many"]), (BY_NAME["sizes"], ["64", "8x8"])])
    assert [part.where for part in refused.value.parts] == ["steps", "sizes"]
    with pytest.raises(ConfigError, match="steps is 0"):
        varied(Settings(), [(BY_NAME["steps"], ["0"])])


def test_numbers_out_of_range_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        varied(Settings(), [(BY_NAME["steps"], ["0"]), (BY_NAME["clip_skip"], ["1", "99"])])
    assert [part.where for part in refused.value.parts] == ["steps", "clip_skip"]


def test_more_rows_than_the_memory_holds_are_refused_before_they_are_made() -> None:
    steps, scales = map(str, range(1, 9001)), map(str, range(101))
    axes = [(BY_NAME["steps"], [*steps]), (BY_NAME["cfg_scale"], [*scales])]
    with pytest.raises(ConfigError, match="909,000 rows and 1 column are 909,000 pictures"):
        varied(Settings(), axes)
    prompts = tuple(PromptTest(f"cat {number}") for number in range(10_000))
    with pytest.raises(ConfigError, match="100,000,000 rows and 2 columns"):
        GridPlan.crossed((A,), prompts, seeds=tuple(range(10_000)))


def test_adapters_beside_those_of_the_columns_are_rows_of_their_own_and_decide_the_key() -> None:
    style = Use(Entrant("style", "b" * 64), Strength(0.5, 0.5))
    plan = GridPlan.crossed((A,), (PromptTest("a cat"),), beside=((), (style,)))
    assert plan.row_labels() == ["a cat", "a cat, with style at 0.5"]
    assert plan.entrants == (A,) and plan.used == (A, style.entrant)
    keys = {cell.key({}) for cell in plan.cells()}
    assert len(keys) == 4
    without = GridPlan.crossed((A,), (PromptTest("a cat"),))
    assert without.id != plan.id
    assert {cell.key({}) for cell in without.cells()} < keys
