"""Short headings tell adapters apart, and no name turns the text around it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.headings import harmless, short_title, what_differs
from lycoris_ext.grids.plan import GridPlan
from lycoris_ext.grids.prompt_tests import PromptTest


def test_headings_leave_out_the_words_that_all_names_share() -> None:
    epochs = ["my_girl_v3-000001", "my_girl_v3-000010", "my_girl_v3"]
    assert what_differs(epochs) == ["…000001", "…000010", "my_girl_v3"]
    assert what_differs(["run_loha_tilty", "run_lokr_tilty"]) == ["run_loha…", "run_lokr…"]
    assert what_differs(["portrait_a_of_tilty", "portrait_b_of_tilty"]) == ["…a…", "…b…"]


def test_names_that_share_little_and_digits_of_one_number_stay_whole() -> None:
    for names in (["a-1", "a-2"], ["tilty1000", "tilty1200"], ["tilty"], ["same", "same"], []):
        assert what_differs(names) == names


@given(st.lists(st.text("ab-_ 1", max_size=12).map("a long beginning-".__add__), max_size=6))
def test_different_names_keep_different_headings(names: list[str]) -> None:
    shown = what_differs(names)
    assert len(shown) == len(names) and len(set(shown)) == len(set(names))
    assert all(shown)


def test_a_title_of_many_adapters_names_the_first_and_the_last() -> None:
    def title(number: int) -> str:
        entrants = (Entrant(f"tilty-{i}", f"{i:064}", Path("x")) for i in range(number))
        return short_title(GridPlan.crossed(entrants, (PromptTest("a"),)))

    assert title(3) == "tilty-0, tilty-1, tilty-2"
    assert title(12) == "12 adapters: tilty-0 to tilty-11"


def test_characters_that_turn_a_text_around_are_shown_by_name() -> None:
    assert harmless("a\u202egnp.exe") == "a<U+202E>gnp.exe"
    assert harmless("\u2067\u061c") == "<U+2067><U+061C>"
    assert harmless("مرحبا <b>") == "مرحبا <b>"
