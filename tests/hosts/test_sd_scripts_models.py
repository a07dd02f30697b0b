"""sd-scripts' own models: we adapt the layers under the keys that its network modules do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.checkouts import Checkout, run_script
from tests.oracles.sd_scripts_models import FAMILIES, FILE, ask

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"

#: Single layers that LyCORIS's preset adds to networks.lora's blocks.
ENDS = {
    "sd": {"conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2"},
    "sdxl": {"input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2"},
}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_layers_and_keys_are_those_of_networks_lora(sd_scripts: Checkout, family: str) -> None:
    run = run_script(sd_scripts, INSIDE / "sd_scripts_layers.py", family)
    found = json.loads(run.output.splitlines()[-1])
    assert found["ours"] == found["theirs"]
    ends = {f"lora_unet_{name}" for name in ENDS["sdxl" if family == "sdxl" else "sd"]}
    assert found["ours conv"] == found["theirs conv"]
    assert set(found["ours full"]) == set(found["theirs conv"]) | ends
    assert ends <= set(found["known"])


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_every_family_are_those_of_the_oracle(
    sd_scripts: Checkout, family: str, record_property: Any
) -> None:
    found = ask(sd_scripts, family)
    assert found == json.loads(FILE.read_text(encoding="utf-8"))[family]
    record_property("layers", found["ours"]["layers"])


def test_regions_compute_what_networks_lora_computes(sd_scripts: Checkout) -> None:
    run = run_script(sd_scripts, INSIDE / "sd_scripts_regions.py")
    for mixture, differences in json.loads(run.output.splitlines()[-1]).items():
        assert len(differences) == 7
        for path, difference in differences.items():
            assert difference < 1e-4, (mixture, path)
