"""Adapter files: what is written is read, what is damaged is refused in words."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lycoris_ext.errors import DataError, EnvironmentFault, FormatError
from lycoris_ext.formats import AdapterState, atomic_write, load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import data_hash


def a_state() -> AdapterState:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "lora_unet_a.lora_up.weight": torch.randn(6, 2, generator=generator),
        "lora_unet_a.lora_down.weight": torch.randn(2, 5, generator=generator).half(),
        "lora_unet_a.alpha": torch.tensor(1.0),
    }
    return AdapterState(tensors, {"ss_network_dim": "2", "ss_output_name": "Ünïcode 猫"})


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_round_trip_keeps_bits_and_metadata(tmp_path: Path) -> None:
    state, path = a_state(), tmp_path / "猫" / "a.safetensors"
    save_adapter(path, state)
    again = load_adapter(path)
    assert again.tensors.keys() == state.tensors.keys()
    for key, tensor in state.tensors.items():
        assert again.tensors[key].dtype == tensor.dtype
        assert torch.equal(again.tensors[key], tensor)
    assert {key: again.metadata[key] for key in state.metadata} == state.metadata


def test_equal_states_are_equal_bytes_and_the_hash_is_the_data_sections(tmp_path: Path) -> None:
    state = a_state()
    shuffled = AdapterState(
        dict(reversed(state.tensors.items())), dict(reversed(state.metadata.items()))
    )
    save_adapter(tmp_path / "a", state)
    save_adapter(tmp_path / "b", shuffled)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    expected = hashlib.sha256(content[8 + length :]).hexdigest()
    assert load_adapter(tmp_path / "a").metadata["sshs_model_hash"] == expected
    assert data_hash(tmp_path / "a") == expected
    assert (8 + length) % 8 == 0  # readers map the data as aligned numbers


def test_no_handle_is_kept_on_a_loaded_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, a_state())
    state = load_adapter(path)
    before = {key: tensor.clone() for key, tensor in state.tensors.items()}
    path.write_bytes(b"replaced")
    assert all(torch.equal(state.tensors[key], before[key]) for key in before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes long, a header needs 8"),
        (b"\0\0\0", "3 bytes long"),
        (raw({}, length=10**18), "the header claims 1000000000000000000 bytes"),
        (raw(b"not json"), "the header is not JSON"),
        (raw(b"\xff\xfe\xfd"), "the header is not JSON"),
        (raw(b"[" * 100_000), "the header is not JSON"),
        (raw([1, 2]), "the header is not a JSON object"),
        (raw({"a.b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), "not a sound"),
        (raw({"a.b": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}, b"\0" * 8), "not a"),
        (raw({"a.b": {"dtype": "??", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8), "not a"),
        (raw({"__metadata__": {"a": {"b": "c"}}}), "not a sound|not all strings"),
    ],
)
def test_damaged_and_hostile_files_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        load_adapter(path)
    assert str(path) in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, a_state())
    content = path.read_bytes()
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(FormatError):
            load_adapter(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_flipped_bits_give_an_error_or_tensors(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, a_state())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    try:
        state = load_adapter(path)
    except FormatError:
        return
    assert sum(tensor.numel() for tensor in state.tensors.values()) <= len(content)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load_adapter(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_numbers_are_named_on_both_ways(tmp_path: Path, value: float) -> None:
    bad = AdapterState({"lora_unet_a.alpha": torch.tensor(value)})
    with pytest.raises(FormatError, match=r"NaN or infinity.*lora_unet_a\.alpha"):
        save_adapter(tmp_path / "a", bad)
    assert not list(tmp_path.iterdir())
    header = {"lora_unet_a.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}
    (tmp_path / "b").write_bytes(raw(header, struct.pack("<f", value)))
    with pytest.raises(FormatError, match="use an earlier checkpoint"):
        load_adapter(tmp_path / "b")


def test_a_key_without_a_layer_is_named() -> None:
    with pytest.raises(FormatError, match=r"'weight'.*names no layer"):
        AdapterState({"weight": torch.zeros(1)}).layers()


def test_atomic_write_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic_write(path, b"old")

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentFault, match="No space left on device") as caught:
        atomic_write(path, fail)
    assert "unharmed" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = open

    def full(path: object, mode: str = "r", *rest: object) -> object:
        return real("/dev/full" if "w" in mode else path, mode, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        save_adapter(tmp_path / "a.safetensors", a_state())
    monkeypatch.undo()
    assert not os.listdir(tmp_path)
