"""What is found in real pictures of other people; tests/data/real_pictures.py says how to get them.

LYCORIS_EXT_PICTURES=FOLDER names the folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lycoris_ext.cli import main
from tests.data.real_pictures import SETS
from tests.originals import digests

FOLDER = os.environ.get("LYCORIS_EXT_PICTURES", "")

FOUND = {
    "dreambooth": {"LX025": 77, "LX055": 1},
    "tuxpaint": {
        "LX009": 11, "LX011": 785, "LX016": 793, "LX019": 2, "LX031": 1, "LX033": 2,
        "LX035": 33, "LX037": 7, "LX039": 1, "LX040": 772, "LX055": 8, "LX056": 0,
    },
    "wesnoth": {"LX016": 238, "LX037": 2, "LX040": 144, "LX055": 4, "LX057": 3},
}  # fmt: skip
"""Data set -> code -> number of places, of what was looked at and is right."""


@pytest.mark.skipif(not FOLDER, reason="LYCORIS_EXT_PICTURES names no folder of pictures")
@pytest.mark.parametrize("name", SETS)
def test_what_is_found_is_what_a_person_sees(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, page = tmp_path / name, tmp_path / "page"
    SETS[name](Path(FOLDER), pictures)
    before = digests(pictures)
    main(["check", str(pictures), "--format", "json"])
    found: dict[str, int] = {}
    for one in json.loads(capsys.readouterr().out)["findings"]:
        found[one["code"]] = found.get(one["code"], 0) + len(one["where"])
    assert found == FOUND[name]
    assert main(["dataset", "report", str(pictures), "--check", "--html", str(page)]) == 0
    assert len(list((page / "thumbnails").rglob("*.*"))) > 0
    assert digests(pictures) == before
