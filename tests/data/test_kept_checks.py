"""A check that was kept is used for the same picture alone, and losing it does no harm."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lycoris_ext.cli import main
from lycoris_ext.data import DataConfig, Scan, examine, kept_checks, packs, pictures
from lycoris_ext.data.kept_checks import KeptChecks, measures_folder, stamp
from lycoris_ext.data.packs import Packs
from lycoris_ext.errors import EnvironmentFault

NUMBER = 12


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Trust files that were written just now; the system's clock of files has steps of 10 ms."""
    monkeypatch.setattr(kept_checks, "_SETTLED_NS", -(10**10))


@pytest.fixture
def folder(tmp_path) -> Path:
    return draw(tmp_path / "pictures")


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that are decoded, in any order."""
    found = []
    real = pictures.decode

    def decode(path, raw, **options):
        found.append(path)
        return real(path, raw, **options)

    monkeypatch.setattr(pictures, "decode", decode)
    return found


def draw(folder, number=NUMBER):
    folder.mkdir()
    rng = random.Random(number)
    for one in range(number):
        noise = Image.frombytes("RGB", (16, 16), rng.randbytes(768)).resize((96, 80 + one))
        noise.save(folder / f"{one}.png")
        (folder / f"{one}.txt").write_text("a picture", encoding="utf-8")
    return folder


def check(folder, cache, *, again=False, **options) -> Scan:
    config = DataConfig(image_dir=str(folder), resolution=64, **options)
    return examine(config, kept=KeptChecks(cache, again=again))


def test_the_second_check_decodes_nothing_and_finds_the_same(folder, tmp_path, decoded):
    fresh = examine(DataConfig(image_dir=str(folder), resolution=64))
    assert check(folder, tmp_path / "cache") == fresh
    assert len(decoded) == 2 * NUMBER
    assert check(folder, tmp_path / "cache") == fresh
    assert len(decoded) == 2 * NUMBER
    assert all(one.file.measures for one in fresh.checked)


@pytest.mark.skipif(os.name == "nt", reason="every file is read there")
def test_an_untouched_file_is_not_even_read(folder, tmp_path, monkeypatch):
    check(folder, tmp_path / "cache")
    monkeypatch.setattr(pictures, "_content", None)
    assert len(check(folder, tmp_path / "cache").checked) == NUMBER


@pytest.mark.parametrize("way", ["in place", "replaced"])
def test_a_changed_file_of_the_same_size_and_time_is_noticed(folder, tmp_path, way):
    before = check(folder, tmp_path / "cache")
    path = folder / "3.png"
    state, raw = path.stat(), path.read_bytes()
    Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path, compress_level=1)
    changed = path.read_bytes()[: len(raw)].ljust(len(raw), b"\0")
    path.write_bytes(raw)
    time.sleep(0.02)
    if way == "in place":
        path.write_bytes(changed)
    else:
        (tmp_path / "new").write_bytes(changed)
        os.replace(tmp_path / "new", path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(raw), state.st_mtime_ns)
    after = check(folder, tmp_path / "cache")
    fresh = examine(DataConfig(image_dir=str(folder), resolution=64))
    assert (after.checked, after.damaged) == (fresh.checked, fresh.damaged) != before.checked
    assert after.checked != before.checked


def test_pictures_that_are_moved_or_copied_are_not_decoded_again(folder, tmp_path, decoded):
    check(folder, tmp_path / "cache")
    shutil.copytree(folder, tmp_path / "copy")
    folder.rename(tmp_path / "moved")
    for place in ("copy", "moved"):
        assert len(check(tmp_path / place, tmp_path / "cache").checked) == NUMBER
    assert len(decoded) == NUMBER


def test_what_depends_on_options_or_versions_is_found_again(folder, tmp_path, decoded, monkeypatch):
    check(folder, tmp_path / "cache")
    check(folder, tmp_path / "cache", alpha_mask=True)
    assert len(decoded) == 2 * NUMBER
    for name in ("MEASURES_VERSION", "NOTES_VERSION", "pillow_version"):
        monkeypatch.setattr(kept_checks, name, "another")
        decoded.clear()
        check(folder, tmp_path / "cache")
        assert len(decoded) == NUMBER, name


def test_again_trusts_nothing(folder, tmp_path, decoded):
    for _ in range(2):
        check(folder, tmp_path / "cache", again=True)
    assert len(decoded) == 2 * NUMBER


def _stat(**changed):
    state = {"st_dev": 1, "st_ino": 5, "st_size": 9, "st_mtime_ns": 1_234_567}
    return SimpleNamespace(**{**state, "st_ctime_ns": 1_234_567_891} | changed)


def test_every_part_of_the_state_of_a_file_counts(monkeypatch):
    if os.name == "nt":
        pytest.skip("there is no stamp")
    parts = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    states = [_stat(), *(_stat(**{name: 77}) for name in parts)]
    stamps = []
    for state in states:
        monkeypatch.setattr(kept_checks.os, "stat", lambda path, state=state: state)
        stamps.append(stamp(Path("a.png")))
    assert None not in stamps and len(set(stamps)) == len(states)


@pytest.mark.parametrize(
    "state", [_stat(st_ino=0), _stat(st_ctime_ns=5 * 10**9), _stat(st_ctime_ns=2 * 10**7)]
)
def test_a_file_system_that_says_too_little_is_not_trusted(monkeypatch, state):
    monkeypatch.setattr(kept_checks.os, "stat", lambda path: state)
    assert stamp(Path("a.png")) is None


def test_a_file_that_changed_just_now_is_not_trusted(folder, monkeypatch):
    monkeypatch.setattr(kept_checks, "_SETTLED_NS", 2 * 10**9)
    assert stamp(folder / "0.png") is None


def test_where_nothing_is_trusted_files_are_read_but_not_decoded(
    folder, tmp_path, decoded, monkeypatch
):
    monkeypatch.setattr(kept_checks, "_SETTLED_NS", 10**18)
    fresh = check(folder, tmp_path / "cache")
    assert check(folder, tmp_path / "cache") == fresh
    assert len(decoded) == NUMBER


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = draw(tmp_path_factory.mktemp("whole") / "pictures")
    check(folder, folder.parent / "cache")
    (pack,) = (folder.parent / "cache").iterdir()
    return folder, pack.name, pack.read_bytes()


@settings(max_examples=25)
@given(
    place=st.floats(0, 0.999), value=st.integers(1, 255), keep=st.floats(0, 1), cut=st.booleans()
)
def test_a_damaged_pack_is_not_used(tmp_path_factory, whole, place, value, keep, cut):
    folder, name, raw = whole
    damaged = bytearray(raw)
    damaged[int(place * len(raw))] ^= value
    cache = tmp_path_factory.mktemp("damaged")
    (cache / name).write_bytes(raw[: int(keep * (len(raw) - 1))] if cut else damaged)
    assert Packs(cache).get(kept_checks._key("00" * 16, False)) is None
    kept = KeptChecks(cache)
    assert kept.unchanged(folder / "0.png", alpha_mask=False) is None


_KILLED = """
import sys
from lycoris_ext.data import DataConfig, examine, kept_checks
from lycoris_ext.data.kept_checks import KeptChecks
from pathlib import Path
kept_checks._SAVED_EVERY = 0.0
print("ready", flush=True)
examine(DataConfig(image_dir=sys.argv[1], resolution=64), kept=KeptChecks(Path(sys.argv[2])))
"""


def test_checks_that_are_killed_beside_each_other_leave_what_is_right(tmp_path):
    folder = draw(tmp_path / "pictures", 64)
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", _KILLED, str(folder), str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for number, one in enumerate(both):
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
        time.sleep(0.05 * number)
        one.kill()
        one.communicate()
    fresh = examine(DataConfig(image_dir=str(folder), resolution=64))
    for _ in range(2):
        assert check(folder, cache) == fresh


def test_a_full_disk_is_told_and_changes_nothing_else(folder, tmp_path, monkeypatch):
    def full(path, content):
        raise EnvironmentFault("cannot be written (no space left)", where=str(path))

    monkeypatch.setattr(packs, "atomic_write", full)
    fresh = examine(DataConfig(image_dir=str(folder), resolution=64))
    kept = KeptChecks(tmp_path / "cache")
    assert examine(DataConfig(image_dir=str(folder), resolution=64), kept=kept) == fresh
    (line,) = kept.told()
    assert "no space left" in line and str(tmp_path / "cache") in line


def test_a_cache_that_cannot_be_made_is_told(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LYCORIS_EXT_CACHE", str(folder / "0.txt"))
    assert main(["check", str(folder)]) == 0
    assert "not kept for later" in capsys.readouterr().err


def test_many_packs_become_one(tmp_path):
    keys = [bytes([number] * packs.KEY_BYTES) for number in range(packs._MERGED + 1)]
    for key in keys:
        one = Packs(tmp_path)
        one.put(key, key[:3])
        one.close()
    other = Packs(tmp_path)
    assert [other.get(key) for key in keys] == [key[:3] for key in keys]
    other.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert [Packs(tmp_path).get(key) for key in keys] == [key[:3] for key in keys]


def test_the_newest_record_of_a_key_counts(tmp_path):
    for text in (b"old", b"new"):
        one = Packs(tmp_path)
        one.put(bytes(packs.KEY_BYTES), text)
        one.close()
        time.sleep(0.001)
    assert Packs(tmp_path).get(bytes(packs.KEY_BYTES)) == b"new"


def test_the_cache_stays_within_its_size(tmp_path, monkeypatch):
    first, second = draw(tmp_path / "a", 4), draw(tmp_path / "b", 5)
    check(first, tmp_path / "cache")
    (old,) = (tmp_path / "cache").iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setattr(kept_checks, "MOST_BYTES", old.stat().st_size * 1.5)
    check(second, tmp_path / "cache")
    (left,) = (tmp_path / "cache").iterdir()
    assert left != old


def test_checks_lie_in_cache_dir_or_with_the_user(tmp_path, monkeypatch):
    assert measures_folder(DataConfig(cache_dir=str(tmp_path))) == tmp_path / "measures"
    monkeypatch.setenv("LYCORIS_EXT_CACHE", str(tmp_path / "mine"))
    assert measures_folder(DataConfig()) == tmp_path / "mine" / "measures"
    monkeypatch.delenv("LYCORIS_EXT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    if sys.platform != "darwin":
        assert measures_folder(DataConfig()) == tmp_path / "lycoris_ext" / "measures"


def test_the_commands_of_caches_know_kept_checks(folder, tmp_path, capsys, monkeypatch, decoded):
    monkeypatch.setenv("LYCORIS_EXT_CACHE", str(tmp_path / "mine"))
    for arguments in ((), (), ("--again",)):
        assert main(["check", str(folder), *arguments]) == 0
    assert len(decoded) == 2 * NUMBER
    capsys.readouterr()
    assert main(["cache", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["measures", "1"]
    assert main(["cache", "verify"]) == 0
    (pack,) = (tmp_path / "mine" / "measures").iterdir()
    pack.write_bytes(pack.read_bytes()[:-1])
    assert main(["cache", "verify", "--delete"]) == 0
    assert not pack.exists()
