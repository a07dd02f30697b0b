"""docs/reliability.md holds what the trials gave, and a stopped series of trials goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
import reliability

from tests.faults.trials import Kind, Trial, all_kinds

ENVIRONMENT = {"machine": {"cpus": "some processor"}, "versions": {"torch": "2.1", "pillow": ""}}


def test_the_committed_page_is_what_the_results_give() -> None:
    for path, text in reliability.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run python benchmarks/reliability.py"


@pytest.mark.slow
def test_every_kind_of_trial_has_a_row_on_the_page() -> None:
    rows = faults.earlier(faults.RESULT)
    missing = [kind.name for kind in all_kinds() if kind.name not in rows]
    assert not missing, "run python benchmarks/faults.py"


def row(name: str, **more: Any) -> dict[str, Any]:
    usual = {"subject": "Things that break", "tried": 3, "bad": {}, "before": None, "needs": ""}
    return {"name": name, **usual, "seed": 5, "seconds": 60.0, "code": "c", **more}


def test_the_page_shows_counts_of_then_and_now_and_what_went_wrong() -> None:
    rows = [
        row("a | b", tried=1200, before=[50, 46]),
        row("not here", needs="Linux alone", tried=0),
        row("new", subject="More", bad={"bit 3": "lost\n  words"}),
    ]
    page = reliability.page({**ENVIRONMENT, "rows": rows})
    assert "| a \\| b | 50 | 46 | 1,200 | 0 |" in page
    assert "| not here |  |  | not run: Linux alone |  |" in page
    assert "| new |  |  | 3 | 1 |" in page
    assert "- new, seed 5: bit 3: lost words" in page
    assert page.index("### Things that break") < page.index("### More")
    assert "In all: 1,203 trials of 2 kinds, 1 bad." in page
    assert "some processor; torch 2.1; seed 5; 3 minutes." in page


def test_a_series_that_was_stopped_goes_on_with_the_kinds_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def kind(name: str, bad: str = "", needs: str = "") -> Kind:
        def run(number: int, seed: int, folder: Path) -> Iterator[Trial]:
            ran.append(name)
            assert folder.is_dir() and seed == 9
            for count in range(min(number, 4)):
                if name == "stops" and ran.count("stops") == 1 and count == 1:
                    raise KeyboardInterrupt
                yield Trial(f"trial {count}", bad if count == 2 else "")

        return Kind(name, run, 1, 6, needs=needs)

    kinds = [kind("good"), kind("bad", "lost"), kind("elsewhere", needs="Mars"), kind("stops")]
    monkeypatch.setattr(faults, "all_kinds", lambda: kinds)
    result = tmp_path / "faults.json"

    def series(*flags: str) -> int:
        ran.clear()
        monkeypatch.setattr(sys, "argv", ["x", "--json", str(result), "--seed", "9", *flags])
        return faults.main()

    with pytest.raises(KeyboardInterrupt):
        series()
    rows = {found["name"]: found for found in json.loads(result.read_text("utf-8"))["rows"]}
    assert ran == ["good", "bad", "stops"] and list(rows) == ["good", "bad", "elsewhere"]
    assert (rows["good"]["tried"], rows["good"]["bad"]) == (4, {})
    assert rows["bad"]["bad"] == {"trial 2": "lost"} and rows["bad"]["seed"] == 9
    assert rows["elsewhere"]["needs"] == "Mars" and rows["elsewhere"]["tried"] == 0
    kinds[3] = kind("goes on")
    assert series() == 1 and ran == ["goes on"]
    assert series() == 1 and ran == []
    assert series("--again", "--only", "good", "--number", "2") == 1 and ran == ["good"]
    monkeypatch.setattr(faults, "code_hash", lambda: "other code")
    kinds.pop(1)
    assert series() == 0 and ran == ["good", "goes on"]
    assert "bad" not in result.read_text("utf-8").replace('"bad":', "")
