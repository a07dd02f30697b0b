"""The list of a run's pictures is read as it was written, or is told to be damaged."""

from __future__ import annotations

import gzip
import json
import random
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import manifest_file
from lycoris_ext.data.fingerprint import Entry, ListedSubset, Manifest
from lycoris_ext.data.manifest_file import read_manifest, write_manifest
from lycoris_ext.errors import DataError, FormatError

MADE = Manifest(
    {"resolution": 32, "subsets": [{"image_dir": "/x"}]},
    (ListedSubset("a", [], {"keep_tokens": 1}), ListedSubset("", ["reg"], {})),
    (Entry("0.png", "00", "1girl, 髪", 2, 0), Entry("\udcff.png", "01", "", 0.5, 1)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my.dataset.json.gz"


@given(st.lists(st.tuples(st.text(), st.text(), st.floats(0.01, 1000) | st.integers(1, 99))))
def test_it_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    path = tmp_path_factory.getbasetemp() / "my.dataset.json.gz"
    entries = tuple(Entry(name, "00", caption, repeats, 0) for name, caption, repeats in rows)
    made = Manifest({}, MADE.subsets, entries)
    write_manifest(path, made)
    assert read_manifest(path) == made


def test_the_same_pictures_give_the_same_bytes_and_any_program_reads_them(path: Path) -> None:
    write_manifest(path, MADE)
    first = path.read_bytes()
    write_manifest(path, MADE)
    assert path.read_bytes() == first and read_manifest(path) == MADE
    lines = gzip.decompress(first).decode("utf-8", "surrogatepass").splitlines()
    assert json.loads(lines[0])["fingerprint"] == MADE.fingerprint and "1girl, 髪" in lines[1]


def test_there_is_none_where_no_run_wrote_one(path: Path) -> None:
    assert read_manifest(path) is None


def test_every_flipped_bit_and_every_cut_end_is_noticed_or_harmless(path: Path) -> None:
    write_manifest(path, MADE)
    whole, chance = path.read_bytes(), random.Random(7)
    for number in range(200):
        raw = bytearray(whole)
        if number % 2:
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        else:
            del raw[chance.randrange(len(raw)) :]
        path.write_bytes(raw)
        try:
            found = read_manifest(path)
        except DataError as error:
            assert "my.dataset.json.gz" in str(error)
        else:  # the header of gzip holds times and names, which nobody reads
            assert found == MADE


HEADER: dict[str, object] = {"format": manifest_file.FORMAT, "fingerprint": "", "seed": 0}
HEADER |= {"options": {}, "subsets": []}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["[]"],
        ["{}"],
        ["nothing"],
        [{**HEADER, "format": "lycoris_ext data set 9"}],
        [HEADER],
        [{**HEADER, "subsets": [["", [], {}]]}, ["a", "00", "", 1, 5]],
        [{**HEADER, "subsets": [["", [], {}]]}, ["a", "00", "", "1", 0]],
        [{**HEADER, "subsets": [["", []]]}],
        [{**HEADER, "subsets": 7}],
        [{**HEADER, "options": 7}],
        [HEADER, "[" * 100_000],
    ],
)
def test_what_is_no_list_of_pictures_is_refused(path: Path, lines: list[object]) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_bytes(gzip.compress("\n".join(texts).encode()))
    with pytest.raises(FormatError, match="is damaged"):
        read_manifest(path)


def test_a_small_file_that_holds_gigabytes_is_refused_early(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(gzip.compress(bytes(50_000_000), 9))
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(FormatError, match="line 1 is too long"):
        read_manifest(path)
    assert time.monotonic() - start < 10 and tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    monkeypatch.setattr(manifest_file, "_MOST_BYTES", 100)
    write_manifest(path, MADE)
    with pytest.raises(FormatError, match="too long"):
        read_manifest(path)
