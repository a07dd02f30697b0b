"""sd-scripts' own code for long and weighted captions computes what ours does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts.base_model import clip_tokenizers
from tests.hosts.checkouts import Checkout, run_script
from tests.hosts.sd_scripts import TOKENIZERS

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"


def test_captions_are_encoded_as_sd_scripts_encodes_them(sd_scripts: Checkout) -> None:
    folder = clip_tokenizers(*TOKENIZERS)
    run = run_script(sd_scripts, INSIDE / "sd_scripts_captions.py", str(folder))
    found = json.loads(run.output.splitlines()[-1])
    assert len(found) == 2 * (3 * 4 + 6)  # families x lengths x weighted, clip skips, pooled
    for case, difference in found.items():
        assert difference < 1e-6, case
