"""The list of tags beside a model is read, or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.tagging.labels import CSV, JSON, read_labels


def test_rows_of_a_csv_are_the_outputs_in_their_order(tmp_path: Path) -> None:
    text = 'tag_id,name,category,count\n9,general,9,1\n1,"a,b",0,1\n2,x,4,1\n3,y,7,1\n4,z,3,1\n'
    (tmp_path / CSV).write_bytes(b"\xef\xbb\xbf" + text.encode())
    labels = read_labels(tmp_path)
    found = [(one.tag, one.category) for one in labels.by_output.values()]
    assert found == [
        *(("general", "rating"), ("a,b", "general"), ("x", "character")),
        *(("y", "general"), ("z", "copyright")),
    ]
    assert (labels.outputs, labels.exact, labels.by_confidence) == (5, True, False)


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / CSV).write_text("id,tag_id,count,category,name\n0,7,1,4,x\n")
    assert read_labels(tmp_path).by_output[0].tag == "x"


def test_a_json_may_name_some_outputs_alone(tmp_path: Path) -> None:
    table = {"3": {"tag": "b", "category": "Model"}, "0": {"tag": "a", "category": "Quality"}}
    (tmp_path / JSON).write_text(json.dumps(table))
    labels = read_labels(tmp_path)
    assert {number: one.category for number, one in labels.by_output.items()} == {
        0: "quality",
        3: "model",
    }
    assert (labels.outputs, labels.exact, labels.by_confidence) == (4, False, True)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (CSV, b"", "no column 'name'"),
        (CSV, b"name,category\n", "no row with a tag"),
        (CSV, b"name,number\na,0\n", "no column 'category'"),
        (CSV, b"name,category\na\n", "no tag in line 2"),
        (CSV, b"name,category\n,0\n", "no tag in line 2"),
        (CSV, b"name,category\n\xff,0\n", "not UTF-8"),
        (CSV, b"name,category\n" + b"a" * 200_000 + b",0\n", "cannot be read in line"),
        (JSON, b"[]", "no table"),
        (JSON, b"{}", "no entry"),
        (JSON, b"[" * 100_000, "no table"),
        (JSON, b'{"x": {"tag": "a", "category": "General"}}', "no table"),
        (JSON, b'{"-1": {"tag": "a", "category": "General"}}', "no table"),
        (JSON, b'{"0": {"tag": "a", "category": "Other"}}', "no table"),
        (JSON, b'{"0": {"tag": 3, "category": "General"}}', "no table"),
    ],
)
def test_what_is_no_list_of_tags_is_refused(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=told):
        read_labels(tmp_path)


def test_a_missing_list_is_told_with_the_names_of_both(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"neither {CSV} nor {JSON}"):
        read_labels(tmp_path)


@given(
    table=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    ),
    raw=st.binary(max_size=60),
)
def test_any_other_content_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, table: Any, raw: bytes
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    for name, content in ((JSON, json.dumps(table).encode()), (CSV, raw), (JSON, raw)):
        (folder / name).write_bytes(content)
        try:
            assert read_labels(folder).by_output
        except FormatError as error:
            assert error.fix
        (folder / name).unlink()
