"""Arguments of sd-scripts' network modules choose the layers and ranks that they choose there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.checkouts import Checkout, run_script
from tests.kohya_adapter.layer_cases import ALPHAS, CASES

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"


@pytest.mark.parametrize("family", CASES)
def test_arguments_about_layers_give_layers_ranks_and_rates_of_the_familys_own_module(
    sd_scripts: Checkout, family: str, record_property: Any
) -> None:
    cases = [(alpha, more) for more in CASES[family] for alpha in ALPHAS]
    run = run_script(sd_scripts, INSIDE / "sd_scripts_arguments.py", family, json.dumps(cases))
    answers = json.loads(run.output.splitlines()[-1])
    record_property("cases", len(answers))
    for (alpha, more), found in zip(cases, answers, strict=True):
        assert found["ours"] == found["theirs"], (alpha, more)
        assert found["ours"], more
