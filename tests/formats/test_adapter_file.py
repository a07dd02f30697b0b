"""Adapter files: what is written can be read, and damaged files are refused with a message."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import BinaryIO

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lycoris_ext.errors import DataError, EnvironmentFault, FormatError
from lycoris_ext.formats import (
    AdapterState,
    atomic_write,
    container,
    load_adapter,
    open_adapter,
    save_adapter,
)
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.atomic import remove_leftovers


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


def one(**changes: object) -> dict[str, object]:
    """Return the header of a file with one tensor, with some fields changed."""
    return {"a.b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_a_saved_adapter_is_loaded_with_the_same_bits_and_metadata(tmp_path: Path) -> None:
    state, path = a_state(), tmp_path / "猫" / "a.safetensors"
    save_adapter(path, state)
    again = load_adapter(path)
    assert again.tensors.keys() == state.tensors.keys()
    for key, tensor in state.tensors.items():
        assert again.tensors[key].dtype == tensor.dtype
        assert torch.equal(again.tensors[key], tensor)
    assert {key: again.metadata[key] for key in state.metadata} == state.metadata


def test_equal_adapters_give_equal_bytes_and_the_hash_of_their_data(tmp_path: Path) -> None:
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
    assert read_adapter_file(tmp_path / "a").data_hash() == expected
    assert (8 + length) % 8 == 0  # readers map the data as aligned numbers


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"[],", "are in no text, at most 4,000,000 are read"),
        (b'"",', "quotes, at most 2,000,000 are read"),
    ],
    ids=["brackets", "quotes"],
)
def test_a_header_that_is_long_for_no_reason_is_refused(
    tmp_path: Path, item: bytes, message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(raw(b'{"a":[' + item * 1_400_000 + b"0]}"))
    with pytest.raises(FormatError, match=message):
        load_adapter(path)


def test_a_header_with_the_tags_of_many_pictures_is_read(tmp_path: Path) -> None:
    tags = json.dumps({"1_cat": {f"tag number {number}": number for number in range(200_000)}})
    state = AdapterState(a_state().tensors, {"ss_tag_frequency": tags})
    save_adapter(tmp_path / "a", state)
    assert load_adapter(tmp_path / "a").metadata["ss_tag_frequency"] == tags


def test_half_a_character_in_metadata_is_read_as_a_question_mark(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"title": "a\ud800"}, **one()}).encode()
    (tmp_path / "a").write_bytes(raw(header, b"\0" * 8))
    state = AdapterState(a_state().tensors, read_adapter_file(tmp_path / "a").header.metadata)
    save_adapter(tmp_path / "b", state)
    assert load_adapter(tmp_path / "b").metadata["title"] == "a?"


def test_a_loaded_adapter_does_not_change_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, a_state())
    state = load_adapter(path)
    before = {key: tensor.clone() for key, tensor in state.tensors.items()}
    path.write_bytes(b"replaced")
    assert all(torch.equal(state.tensors[key], before[key]) for key in before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a file that holds nothing"),
        (b"\0\0\0", "a file of zeros"),
        (raw({}, length=10**18), "the header has 1,000,000,000,000,000,000 bytes"),
        (raw(b"not json"), "the header cannot be read as JSON"),
        (raw(b"\xff\xfe\xfd"), "the header cannot be read as JSON"),
        (raw(b"[" * 100_000), "the header cannot be read as JSON"),
        (raw([1, 2]), "the header is not a JSON object"),
        (raw(one(), b""), "is cut off: 71 bytes are there, and 79 are needed by its header"),
        (raw(one(), b"\0" * 9), "has 1 byte behind its last tensor, which ends at byte 79 of 80"),
        (
            raw(one(shape=[9]), b"\0" * 8),
            r"of shape \[9\] in F32 does not fill its offsets \[0, 8\]",
        ),
        (raw(one(shape=[1 << 40, 1 << 40]), b"\0" * 8), "does not fill its offsets"),
        (raw(one(shape=[-2]), b"\0" * 8), r"shape \[-2\]"),
        (raw(one(shape=[-2, -1]), b"\0" * 8), r"shape \[-2, -1\]"),
        (raw(one(shape=[True, 2]), b"\0" * 8), r"shape \[True, 2\]"),
        (raw(one(shape=[-2, 0], data_offsets=[0, 0])), r"shape \[-2, 0\]"),
        (raw(one(shape=2), b"\0" * 8), "shape 2"),
        (raw(one(shape=[2.0]), b"\0" * 8), r"shape \[2\.0\]"),
        (raw(one(data_offsets=[0, 8, 9]), b"\0" * 8), r"offsets \[0, 8, 9\]"),
        (raw(one(data_offsets=[8, 0]), b"\0" * 8), r"offsets \[8, 0\]"),
        (raw(one(data_offsets=[False, 8]), b"\0" * 8), r"offsets \[False, 8\]"),
        (raw({"a.b": {"dtype": "F32"}}), "shape None"),
        (raw(one(shape=[0, 1 << 40, 1 << 40], data_offsets=[0, 0])), r"shape \[0, 1099511627776"),
        (raw(one(data_offsets=[1, 9]), b"\0" * 9), "'a.b' starts at byte 1 of the data"),
        (raw({**one(), "a.c": one()["a.b"]}, b"\0" * 8), "starts at byte 0.*ends at 8"),
        (raw(one(dtype="??"), b"\0" * 8), r"'a.b' has dtype '\?\?', known are F64"),
        (raw(one(dtype=["F32"]), b"\0" * 8), r"has dtype \['F32'\]"),
        (raw({"a.b": [1]}), "'a.b' is not described"),
        (raw(b'{"a.b": 1, "a.b": 2}'), "'a.b' is not described"),
        (raw(b'{"a.b": ' + b"9" * 9000 + b"}"), "the header cannot be read as JSON"),
        (
            raw({"k" * 1001: one()["a.b"]}, b"\0" * 8),
            r"the key 'k+\.\.\.' has 1,001 letters, at most 1,000 are read",
        ),
        (raw(one(shape=[1] * 9), b"\0" * 8), "'a.b' has 9 sides, at most 8 are read"),
        (
            raw(json.dumps({"a.\ud800": one()["a.b"]}).encode(), b"\0" * 8),
            r"the key 'a\.' holds half of a character",
        ),
        (raw({"__metadata__": {"a": {"b": "c"}}}), "not all strings"),
        (raw({"__metadata__": ["a"]}), "not all strings"),
    ],
)
def test_damaged_and_hostile_files_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    for read in (load_adapter, open_adapter):
        with pytest.raises(FormatError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_a_header_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MAX_HEADER", 10)
    (tmp_path / "a").write_bytes(raw(one(), b"\0" * 8))
    with pytest.raises(FormatError, match="the header has 63 bytes, at most 10 are read"):
        load_adapter(tmp_path / "a")


def test_both_hashes_are_those_of_sd_scripts(tmp_path: Path) -> None:
    """Compare with sd-scripts' recipe over bytes of the safetensors library, for a file longer and
    one shorter than the megabyte that the legacy hash skips."""
    for numbers in (400_000, 10):
        tensors = {"lora_unet_a.alpha": torch.arange(numbers, dtype=torch.float32)}
        metadata = {"ss_comment": 'é"\\\n\x01\x7f猫', "modelspec.title": "x"}
        save_adapter(tmp_path / "a", AdapterState(tensors, metadata))
        preliminary = safetensors.torch.save(tensors, {"ss_comment": metadata["ss_comment"]})
        (length,) = struct.unpack("<Q", preliminary[:8])
        found = load_adapter(tmp_path / "a").metadata
        assert found["sshs_model_hash"] == sha256(preliminary[8 + length :])
        assert found["sshs_legacy_hash"] == sha256(preliminary[0x100000:0x110000])[:8]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, a_state())
    content = path.read_bytes()
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(FormatError):
            load_adapter(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_flipped_bits_gives_an_error_or_tensors(
    tmp_path: Path, data: st.DataObject
) -> None:
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


def test_a_missing_adapter_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load_adapter(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_key_in_saving_and_loading(
    tmp_path: Path, value: float
) -> None:
    bad = AdapterState({"lora_unet_a.diff": torch.tensor(value)})
    with pytest.raises(FormatError, match=r"NaN or infinity.*lora_unet_a\.diff"):
        save_adapter(tmp_path / "a", bad)
    assert not list(tmp_path.iterdir())
    header = {"lora_unet_a.diff": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}
    (tmp_path / "b").write_bytes(raw(header, struct.pack("<f", value)))
    with pytest.raises(FormatError, match="use an earlier checkpoint"):
        load_adapter(tmp_path / "b")


def test_a_key_without_a_layer_is_named() -> None:
    with pytest.raises(
        FormatError, match=r"holds 2 keys without a known layer.*'weight', 'a\.odd'"
    ):
        AdapterState({"weight": torch.zeros(1), "a.odd": torch.zeros(1)}).layers()


def test_two_spellings_of_one_tensor_are_refused() -> None:
    tensors = dict.fromkeys(("unet.a.lora_A.weight", "unet.a.lora.down.weight"), torch.zeros(1))
    with pytest.raises(FormatError, match=r"unet\.a.*holds lora_down\.weight twice"):
        AdapterState(tensors).layers()


def test_writing_to_the_tensors_of_a_mapped_file_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, a_state())
    content = path.read_bytes()
    state = open_adapter(path)
    loaded = load_adapter(path)
    assert state.metadata == loaded.metadata
    assert all(torch.equal(state.tensors[key], loaded.tensors[key]) for key in loaded.tensors)
    for tensor in state.tensors.values():
        tensor.fill_(7)
    assert path.read_bytes() == content


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
EXACT = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e4m3fn, torch.float8_e5m2, *EXACT])
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5, 2)])
def test_every_dtype_and_shape_round_trips(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    numbers = torch.arange(prod(shape)).reshape(shape)
    tensors = {"lora_unet_a.alpha": numbers.to(dtype), "lora_unet_b.alpha": torch.tensor(2.0)}
    save_adapter(tmp_path / "a", AdapterState(tensors))
    found = load_adapter(tmp_path / "a").tensors
    theirs = safetensors.torch.load_file(tmp_path / "a")
    for key, tensor in tensors.items():
        assert found[key].dtype == theirs[key].dtype == tensor.dtype
        assert found[key].shape == tensor.shape
        assert torch.equal(found[key].float(), theirs[key].float())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 1000, 1_100_000])
def test_one_bad_number_among_many_is_found(
    dtype: torch.dtype, value: float, position: int
) -> None:
    tensor = torch.zeros(1_100_001, dtype=dtype)
    assert container.is_finite(tensor)
    tensor[position] = value
    assert not container.is_finite(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_finite_numbers_whose_sum_overflows_count_as_finite(dtype: torch.dtype) -> None:
    tensor = torch.full((100,), torch.finfo(dtype).max, dtype=dtype)
    assert tensor.sum().isinf()
    assert container.is_finite(tensor)
    tensor[50] = -float("inf")
    assert not container.is_finite(tensor)


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


def test_two_threads_that_write_one_file_leave_one_version_whole(tmp_path: Path) -> None:
    path, both = tmp_path / "a.bin", threading.Barrier(2, timeout=10)

    def slowly(text: bytes) -> Callable[[BinaryIO], None]:
        def write(file: BinaryIO) -> None:
            file.write(text[:3])
            file.flush()
            both.wait()
            file.write(text[3:])

        return write

    texts = (b"aaaaaa", b"bbbbbb")
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(atomic_write, path, slowly(text)) for text in texts]:
            done.result()
    assert path.read_bytes() in texts
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_temporary_files_of_killed_writers_are_removed_by_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Path] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda source, target: left.append(source))
        atomic_write(tmp_path / "a-step-3.bin", b"new")
    for path in (left[0], tmp_path / ".b.bin.1.tmp"):
        path.touch()
    remove_leftovers(tmp_path, "a-step-*.bin")
    assert [entry.name for entry in tmp_path.iterdir()] == [".b.bin.1.tmp"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = open

    def full(path: object, mode: str = "r", *rest: object) -> object:
        return real("/dev/full" if "w" in mode else path, mode, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        save_adapter(tmp_path / "a.safetensors", a_state())
    monkeypatch.undo()
    assert not os.listdir(tmp_path)


def test_only_keeps_the_layers_of_the_given_models() -> None:
    keys = ("lora_unet_a.alpha", "lora_te_b.alpha", "lora_te3_c.alpha", "lycoris_d.alpha")
    state = AdapterState({key: torch.ones(()) for key in keys}, {"a": "b"})
    kept = state.only(["unet", "text_encoder"])
    assert [*kept.tensors] == [keys[0], keys[1], keys[3]] and kept.metadata == {"a": "b"}


@pytest.mark.parametrize(("target", "count"), [("diffusion_model", 2), ("text_encoder", 1)])
def test_only_keeps_the_layers_of_a_denoiser_under_comfyuis_names(target: str, count: int) -> None:
    keys = ("diffusion_model.blocks.0.alpha", "diffusion_model.input_blocks.1.1.proj_in.alpha",
            "lora_te_b.alpha")  # fmt: skip
    kept = AdapterState({key: torch.ones(()) for key in keys}).only((target,))
    assert [*kept.tensors] == [key for key in keys if key.startswith("diff") == (count == 2)]
