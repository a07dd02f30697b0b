"""The language that selects pictures."""

from __future__ import annotations

import fnmatch
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data.queries import (
    DEEPEST_QUERY,
    NUMBERS,
    TEXTS,
    All,
    Any,
    Comparison,
    Not,
    Pattern,
    Query,
    Term,
    parse_query,
)
from lycoris_ext.errors import ConfigError


@dataclass
class One:
    """A picture of the seed's kind."""

    tags: tuple[str, ...] = ("1girl", "long hair", "saber_(fate)", "solo", "^_^")
    caption: str = "1girl, long hair, saber_(fate), solo, ^_^"
    names: tuple[str, ...] = ("Cat 01.png", "Cat 01")
    path: str = "/set/3_characters~fanart~Anisphia+Tilty/Cat 01.png"
    folders: tuple[str, ...] = ("characters", "fanart", "Anisphia+Tilty", "3_characters~fanart")
    levels: tuple[str, ...] = ("characters", "fanart", "Anisphia+Tilty")
    concepts: tuple[str, ...] = ("Anisphia", "Tilty")
    tokens: int = 80


@pytest.mark.parametrize(
    "query",
    [
        "tag:1girl",
        "tag:1GIRL",
        "tag:long_hair",
        'tag:"long hair"',
        'tag:"long *"',
        "tag:saber_(fate)",
        '(tag:saber_(fate) OR tag:x) "hair"',
        "tag:?girl",
        "NOT tag:girl",
        "girl",
        'caption:"hair, saber"',
        "name:cat*",
        'name:"cat 01"',
        "folder:fanart folder:3_* level:characters concept:tilty path:fanart",
        "tokens:>75 tokens:80 tokens:=80 tokens:<=80 tags:5 chars:<100 has:caption",
        "tag:1girl folder:fanart NOT tag:2girls tokens:>75",
        "tag:x OR tag:y OR tag:solo",
        "tag:x tag:y OR tag:solo",
        "NOT (tag:x OR tag:y)",
        "NOT NOT tag:solo",
        "tag:1girl AND tag:solo",
        'tag:"^_^"',
        "tag:^_^",
        "tag:ANDroid OR tag:NOTe OR tag:solo",
    ],
)
def test_queries_that_select_a_picture(query: str) -> None:
    assert parse_query(query).fits(One())
    assert not parse_query(f"NOT ({query})").fits(One())


def test_has_caption_selects_by_the_caption() -> None:
    assert not parse_query("has:caption").fits(One(caption="", tags=()))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "ends where something"),
        ("tag:", "no value"),
        ('tag:""', "no value"),
        ('tag:"long', "quotation mark"),
        ("(tag:a", '"(" that nothing closes'),
        ("tag:a )", '")" that nothing opens'),
        ("()", "ends where something"),
        ("tag:a OR", "ends where something"),
        ("OR tag:a", "ends where something"),
        ("NOT", "ends where something"),
        ("tokens:many", "no number"),
        ("tokens:>-1", "no number"),
        ("tags:1e9", "no number"),
        ("tagg:a", "none of tag:, caption:"),
        ("has:tags", "only has:caption"),
        ("(" * 5000, "deep"),
        ("NOT " * 2000 + "a", "deep"),
        ("a" * 20_000, "more than 10,000"),
    ],
)
def test_what_is_no_query_is_refused(query: str, told: str) -> None:
    with pytest.raises(ConfigError, match="--select") as caught:
        parse_query(query)
    assert told in str(caught.value)


def _terms() -> st.SearchStrategy[Query]:
    keys = sorted(set(TEXTS) - {"has"})
    letters = st.text(min_size=1, max_size=8).map(
        lambda text: "".join(f"\\{c}" if c in '"\\' else c for c in text)
    )
    texts = st.builds(Term, st.sampled_from(keys), letters.map(Pattern))
    signs = st.sampled_from((">", ">=", "<", "<=", "="))
    numbers = st.builds(
        Comparison, st.sampled_from(sorted(NUMBERS)), signs, st.integers(0, 999_999_999)
    )
    return st.one_of(texts, numbers)


def _joined(inner: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.one_of(inner.map(Not), several.map(All), several.map(Any))


QUERIES = st.recursive(_terms(), _joined, max_leaves=12)


@given(QUERIES)
def test_a_written_query_is_read_as_itself(query: Query) -> None:
    assert parse_query(str(query)) == query


@given(st.text(max_size=60) | st.text('()"\\ :ORNTANDtag*?', max_size=60))
def test_any_text_is_a_query_or_is_refused_in_words(text: str) -> None:
    try:
        query = parse_query(text)
    except ConfigError:
        return
    assert query.fits(One()) in (True, False)


@given(QUERIES, QUERIES)
def test_the_words_mean_what_logic_means(one: Query, other: Query) -> None:
    fits = [query.fits(One()) for query in (one, other)]
    assert parse_query(f"{one} {other}").fits(One()) == all(fits)
    assert parse_query(f"{one} OR {other}").fits(One()) == any(fits)
    assert parse_query(f"NOT {one}").fits(One()) != fits[0]


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=14))
def test_wildcards_are_those_of_shells(pattern: str, text: str) -> None:
    assert Pattern(pattern).fits(text) == fnmatch.fnmatchcase(text, pattern)


@given(st.text(max_size=20))
def test_a_backslash_takes_every_character_as_it_is(text: str) -> None:
    escaped = "".join(f"\\{letter}" for letter in text.casefold())
    assert Pattern(escaped).fits(text)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    start = time.perf_counter()
    assert not Pattern("*a" * 50).stands_in("a" * 49 + "b" * 5000)
    assert time.perf_counter() - start < 2


def test_the_deepest_query_is_read() -> None:
    deep = DEEPEST_QUERY - 1
    assert parse_query("(" * deep + "girl" + ")" * deep).fits(One())
