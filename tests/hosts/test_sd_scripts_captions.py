"""sd-scripts' own code for captions computes what ours does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.base_model import clip_tokenizers
from tests.hosts.checkouts import Checkout, run_script
from tests.hosts.sd_scripts import TOKENIZERS

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"


@pytest.fixture(scope="module")
def found(sd_scripts: Checkout) -> dict[str, Any]:
    folder = clip_tokenizers(*TOKENIZERS)
    run = run_script(sd_scripts, INSIDE / "sd_scripts_captions.py", str(folder))
    answer: dict[str, Any] = json.loads(run.output.splitlines()[-1])
    return answer


def test_long_and_weighted_captions_are_encoded_as_sd_scripts_encodes_them(
    found: dict[str, Any], record_property: Any
) -> None:
    differences = found["differences"]
    # 3 families, 3 lengths, with weights and without; SD1 and SD2 at 2 layers, SDXL with 2 outputs.
    assert len(differences) == 3 * 3 * 2 * 2
    record_property("largest_difference", max(differences.values()))
    for case, difference in differences.items():
        assert difference < 1e-6, case


def test_tags_are_warmed_up_as_sd_scripts_warms_them_up(found: dict[str, Any]) -> None:
    assert len({theirs for theirs, _ in found["warm-up"]}) > 10
    for theirs, ours in found["warm-up"]:
        assert ours == theirs
