"""Inside ComfyUI's Python: patches equal merging, every family trains, and a step costs little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.base_model import base_model
from tests.hosts.checkouts import ROOT, Checkout, run_script
from tests.tiny_pictures import write_pictures

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"


def test_patches_of_every_algorithm_give_the_merged_weights_in_comfyui(
    comfyui: Checkout, record_property: Any
) -> None:
    """Compare our patches and ComfyUI's own loader with merging, on a small model."""
    run = run_script(comfyui, INSIDE / "comfyui_parity.py", str(ROOT))
    found = json.loads(run.output.splitlines()[-1])
    record_property("worst_error", max(case["ours"] for case in found.values()))
    for name, case in found.items():
        assert case["unmatched"] == [] and case["ours"] < 1e-5, (name, case)
        assert case["again"] < 1e-5, "what another clone left in the weights does not count"
    for name in ("loha", "locon", "lokr", "loha tucker"):
        assert found[name]["theirs"] < 1e-5 and found[name]["theirs_missing"] == 0, name


def test_every_family_trains_in_comfyui_and_its_file_loads_there(
    comfyui: Checkout, tmp_path: Path, record_property: Any
) -> None:
    """Train small models of ComfyUI's classes and load the files with its own loader."""
    pictures = write_pictures(tmp_path / "pictures", size=(64, 64))
    run = run_script(comfyui, INSIDE / "comfyui_families.py", str(ROOT), str(pictures))
    found = json.loads(run.output.splitlines()[-1])
    record_property("worst_error", max(case["error"] for case in found.values()))
    for family, case in found.items():
        assert case["losses"][1] < case["losses"][0], family
        assert case["missing"] == 0 and case["error"] < 1e-5 < case["moved"], (family, case)
        assert case["same"], "the model is as it was"
        assert case["starts"] == ["diffusion" if family == "Flux" else "lora"]
    kinds = {family: case["kind"] for family, case in found.items()}
    assert kinds == {"SD15": "sd_v1", "SD20": "sd_v2", "SDXL": "sdxl_base_v1-0", "Flux": "other"}


def test_a_step_takes_at_most_half_the_time_of_comfyuis_own_trainer(
    comfyui: Checkout, tmp_path: Path, record_property: Any
) -> None:
    """LoHa on every layer at 128 px in float32, each in a process of its own: rank 8 everywhere, as
    ComfyUI's trainer has it, and 8 with 4 for convolutions."""
    pictures = write_pictures(tmp_path / "pictures", size=(128, 128))
    arguments = (str(ROOT), str(base_model("sd1")), str(pictures))
    told = {}
    for kind in ("native", "ours", "frozen", "seed"):
        run = run_script(comfyui, INSIDE / "comfyui_step.py", kind, *arguments)
        told[kind] = json.loads(run.output.splitlines()[-1])
        record_property(f"{kind}_step_seconds", round(told[kind]["seconds"], 2))
        record_property(f"{kind}_peak_gb", round(told[kind]["peak"] / 1e9, 2))
    assert told["ours"]["seconds"] <= 0.5 * told["native"]["seconds"]
    assert told["ours"]["peak"] <= told["native"]["peak"]
    assert told["seed"]["seconds"] <= 1.3 * told["frozen"]["seconds"]
