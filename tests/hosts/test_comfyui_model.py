"""Inside ComfyUI's Python: patches equal merging, every family trains, and a step costs little."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
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


def test_a_step_takes_no_more_memory_than_that_of_comfyuis_own_trainer(
    comfyui: Checkout, tmp_path: Path, record_property: Any
) -> None:
    """On every layer at 128 px in float32, each in a process of its own, in turn: rank 8
    everywhere, as ComfyUI's trainer has it; and LoHa of rank 8 with 4 for convolutions ("seed").

    LYCORIS_EXT_ROUNDS is the number of rounds, of which medians are taken; one says little on a
    machine that does something else, too. Times are recorded and not asserted: they depend on the
    kind of processor.
    """
    pictures = write_pictures(tmp_path / "pictures", size=(128, 128))
    arguments = (str(ROOT), str(base_model("sd1")), str(pictures))
    runs = [(kind, algo) for algo in ("LoHa", "LoRA") for kind in ("native", "ours")]
    runs += [("frozen", "LoHa"), ("seed", "LoHa")]
    told: dict[tuple[str, str], list[dict[str, float]]] = {run: [] for run in runs}
    for _ in range(int(os.environ.get("LYCORIS_EXT_ROUNDS", "1"))):
        for kind, algo in runs:
            done = run_script(comfyui, INSIDE / "comfyui_step.py", kind, algo, *arguments)
            told[kind, algo].append(json.loads(done.output.splitlines()[-1]))
    found = {
        run: {name: median(each[name] for each in rounds) for name in ("seconds", "peak", "loaded")}
        for run, rounds in told.items()
    }
    for (kind, algo), values in found.items():
        name = kind if (kind, algo) == ("frozen", "LoHa") else f"{kind}_{algo}"
        record_property(f"{name}_step_seconds", round(values["seconds"], 2))
        record_property(f"{name}_peak_gb", round(values["peak"] / 1e9, 2))
        record_property(f"{name}_loaded_gb", round(values["loaded"] / 1e9, 2))
    for algo in ("LoHa", "LoRA"):
        ours, native = found["ours", algo], found["native", algo]
        record_property(f"ratio_of_seconds_{algo}", round(ours["seconds"] / native["seconds"], 3))
        record_property(f"ratio_of_memory_{algo}", round(ours["peak"] / native["peak"], 3))
        assert ours["peak"] <= native["peak"], algo
    of_frozen = found["seed", "LoHa"]["seconds"] / found["frozen", "LoHa"]["seconds"]
    record_property("ratio_of_seconds_seed_to_frozen", round(of_frozen, 3))
