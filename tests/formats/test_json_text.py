"""JSON of strangers takes memory and time for its length, and fails by one kind of error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.formats import json_text
from lycoris_ext.formats.json_text import parse_json, read_json

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values, st.booleans())
def test_values_are_read_as_json_reads_them(value: object, as_bytes: bool) -> None:
    text = json.dumps(value)
    assert parse_json(text.encode() if as_bytes else text) == json.loads(text)


@given(values, st.integers(0, 100))
def test_what_is_outside_of_texts_is_counted(value: object, most: int) -> None:
    text = json.dumps(value)
    outside = len(_TEXT.sub("", text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "MAX_OUTSIDE", most)
        if outside <= most:
            assert parse_json(text) == json.loads(text)
        else:
            with pytest.raises(ValueError, match=rf"^{outside} bytes of it are in no text"):
                parse_json(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_deep_nesting_is_an_error_like_any_other(text: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)


def test_a_file_over_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_BYTES", 2000)
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}', encoding="utf-8")
    assert read_json(path) == {"a": 1}
    path.write_text(json.dumps("x" * 2998 + "y"), encoding="utf-8")
    with pytest.raises(OSError, match=r"it has 3.0 kB, and at most 2.0 kB are read"):
        read_json(path)
