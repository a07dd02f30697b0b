"""What other nodes do to the model that our nodes share with them, inside ComfyUI's Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.checkouts import ROOT, Checkout, run_script

pytestmark = pytest.mark.hosts

SCRIPT = Path(__file__).resolve().parent / "inside" / "comfyui_contract.py"


@pytest.fixture(scope="module")
def found(comfyui: Checkout) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        run_script(comfyui, SCRIPT, str(ROOT)).output.splitlines()[-1]
    )
    return told


def test_what_was_sampled_before_does_not_decide_a_training(found: dict[str, Any]) -> None:
    told = found["sampled_before"]
    assert told.pop("edm") == told.pop("velocity") == "sd1"
    assert told.pop("patched") == "sd1_v" and told.pop("plain_ends_in_pure_noise") is False
    assert told and all(told.values()), told


def test_pictures_are_encoded_to_mean_and_deviation_whole_and_in_tiles(
    found: dict[str, Any],
) -> None:
    assert max(found["latents"].values()) < 1e-4, found["latents"]


def test_updates_of_fp8_weights_are_those_of_the_same_weights_in_float32(
    found: dict[str, Any],
) -> None:
    assert found["fp8"] and max(found["fp8"].values()) < 1e-5, found["fp8"]


def test_adapters_of_comfyuis_own_trainer_are_applied_and_saved_as_comfyui_computes_them(
    found: dict[str, Any],
) -> None:
    for algorithm, told in found["native_trainer"].items():
        assert told["unmatched"] == [] and told["by_comfyui"] == 0, (algorithm, told)
        assert told["applied"] < 1e-5 and told["saved"] < 1e-5 < told["moved"], (algorithm, told)
        assert told["starts"] == ["lora"], "kohya's keys"


def test_what_save_bakes_is_computed_rightly_by_comfyuis_own_loader(found: dict[str, Any]) -> None:
    for name, told in found["baked"].items():
        assert told["told"] and told["plain"] > 1e-4, (name, told)
        assert told["baked"] < 1e-5, (name, told)


def test_a_text_encoder_of_another_width_is_told(found: dict[str, Any]) -> None:
    assert "gives 768 numbers for each token, and the model reads 1024" in found["cables"]
