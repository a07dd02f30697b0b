"""ComfyUI's own text encoder reads long captions up to max_token_length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.checkouts import ROOT, Checkout, run_script

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"


def test_long_captions_are_read_in_comfyuis_pieces_up_to_max_token_length(
    comfyui: Checkout, record_property: Any
) -> None:
    run = run_script(comfyui, INSIDE / "comfyui_captions.py", str(ROOT))
    found = json.loads(run.output.splitlines()[-1])
    assert found["ours"] == found["theirs"] == [2, 75, 96, 350]
    # ComfyUI keeps the two marks of every piece.
    assert found["lengths"] == {
        "75": [77, 77, 77, 77],
        "150": [77, 77, 154, 154],
        "225": [77, 77, 154, 231],
    }
    record_property("difference", found["difference"])
    assert found["difference"] < 1e-4  # captions of several lengths in one batch, and each alone
