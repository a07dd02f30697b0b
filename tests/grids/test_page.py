"""The HTML page of a grid loads nothing from elsewhere, and foreign texts in it stay text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lycoris_ext.grids.cells import CellStore
from lycoris_ext.grids.checkpoints import read_checkpoint
from lycoris_ext.grids.draw import draw_grid
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.page import grid_page
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest
from tests.grids.conftest import ColourPainter

HOSTILE = "</script><script>alert(1)</script><!-- @data@ @script@ '\"&"


class Tags(HTMLParser):
    """Collects the tags that a browser would see, and the texts of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts.append(data)


def page_of(run: Path, tmp_path: Path, name: str = "", bare: bool = True, **painter: Any) -> str:
    known = read_checkpoint(run / "tilty-step-200.safetensors")
    entrant = Entrant(name or known.name, known.hash, known.path)
    plan = GridPlan.crossed((entrant,), (PromptTest(HOSTILE, HOSTILE),), bare=bare)
    grid = draw_grid(plan, ColourPainter(**painter), CellStore(tmp_path / "cells"))
    return grid_page(grid, about=HOSTILE, checkpoints={known.hash: known})


def content_of(page: str) -> dict[str, Any]:
    tags = Tags()
    tags.feed(page)
    return json.loads(tags.texts[0])  # type: ignore[no-any-return]


def test_the_page_loads_nothing_from_elsewhere(run: Path, tmp_path: Path) -> None:
    page = page_of(run, tmp_path)
    tags = Tags()
    tags.feed(page)
    for tag, attributes in tags.seen:
        assert not {"src", "href"} & set(attributes), tag
    assert not re.search(r"https?://", page)


def test_foreign_texts_never_become_tags_of_the_page(run: Path, tmp_path: Path) -> None:
    page = page_of(run, tmp_path, HOSTILE)
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.seen].count("script") == 2
    content = content_of(page)
    assert content["title"] == HOSTILE and content["subtitle"].endswith(HOSTILE)
    (row,) = content["rows"]
    assert row["label"] == row["vote"]["prompt"] == HOSTILE


def test_the_policy_of_the_page_lets_its_own_script_run_alone(run: Path, tmp_path: Path) -> None:
    tags = Tags()
    tags.feed(page_of(run, tmp_path))
    (policy,) = [a["content"] for tag, a in tags.seen if tag == "meta" and "http-equiv" in a]
    digest = base64.b64encode(hashlib.sha256(tags.texts[-1].encode()).digest()).decode()
    assert policy and f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


def test_columns_of_the_page_name_algorithm_ranks_and_step(run: Path, tmp_path: Path) -> None:
    content = content_of(page_of(run, tmp_path))
    assert [(each["label"], each["notes"]) for each in content["columns"]] == [
        ("without adapter", []),
        ("tilty-step-200", ["loha, 8/1, step 200"]),
    ]
    assert content["bare"] is True
    assert content_of(page_of(run, tmp_path, bare=False))["bare"] is False


def test_the_page_shows_missing_and_faulty_cells(run: Path, tmp_path: Path) -> None:
    half = content_of(page_of(run, tmp_path / "a", stop_after=1))
    assert half["cells"][0][0]["src"].startswith("data:image/png;base64,")
    assert half["cells"][0][1] is None
    faulty = content_of(page_of(run, tmp_path / "b", faulty="tilty-step-200"))
    assert [cell["fault"] for cell in faulty["cells"][0]] == ["", "not loaded"]
