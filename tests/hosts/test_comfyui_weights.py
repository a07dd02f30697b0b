"""What `lycoris-ext info` says of ComfyUI is what ComfyUI's own arithmetic does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts.checkouts import ROOT, Checkout, run_script

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"


def test_info_names_exactly_what_comfyui_computes_otherwise(comfyui: Checkout) -> None:
    done = run_script(comfyui, INSIDE / "comfyui_weights.py", str(ROOT), "--cpu")
    found = json.loads(done.output.splitlines()[-1])
    assert len(found) > 60
    wrong = {
        form: told for form, told in found.items() if (told["error"] > 1e-5) != bool(told["said"])
    }
    assert not wrong


def test_files_of_comfyuis_trainer_compute_the_same_here(comfyui: Checkout) -> None:
    done = run_script(comfyui, INSIDE / "comfyui_trainer.py", str(ROOT), "--cpu")
    found = json.loads(done.output.splitlines()[-1])
    assert {form.partition(",")[0] for form in found} >= {"LoRA", "LoHa", "LoKr", "OFT"}
    assert not {form: error for form, error in found.items() if error > 1e-6}
