"""Votes on cells of a grid are kept in a file beside the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris_ext.errors import DataError
from lycoris_ext.formats.sealed import sealed_json, unsealed_json
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.plan import Cell, Column, Row
from lycoris_ext.grids.prompt_tests import PromptTest
from lycoris_ext.grids.votes import FILE, Vote, cast, read_votes, tally, withdraw

A, B = (Column(Entrant(name, name * 64, Path(name))) for name in "ab")


def vote(column: Column, seed: int = 1, grid: str = "g") -> Vote:
    return Vote.of(grid, Cell(Row(PromptTest("a cat"), seed), column))


def test_a_later_vote_on_a_row_replaces_the_earlier_one(tmp_path: Path) -> None:
    assert read_votes(tmp_path) == []
    for column, seed in ((A, 1), (B, 1), (B, 2), (Column(), 3)):
        votes = cast(tmp_path, vote(column, seed))
    assert read_votes(tmp_path) == votes
    assert tally(votes) == {("b", "1"): 2, ("", ""): 1}
    cast(tmp_path, vote(A, 1, "another grid"))
    assert tally(read_votes(tmp_path), "g") == {("b", "1"): 2, ("", ""): 1}


def test_a_file_that_holds_no_votes_is_left_as_it_is(tmp_path: Path) -> None:
    for text in ("{", '{"votes": [{"x": 1}]}', '{"version": 1, "votes": [{"x": 1}]}', "[]"):
        (tmp_path / FILE).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="this is no file of votes"):
            cast(tmp_path, vote(A))
        assert (tmp_path / FILE).read_text(encoding="utf-8") == text


def test_votes_of_a_newer_version_are_left_as_they_are(tmp_path: Path) -> None:
    cast(tmp_path, vote(A))
    content = unsealed_json((tmp_path / FILE).read_bytes())
    (tmp_path / FILE).write_bytes(sealed_json({**content, "version": 3}))
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    with pytest.raises(DataError, match="these votes are of version 3, and this program reads 2"):
        cast(tmp_path, vote(B))
    assert (tmp_path / FILE).read_text(encoding="utf-8") == text


def test_votes_that_were_damaged_are_not_counted_and_edited_ones_need_one_line_less(
    tmp_path: Path,
) -> None:
    cast(tmp_path, vote(A))
    damaged = (tmp_path / FILE).read_bytes().replace(b'"adapter": "a"', b'"adapter": "c"')
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(DataError, match="does not fit its hash; if you edited it, delete its line"):
        read_votes(tmp_path)
    content = json.loads(damaged)
    del content["hash"]
    (tmp_path / FILE).write_text(json.dumps(content), encoding="utf-8")
    assert [each.adapter for each in read_votes(tmp_path)] == ["c"]


def test_a_vote_can_be_withdrawn(tmp_path: Path) -> None:
    for column, seed in ((A, 1), (B, 2)):
        cast(tmp_path, vote(column, seed))
    left = withdraw(tmp_path, vote(Column(), 1))
    assert left == read_votes(tmp_path) == [vote(B, 2)]
