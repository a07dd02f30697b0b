"""sd-scripts' own U-Nets as targets: the layers and keys are those of its networks.lora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts.checkouts import Checkout, run_script

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"

#: Single layers that LyCORIS's preset adds to networks.lora's blocks.
ENDS = {
    "sd": {"conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2"},
    "sdxl": {"input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2"},
}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_layers_and_keys_are_networks_loras(sd_scripts: Checkout, family: str) -> None:
    run = run_script(sd_scripts, INSIDE / "sd_scripts_layers.py", family)
    found = json.loads(run.output.splitlines()[-1])
    assert found["ours"] == found["theirs"]
    ends = {f"lora_unet_{name}" for name in ENDS["sdxl" if family == "sdxl" else "sd"]}
    assert set(found["ours full"]) == set(found["theirs full"]) | ends
    assert ends <= set(found["known"])
