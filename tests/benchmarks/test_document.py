"""docs/performance.md and its picture hold what the benchmarks' results give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import data_page
import document
import pytest
from bars import Bar, bar_chart
from matplotlib.colors import to_hex

from lycoris_ext.plots.charts import COLOURS

ENVIRONMENT = {"machine": {"cpus": "some processor"}, "versions": {"torch": "2.1", "peft": ""}}
SETTING = {"model": "sd15", "latents": 16, "batch": 1, "share_weights": False}
NO_SPREAD = {"ratio_q1": 1.0, "ratio_q3": 2.0}


def words(text: str) -> str | list[str]:
    """Return the text of a page, or the labels and values of an SVG picture: versions of matplotlib
    differ in the last digit of a coordinate."""
    return re.findall("<!-- (.*?) -->", text) if text.startswith("<?xml") else text


def test_the_committed_page_and_picture_are_what_the_results_give():
    pages = document.pages()
    assert set(pages) == {document.PAGE, document.PICTURE}
    for path, text in pages.items():
        written = path.read_text(encoding="utf-8")
        assert words(written) == words(text), "run python benchmarks/document.py"
    assert {"LoHa 8/4", "ours", "PEFT", "frozen model"} <= set(words(pages[document.PICTURE]))


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(document, "RESULTS", tmp_path)
    return tmp_path


def written(results: Path, name: str, **content) -> str:
    (results / name).write_text(json.dumps({**ENVIRONMENT, **content}), encoding="utf-8")
    return document.pages()[document.PAGE]


def step_row(case: str, by: str, **figures) -> dict:
    return {**SETTING, "case": case, "by": by, **figures}


def test_the_page_shows_step_times_paths_memory_and_what_was_skipped(results):
    rows = [
        step_row("", "floor", cpu_seconds=2.0, ratio=1.0, peak_mb_above_rest=100.0),
        step_row("", "floor, our products", ratio=0.75, **NO_SPREAD),
        step_row("loha_32_16", "ours", ratio=1.5, peak_mb_above_rest=120.0, **NO_SPREAD),
        step_row("loha_32_16", "ours, chain", ratio=1.75, **NO_SPREAD),
        step_row("loha_32_16", "ours, dense", ratio=1.25, **NO_SPREAD),
        step_row("loha_32_16", "lycoris-lora", skipped="too little memory"),
        step_row("loha_8_4", "ours", ratio=1.25, rounds=1, **NO_SPREAD),
    ]
    lacks = [{"case": "loha_32_16", "by": "peft", "why": "there is none"}]
    page = written(results, "step_time_x.json", rows=rows, unavailable=lacks)
    assert "## SD1.5, 16x16 latents, batch 1, CPU" in page
    assert "| LoHa 32/16 | 1.50 (1.00 to 2.00) | too little memory | there is none |" in page
    assert "| LoHa 32/16 | 1.50 (1.00 to 2.00) | 1.75 (1.00 to 2.00) | 1.25 " in page
    assert "| LoHa 8/4 | 1.25 (one round) |" in page
    assert "the frozen model takes 100" in page
    assert "faster products in all its layers it takes 0.75 (1.00 to 2.00) of that." in page
    assert "| LoHa 32/16 | 120 |" in page
    assert "Measured on: some processor; torch 2.1." in page


def test_the_page_compares_factors_computed_once_a_step_with_those_of_every_batch(results):
    kernels = {
        "batch, frozen": 5, "batch, built each time": 9, "batch, built once": 7, "once": 2,
    }  # fmt: skip
    cases = {
        name: {"ratio": ratio, **NO_SPREAD}
        for name, ratio in (("floor", 1.0), ("built each time", 1.5), ("built once", 1.25))
    }
    page = written(
        results, "accumulation_cpu.json", what="8 batches a step", kernels=kernels, cases=cases
    )
    assert "8 batches a step. What does not depend on the batch is built once:" in page
    assert "| built each time | 1.50 (1.00 to 2.00) | 9 |" in page
    assert "| built once | 1.25 (1.00 to 2.00) | 7, and 2 once |" in page


def test_a_gpu_run_that_was_cut_short_shows_what_failed_and_what_had_no_time(results):
    common = {"part": "steps", "model": "sdxl", "pixels": 1024}
    setting = {**common, "batch": 1, "checkpointing": False}
    rows = [
        {**setting, "case": "", "by": "floor", "ms": 10.0, "ratio": 1.0},
        {**setting, "case": "lora_8", "by": "ours", "ms": 11.0, "ratio": 1.1,
         "peak_mb_above_rest": 512.0},
        {**setting, "case": "lora_8", "by": "peft", "failed": "RuntimeError: x"},
        {**common, "case": "loha_8_4", "by": "peft", "skipped": "peft is not installed"},
        {"part": "graphs", "model": "sdxl", "pixels": 1024, "batch": 1, "case": "lora_8",
         "by": "ours", "skipped": "no time was left"},
    ]  # fmt: skip
    page = written(results, "gpu_x.json", rows=rows, device={"name": "some GPU"})
    assert "## SDXL, 1024 pixels, batch 1, bf16, GPU" in page
    assert "| LoRA 8 | 1.10, 512 MB |  | failed |" in page
    assert "| SDXL | LoRA 8 | 11.00 | no time was left |" in page
    assert "Measured on: some GPU" in page


def test_a_bar_is_as_long_as_its_value_and_as_coloured_as_its_name():
    groups = {"a < b": [Bar("ours", 1.5), Bar("theirs", 6.0)], "c": [Bar("theirs", 2.0)]}
    (axes,) = bar_chart("title", "ratio", "floor", groups).axes
    bars = [(bar.get_width(), to_hex(bar.get_facecolor())) for bar in axes.patches[:3]]
    assert bars == [(1.5, COLOURS[0]), (6.0, COLOURS[1]), (2.0, COLOURS[1])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a < b", "c"]
    assert [text.get_text() for text in axes.texts] == ["1.50", "6.00", "2.00"]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["ours", "theirs", "floor"]


def test_the_section_of_data_sets_has_what_was_measured_alone():
    lint = {"decode_ms": 5.0, "ratio": 1.25, "ratio_q1": 1.2, "ratio_q3": 1.3}
    result = {"lint": {"jpg": {**lint, "ratio_on_all_cores": 1.28}}}
    text = "\n".join(data_page.section(result))
    assert "| JPEG | 5.0 | 1.25 (1.20 to 1.30) | 1.28 |  |  |" in text
    assert "second; the process has" not in text
    again = {"times_faster": 70.4, "times_faster_where_files_are_read": 20.1}
    headers = {"pictures": 100_000, "seconds": 20.2, "pictures_a_second": 4950, "peak_mb": 400}
    result |= {
        "again": {"jpg": again},
        "headers": {**headers, "peak_mb_of_one_picture": 300},
        "first_batch": {"imports": 2.0},
        "batches": {"captions_and_order": 9, "latents_in_memory": 8, "latents_on_disk": 7},
        "near": {"seconds_for_10000": 0.3, "seconds_for_100000": 20.0},
    }
    text = "\n".join(data_page.section(result))
    assert "| 70 x | 20 x |" in text and "4,950 pictures a second" in text
    assert "| imports | 2.0 |" in text and "7 from the disk" in text and "20.0 s" in text
