"""Declared options: which values they take, which they refuse, and how they are described."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from math import nan
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lycoris_ext.config import all_options
from lycoris_ext.errors import ConfigError, Faults, LycorisExtError
from lycoris_ext.options import Option, Section, option, options_of


@dataclass(frozen=True, init=False)
class Sharp(Section):
    sharpness: float = option(1.0, "How sharp.", above=0)
    edge: str = option("soft", "Which edge.", choices=("soft", "hard"))


@dataclass(frozen=True, init=False)
class Smooth(Section):
    radius: int = option(3, "How far.", low=1, also=(-1,))
    edge: str = option("soft", "Which edge.", choices=("soft", "hard"))


KINDS: dict[str, type[Section]] = {"sharp": Sharp, "smooth": Smooth}


@dataclass(frozen=True, init=False)
class Row(Section):
    name: str = option("", "Its name.")
    weight: float | None = option(None, "Its weight.", unset="1", low=0)


@dataclass(frozen=True, init=False)
class Look(Section):
    """How it looks."""

    kind: str = option("sharp", "Which kind.", choices=lambda: tuple(KINDS))
    size: int = option(8, "How large.", low=1, high=64)
    share: float = option(0.0, "How much.", low=0, below=1)
    words: tuple[str, ...] = option((), "Which words.")
    rows: tuple[Row, ...] = option((), "Which rows.")
    dark: bool | None = option(None, "Whether it is dark.", unset="as the host is")

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return options_of({name: kind.options().values() for name, kind in KINDS.items()})

    @property
    def chosen_kind(self) -> str:
        return self.kind

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from self.unread("kind")
        if self.dark and self.share:
            yield ConfigError("dark has no share", where="share")


OPTIONS = Look.options()
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.lists(st.one_of(st.text(), st.integers())), st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@given(st.sampled_from(sorted(OPTIONS.keys() - {"rows"})), ANYTHING)
def test_a_value_is_kept_as_it_is_or_refused(name: str, value: Any) -> None:
    try:
        kept = OPTIONS[name].convert(value)
    except ConfigError as error:
        assert name in error.what and error.fix
    else:
        assert kept == (tuple(value) if isinstance(value, list) else value) or kept == (value,)
        assert OPTIONS[name].convert(kept) == kept


@given(st.sampled_from(sorted(all_options())), ANYTHING)
@example("resolution", False)
@example("resolution", "²")  # isdigit() says yes, and int() cannot read it
@example("subsets", {"": 0, "0": 0})  # two faults in one table
def test_any_value_of_an_option_of_a_run_is_taken_or_refused_with_its_file(
    name: str, value: Any
) -> None:
    try:
        all_options()[name].convert(value, "my.toml")
    except ConfigError as error:
        assert all(part.where and part.where.startswith("my.toml") for part in error.parts)


@given(st.one_of(st.integers(), st.floats()))
def test_numbers_outside_of_their_limits_are_refused(number: float) -> None:
    def allows(**limits: Any) -> bool:
        try:
            Option("x", int | float, 0, "", **limits).convert(number)
        except ConfigError:
            return False
        return True

    is_read = abs(number) <= (2**63 - 1 if isinstance(number, int) else 1e30)
    assert allows() == is_read
    assert allows(low=2) == (is_read and number >= 2)
    assert allows(above=2) == (is_read and number > 2)
    assert allows(low=-3, high=2) == (is_read and -3 <= number <= 2)
    assert allows(low=-3, below=2) == (is_read and -3 <= number < 2)
    assert allows(low=2, also=(-1,)) == (is_read and (number >= 2 or number == -1))


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (bool, 1), (bool, "true"), (int, True), (int, 1.0), (int, "1"), (float, "0.1"),
        (float, True), (str, 5), (tuple[str, ...], [1]), (tuple[int, ...], ["1"]),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(hint: Any, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"x is .*, expected "):
        Option("x", hint, None, "").convert(value)


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (Option("x", int, 8, "", low=1), "a whole number, 1 or more"),
        (Option("x", int, 8, "", low=1, also=(-1,)), "a whole number, -1, or 1 or more"),
        (Option("x", float, 0.0, "", low=0, below=1), "a number from 0 to below 1"),
        (Option("x", float, 1.0, "", above=0), "a number above 0"),
        (Option("x", float, 1.0, "", low=0, high=10), "a number from 0 to 10"),
        (Option("x", int, 0, "", low=0, below=2**63), "a whole number, 0 or more"),
        (Option("x", float, 1.0, ""), "a number"),
        (Option("x", int | str, 512, ""), "a whole number or a text in quotes"),
        (
            Option("x", int | str, 512, "", low=8, high=99),
            "a whole number from 8 to 99 or a text in quotes",
        ),
        (Option("x", str, "a", "", choices=("a", "b")), "one of a, b"),
        (Option("x", str, "a", "", choices=("a", "b"), is_path=True), "one of a, b, or a path"),
        (Option("x", tuple[str, ...], (), ""), "a list of texts"),
        (Option("x", tuple[Row, ...], (), ""), "a list of tables"),
    ],
)
def test_the_allowed_values_of_an_option_are_described_in_words(
    declared: Option, text: str
) -> None:
    assert declared.values == text


def test_the_text_of_an_option_tells_what_unset_means_and_who_reads_it() -> None:
    assert OPTIONS["dark"].text == "Whether it is dark. Unset: as the host is."
    assert OPTIONS["edge"].text == "Which edge. Only for sharp, smooth."
    assert OPTIONS["size"].text == "How large."


def test_all_wrong_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Look(kind="blunt", size=0, share=nan, sise=3, sharpness=-1.0)
    found = [error.what for error in caught.value.parts]
    assert found == [
        "kind 'blunt' is not supported",
        "size is 0, expected a whole number from 1 to 64",
        "share is nan, expected a number from 0 to below 1",
        "unknown option sise",
        "sharpness is -1.0, expected a number above 0",
    ]
    assert str(caught.value).startswith("5 things are wrong:\n1. kind 'blunt'")
    assert "did you mean size?" in str(caught.value)


def test_contradictions_are_looked_for_once_every_option_is_right_by_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        Look(dark=True, share=0.5, radius=2)
    assert [error.where for error in caught.value.parts] == ["radius", "share"]


def test_a_choice_in_another_case_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match='use "hard"'):
        Look(edge="Hard")


def test_options_of_kinds_are_read_and_replaced_like_the_sections_own() -> None:
    look = Look(kind="smooth", radius=5)
    assert (look.radius, look.edge, look.sharpness) == (5, "soft", 1.0)
    assert look.more == (("radius", 5),)
    other = replace(look, radius=-1, size=9)
    assert (other.radius, other.size, other.kind) == (-1, 9, "smooth")
    assert replace(other, radius=5, size=8) == look and hash(other) != hash(look)
    with pytest.raises(FrozenInstanceError):
        look.size = 9  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Look has no option colour"):
        _ = look.colour  # type: ignore[attr-defined]


def test_a_section_can_be_copied_and_pickled() -> None:
    look = Look(kind="smooth", radius=5, rows=[{"name": "a"}])
    for same in (copy.deepcopy(look), pickle.loads(pickle.dumps(look)), Look(**look.values())):
        assert same == look and same.radius == 5


def test_an_option_that_the_chosen_kind_does_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match='radius is 5, and kind = "sharp" does not') as caught:
        Look(radius=5)
    assert caught.value.fix == "remove radius, or set kind to one of smooth"
    assert Look(radius=3).radius == 3  # its default is set by nobody


def test_values_holds_the_options_that_the_chosen_kind_reads() -> None:
    """So a kind that is added later changes nothing in the files of runs with other kinds."""
    assert set(Look().values()) == {*(f.name for f in fields(Look)), "sharpness", "edge"} - {"more"}
    assert "radius" in Look(kind="smooth").values()
    assert Look(size=9, words="a").changed() == {"size": 9, "words": ("a",)}


def test_taken_from_picks_the_options_of_one_kind() -> None:
    assert Sharp.taken_from(Look(sharpness=2.0)) == Sharp(sharpness=2.0)


def test_a_kind_that_is_added_later_brings_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, init=False)
    class Late(Section):
        hour: int = option(9, "When.", low=0)

    before = Look()
    monkeypatch.setitem(KINDS, "late", Late)
    assert before.hour == 9  # type: ignore[attr-defined]
    assert Look(kind="late", hour=10).hour == 10  # type: ignore[attr-defined]
    assert Look.options()["hour"].kinds == ("late",)


def test_two_different_declarations_of_one_name_are_a_type_error() -> None:
    other = replace(OPTIONS["edge"], kinds=(), default="hard")
    with pytest.raises(TypeError, match="rough declares edge otherwise than sharp"):
        options_of({"sharp": Sharp.options().values(), "rough": [other]})

    class Twice(Look):
        @classmethod
        def kind_options(cls) -> Iterable[Option]:
            return [replace(OPTIONS["size"], kinds=("sharp",))]

    with pytest.raises(TypeError, match="Twice has two options that are called size"):
        Twice()


def test_a_mistake_in_a_table_names_the_option_that_holds_it() -> None:
    assert Look(rows=[{"name": "a", "weight": 2}]).rows == (Row(name="a", weight=2),)
    with pytest.raises(ConfigError, match=r"^rows: weight is -1, expected 0 or more"):
        Look(rows=[{"weight": -1}])
    with pytest.raises(ConfigError, match=r"^my\.toml, rows: unknown option nane"):
        OPTIONS["rows"].convert([{"nane": "a"}], "my.toml")
    with pytest.raises(ConfigError, match="expected a list of tables"):
        Look(rows=["a"])


@pytest.mark.parametrize("name", ["self", "more", "cls", "values"])
def test_a_table_may_have_any_name_for_an_option_that_there_is_not(name: str) -> None:
    for rows in ([{name: 1}], [{name: []}], [{name: {"name": "b"}}]):
        with pytest.raises(ConfigError, match=f"unknown option {name}"):
            Look(rows=rows)


@pytest.mark.parametrize("number", [10**400, -(10**400), 16**5000], ids=["long", "low", "hex"])
def test_a_whole_number_that_is_too_long_for_python_is_refused_in_a_line(number: int) -> None:
    for name in ("size", "share", "kind", "dark"):
        with pytest.raises(ConfigError, match=f"{name} is .*, expected") as caught:
            Look(**{name: number})
        assert len(caught.value.what) < 250


def test_every_option_has_a_sentence_as_help_and_a_valid_default() -> None:
    """--help, tooltips and docs show nothing else: a sentence, and what unset means."""
    for name, known in all_options().items():
        assert known.help.strip() == known.help and known.help.endswith("."), name
        assert known.convert(known.default) == known.default, name
        assert known.help[0].isupper() or known.help[0] in '"[', name
        assert known.unset or known.default is not None, name


def test_faults_collect_our_errors_and_let_others_through() -> None:
    faults = Faults()
    with faults:
        raise ConfigError("first", where="a")
    with pytest.raises(ZeroDivisionError), faults:
        _ = 1 / 0
    with faults:
        raise ConfigError("second")
    with pytest.raises(
        ConfigError, match=r"2 things are wrong(.|\n)*1\. a: first(.|\n)*2\. second"
    ):
        faults.raise_all()
    Faults().raise_all()


_EXTREMES = [
    *(float("nan"), float("inf"), -float("inf"), 1e30, 1e31, 1.7e308, -1, 0, 0.5),
    *(2**63 - 1, 2**63, -(2**63), 10**400, "9" * 5000, "nan", [2**70], [float("nan")], {}),
]


@pytest.mark.parametrize("value", _EXTREMES, ids=range(len(_EXTREMES)))
def test_every_option_takes_an_extreme_value_or_says_what_is_wrong(value):
    from lycoris_ext.training.config import all_options

    for name, known in all_options().items():
        try:
            kept = known.convert(value)
        except ConfigError as error:
            assert name in str(error) and len(str(error)) < 2000
        else:
            items = kept if isinstance(kept, tuple) else (kept,)
            numbers = [item for item in items if isinstance(item, (int, float))]
            assert all(abs(item) <= 2**63 - 1 or abs(item) <= 1e30 for item in numbers)
