"""The benchmarks run from end to end on a tiny U-Net; their figures mean nothing here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_script(name: str, *arguments: str | Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_step_time_measures_ours_and_the_peers_and_keeps_earlier_rows(tmp_path):
    result = tmp_path / "steps.json"
    run_script(
        "step_time.py", "--model", "tiny", "--latents", "8", "--rounds", "2", "--peer-rounds", "1",
        "--case", "loha_32_16", "lora_8", "--no-memory", "--json", result,
    )  # fmt: skip
    found = json.loads(result.read_text(encoding="utf-8"))
    rows = {(row["case"], row["by"]): row for row in found["rows"]}
    assert found["unavailable"] == []
    for by in ("ours", "ours, chain", "ours, dense", "lycoris-lora", "peft"):
        assert rows["loha_32_16", by]["ratio"] > 0
    assert rows["lora_8", "ours"]["rounds"] == 2
    assert rows["lora_8", "peft"]["rounds"] == 1
    assert ("lora_8", "ours, chain") not in rows
    run_script(
        "step_time.py", "--model", "tiny", "--latents", "8", "--rounds", "3", "--case", "lora_8",
        "--by", "ours", "--no-memory", "--json", result,
    )  # fmt: skip
    found = json.loads(result.read_text(encoding="utf-8"))
    again = {(row["case"], row["by"]): row for row in found["rows"]}
    assert again.keys() == rows.keys() and set(found["cases"]) == {"loha_32_16", "lora_8"}
    assert again["lora_8", "ours"]["rounds"] == 3  # measured anew
    assert again["loha_32_16", "peft"] == rows["loha_32_16", "peft"]  # kept


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_step_time_measures_the_peak_memory_of_a_step(tmp_path):
    result = tmp_path / "steps.json"
    run_script(
        "step_time.py", "--model", "tiny", "--latents", "16", "--rounds", "1", "--case", "loha_8_4",
        "--by", "ours", "--json", result,
    )  # fmt: skip
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    assert [row["by"] for row in rows] == ["floor", "floor, our products", "ours"]
    assert all(row["peak_mb_above_rest"] > 0 for row in rows)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_every_part_on_the_cpu(tmp_path):
    result = tmp_path / "gpu.json"
    run_script("gpu.py", "--device", "cpu", "--small", "--seconds", "400", "--json", result)
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    assert {row["part"] for row in rows} == {"steps", "optimizers", "graphs", "compile"}
    ours = [row for row in rows if row["by"] in ("floor", "ours") and row["part"] != "graphs"]
    assert all(row.get("ms", 0) > 0 for row in ours if "skipped" not in row)
    graphs = [row["skipped"] for row in rows if row["part"] == "graphs"]
    assert set(graphs) == {"CUDA graphs need CUDA"}


@pytest.mark.slow
def test_the_gpu_benchmark_says_of_every_figure_that_no_time_was_left(tmp_path):
    result = tmp_path / "gpu.json"
    run_script("gpu.py", "--device", "cpu", "--small", "--seconds", "0", "--json", result)
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    assert {row.get("skipped") for row in rows} >= {"no time was left"}
    assert not [row for row in rows if "ms" in row]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="it measures memory as Unix tells it")
def test_data_measures_every_part_and_keeps_earlier_ones(tmp_path):
    result = tmp_path / "data.json"
    run_script("data.py", "--only", "headers", "--headers", "40", "--json", result)
    run_script("data.py", "--only", "lint", "again", "batches", "--rounds", "1", "--json", result)
    found = json.loads(result.read_text(encoding="utf-8"))
    assert found["headers"]["pictures"] == 40
    assert all(found["again"][kind]["times_faster"] > 1 for kind in ("jpg", "png", "webp"))
    assert found["lint"]["jpg"]["ratio"] > 0 and found["batches"]["latents_on_disk"] > 0
