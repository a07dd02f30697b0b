"""Grids drawn by our own pipeline: in batches, and without leaving an adapter in the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lycoris_ext.errors import ConfigError, DataError, LycorisExtError
from lycoris_ext.grids.cells import CellStore, MemoryStore, Painted
from lycoris_ext.grids.draw import Grid, draw_grid
from lycoris_ext.grids.entrants import Entrant, Strength
from lycoris_ext.grids.pipeline_painter import PipelinePainter, columns_of, row_of
from lycoris_ext.grids.plan import Column, GridPlan, Row
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.settings import Settings
from lycoris_ext.models import Pipeline
from lycoris_ext.sampling import sample
from lycoris_ext.sampling.adapters import AdapterUse
from lycoris_ext.sampling.specs import PromptSpec
from tests.tiny_pipeline import loud_adapter, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return tiny_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loud_adapter(pipeline, tmp_path_factory.mktemp("adapters") / "loud.safetensors")


def plan_of(pipeline: Pipeline, adapter: Path, count: int = 3, steps: int = 2) -> GridPlan:
    rows = (row_of(PromptSpec("a cat", seed=seed, steps=steps), pipeline) for seed in range(count))
    return GridPlan(tuple(rows), columns_of([AdapterUse(adapter)], [0.5, 1.0]))


def pictures(grid: Grid[Painted]) -> list[bytes]:
    return [cell.picture.tobytes() for cell in grid.cells.values()]


def test_all_pictures_with_one_adapter_are_denoised_together(
    pipeline: Pipeline, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    denoise = sample._denoise

    def watched(pipeline: Pipeline, specs: list[PromptSpec], *others: object) -> torch.Tensor:
        batches.append(len(specs))
        return denoise(pipeline, specs, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(sample, "_denoise", watched)
    plan, told = plan_of(pipeline, adapter), []
    painter = PipelinePainter(pipeline, 2, lambda done, total: told.append((done, total)))
    grid = draw_grid(plan, painter, MemoryStore())
    assert batches == [2, 1] * 3 and grid.complete
    in_pictures_and_steps = [2, 4, 5, 6, 8, 10, 11, 12, 14, 16, 17, 18]
    assert told == [(done, 18) for done in in_pictures_and_steps]
    assert len(set(pictures(grid))) == 9


def test_a_grid_that_is_stopped_leaves_the_model_bare(pipeline: Pipeline, adapter: Path) -> None:
    plan = plan_of(pipeline, adapter)
    before = pictures(draw_grid(plan, PipelinePainter(pipeline), MemoryStore()))
    asked = iter([False] * 4 + [True])
    stopped = draw_grid(plan, PipelinePainter(pipeline), MemoryStore(), stopped=lambda: next(asked))
    assert len(stopped.cells) == 4
    assert pictures(draw_grid(plan, PipelinePainter(pipeline), MemoryStore())) == before


def test_a_grid_on_disk_goes_on_with_what_is_missing(
    pipeline: Pipeline, adapter: Path, tmp_path: Path
) -> None:
    store, done = CellStore(tmp_path), []
    draw_grid(plan_of(pipeline, adapter, 2), PipelinePainter(pipeline), store)
    painter = PipelinePainter(pipeline, progress=lambda now, total: done.append((now, total)))
    grid = draw_grid(plan_of(pipeline, adapter, 3), painter, store)
    assert grid.complete and done[-1] == (6, 6), "three pictures of two steps"


def test_what_the_pipeline_does_not_have_is_refused_before_anything_is_drawn(
    pipeline: Pipeline, adapter: Path
) -> None:
    columns = columns_of([AdapterUse(adapter)])
    entrant = columns[1].entrant
    test = PromptTest("a cat")
    for row, column, said in (
        (Row(test, 1, "another"), columns[1], "the base model is .*, and a row wants another"),
        (Row(test, 1, settings=Settings(extra=(("scheduler", "x"),))), columns[1], "scheduler"),
        (Row(test, 1), Column(entrant, Strength(0.5, 1.0)), "one strength for both"),
    ):
        with pytest.raises(ConfigError, match=said):
            draw_grid(GridPlan((row,), (Column(), column)), PipelinePainter(pipeline), Refusing())
    in_memory = GridPlan((Row(test, 1),), (Column(), Column(Entrant("a", "a" * 64))))
    with pytest.raises(DataError, match="only in memory"):
        draw_grid(in_memory, PipelinePainter(pipeline), Refusing())


class Refusing(MemoryStore):
    """A store that fails as soon as a picture is drawn."""

    def keep(self, key: str, painted: Painted) -> Painted:
        raise AssertionError("something was drawn")


def test_files_of_one_name_get_hashes_equal_files_one_column_and_missing_ones_an_error(
    adapter: Path, tmp_path: Path
) -> None:
    copy = tmp_path / adapter.name
    copy.write_bytes(adapter.read_bytes())
    other = tmp_path / "other" / adapter.name
    other.parent.mkdir()
    other.write_bytes(adapter.read_bytes() + b" ")
    columns = columns_of([AdapterUse(path) for path in (adapter, copy, other)], [0.5, 1.0])
    assert [column.adapter[:6] for column in columns[1:]] == ["loud ("] * 4
    assert [str(column.strength) for column in columns[1:]] == ["0.5", "1"] * 2
    with pytest.raises(LycorisExtError, match=r"(?s)gone.safetensors, .*lost.safetensors"):
        columns_of([AdapterUse(tmp_path / f"{name}.safetensors") for name in ("gone", "lost")])
