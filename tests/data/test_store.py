"""The cache of tensors uses nothing outdated or damaged, and loses nothing between processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lycoris_ext.data.store import DiskStore, MemoryStore, cache_key, fetch, weights_digest
from lycoris_ext.errors import EnvironmentFault

KEY = cache_key(kind="test")


def some_tensors():
    return {
        "mean": torch.arange(24, dtype=torch.float32).view(4, 2, 3) / 7,
        "half": torch.full((3,), 0.1, dtype=torch.bfloat16),
    }


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype
        for name in first
    )


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "cache")


def test_saved_tensors_come_back_bit_for_bit(store):
    assert store.load(KEY) is None
    store.save(KEY, some_tensors())
    assert same(store.load(KEY), some_tensors())
    assert store.load(cache_key(kind="other")) is None


def test_tensors_are_computed_once_and_then_loaded(store):
    calls = []

    def compute():
        calls.append(1)
        return some_tensors()

    for _ in range(3):
        assert same(fetch(store, KEY, compute), some_tensors())
    assert len(calls) == 1


def test_a_change_of_any_part_changes_the_cache_key():
    parts = {"picture": "ab", "bucket": (512, 512), "mirrored": False, "vae": "cd"}
    keys = {cache_key(**parts)}
    changes = {"picture": "ac", "bucket": (512, 576), "mirrored": True, "vae": "ce"}
    for name, value in changes.items():
        keys.add(cache_key(**{**parts, name: value}))
    assert len(keys) == 5
    assert cache_key(**dict(reversed(parts.items()))) == cache_key(**parts)
    # Part of what is on people's disks: a change makes every cache worthless.
    assert KEY == "05c53388f7dd45a75a542a73efdd457b54ec9b4d"


@settings(max_examples=60)
@given(
    place=st.floats(0, 0.999), value=st.integers(0, 255), keep=st.floats(0, 1), cut=st.booleans()
)
def test_a_damaged_cache_file_is_never_used_and_is_written_anew(
    tmp_path_factory, place, value, keep, cut
):
    store = DiskStore(tmp_path_factory.mktemp("store"))
    store.save(KEY, some_tensors())
    (path,) = store.folder.iterdir()
    raw = path.read_bytes()
    damaged = bytearray(raw[: int(keep * len(raw))] if cut else raw)
    if damaged:
        damaged[int(place * len(damaged))] = value
    path.write_bytes(damaged)
    assert (store.load(KEY) is None) == (bytes(damaged) != raw)
    assert same(fetch(store, KEY, some_tensors), some_tensors())
    assert path.read_bytes() == raw


def test_a_renamed_cache_file_is_not_used(tmp_path):
    store = DiskStore(tmp_path)
    store.save(KEY, some_tensors())
    (path,) = tmp_path.iterdir()
    other = cache_key(kind="other")
    path.rename(path.with_name(path.name.replace(KEY, other)))
    assert store.load(other) is None


def test_the_size_of_a_store_counts_files_and_bytes(tmp_path):
    store = DiskStore(tmp_path / "new")
    assert store.size() == (0, 0)
    store.save(KEY, some_tensors())
    store.save(cache_key(kind="other"), some_tensors())
    files, size = store.size()
    assert files == 2
    assert size == sum(path.stat().st_size for path in (tmp_path / "new").iterdir())


def test_temporary_files_of_killed_writers_are_removed_once_they_are_old(tmp_path):
    store = DiskStore(tmp_path)
    store.save(KEY, some_tensors())
    fresh, old = (tmp_path / f".{KEY}.tensors.{number}.tmp" for number in (11, 12))
    fresh.write_bytes(b"half")
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    DiskStore(tmp_path)
    assert fresh.exists() and not old.exists()
    assert same(store.load(KEY), some_tensors())


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="the folder cannot be made") as caught:
        DiskStore(tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value) and "cache_dir" in str(caught.value)


def test_a_cache_file_that_cannot_be_read_is_named(tmp_path):
    store = DiskStore(tmp_path)
    (tmp_path / f"{KEY}.tensors").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot be read") as caught:
        store.load(KEY)
    assert KEY in str(caught.value) and "cache_dir" in str(caught.value)


def test_a_cache_file_that_cannot_be_replaced_is_no_error_if_it_is_whole(tmp_path, monkeypatch):
    """Windows refuses to replace a file that another process, which wrote the same, is reading."""
    store = DiskStore(tmp_path)

    def refuse(path, content):
        raise EnvironmentFault("cannot be written (Access is denied)", where=str(path))

    monkeypatch.setattr("lycoris_ext.data.store.atomic_write", refuse)
    with pytest.raises(EnvironmentFault, match="Access is denied"):
        store.save(KEY, some_tensors())
    monkeypatch.undo()
    store.save(KEY, some_tensors())
    monkeypatch.setattr("lycoris_ext.data.store.atomic_write", refuse)
    store.save(KEY, some_tensors())


WRITER = """
import sys, time
import torch
from pathlib import Path
from lycoris_ext.data.store import DiskStore, cache_key, fetch

if __name__ == "__main__":
    store = DiskStore(Path(sys.argv[1]))
    Path(sys.argv[2]).touch()
    while len(list(Path(sys.argv[2]).parent.glob("ready*"))) < 2:
        time.sleep(0.001)
    wrong = 0
    for round in range(3):
        for number in range(60):
            key = cache_key(number=number)
            if round == 1 and number % 7 == int(sys.argv[3]):
                # Damage on purpose, while the other one reads and writes.
                (store.folder / f"{key}.tensors").write_bytes(b"damaged" * 50)
            kept = fetch(store, key, lambda: {"x": torch.full((2000,), float(number))})
            wrong += not bool((kept["x"] == number).all())
    sys.exit(wrong)
"""


def test_two_processes_share_a_cache_folder_and_never_read_damage(tmp_path):
    """Both load, write, replace and damage the same files at the same time."""
    script = tmp_path / "writer.py"
    script.write_text(WRITER, encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "cache"), str(tmp_path / f"ready{n}"), n],
            env={**os.environ, "PYTHONPATH": root},
        )
        for n in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    store = DiskStore(tmp_path / "cache")
    for number in range(60):
        kept = fetch(store, cache_key(number=number), lambda: {"x": torch.zeros(1)})
        assert bool((kept["x"] == number).all())
    assert not list((tmp_path / "cache").glob(".*"))


def test_digest_of_weights_follows_values_dtypes_and_names():
    def build(seed=0, dtype=torch.float32):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).to(dtype)

    first = weights_digest({"vae": build()})
    assert weights_digest({"vae": build()}) == first
    changed = build()
    changed[1].bias.data[0] = 1e-30
    others = [
        weights_digest({"vae": build(seed=1)}),
        weights_digest({"vae": build(dtype=torch.bfloat16)}),
        weights_digest({"text": build()}),
        weights_digest({"vae": changed}),
        weights_digest({"vae": build(), "text": build()}),
    ]
    assert len({first, *others}) == 6
