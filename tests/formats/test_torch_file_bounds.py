"""Files of torch.save that are over a bound are refused with it, and real ones stay below it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import pickled
from lycoris_ext.formats.torch_file import load_torch_file
from tests.faults.hostile_pickles import sides, with_tensor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


def write(path: Path, program: bytes, packed: str = "", **others: bytes) -> None:
    """Write a file of torch.save with four numbers; one entry may be compressed."""
    entries = {"data.pkl": program, "byteorder": b"little", "data/0": bytes(16)} | others
    with zipfile.ZipFile(path, "w") as archive:
        for key, content in entries.items():
            how = zipfile.ZIP_DEFLATED if key == packed else zipfile.ZIP_STORED
            archive.writestr(f"archive/{key}", content, how)


FOUR = with_tensor(sides(4), sides(1))


@pytest.mark.parametrize("name", ["data.pkl", "byteorder", "data/0"])
def test_one_compressed_entry_is_refused_before_it_is_unpacked(path: Path, name: str) -> None:
    write(path, FOUR)
    assert load_torch_file(path)["a"].shape == (4,)
    write(path, FOUR, packed=name)
    with pytest.raises(FormatError, match="compressed data"):
        load_torch_file(path)


def test_a_byte_order_of_many_letters_is_refused(path: Path) -> None:
    write(path, FOUR, byteorder=b"little" + b" " * 11)
    with pytest.raises(FormatError, match="byteorder has 17 bytes, at most 16 are read"):
        load_torch_file(path)


def test_bounds_of_a_pickle_are_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MAX_OPCODES", 50)
    write(path, b"\x80\x02" + b"}" * 60 + b".")
    with pytest.raises(FormatError, match="its pickle has more than 50 opcodes"):
        load_torch_file(path)
    write(path, b"\x80\x02}\x8a\x21" + bytes(33) + b"Ns.")
    with pytest.raises(FormatError, match="an integer of 33 bytes, at most 32 are read"):
        load_torch_file(path)


def test_tensors_that_share_their_numbers_may_not_take_much_more_than_the_file(path: Path) -> None:
    write(path, with_tensor(sides(1000, 1000), sides(0, 0)))
    with pytest.raises(FormatError, match="its tensors have 4,000,000 bytes together, the file"):
        load_torch_file(path)


def test_tied_weights_are_read(path: Path) -> None:
    table = torch.randn(50, 40)
    tied = {"a": table, "b": table, "c": table.T, "row": table[1]}
    torch.save(tied, path)
    found = load_torch_file(path)
    assert found.keys() == tied.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in tied.items())


def test_entries_on_top_of_each_other_are_refused(path: Path) -> None:
    """Ten storages of one piece of the file: each would be read, and their sum has no end."""
    torch.save({str(number): torch.zeros(1000) for number in range(10)}, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("model/data/0").header_offset
    for at in range(len(content)):
        if content[at : at + 4] == b"PK\1\2" and b"/data/" in content[at + 46 : at + 70]:
            content[at + 42 : at + 46] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(FormatError):
        load_torch_file(path)
