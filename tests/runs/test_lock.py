"""Two processes under one name: the second is refused, and a killed one blocks nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.runs.lock import RunLock, lock_holder

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from lycoris_ext.runs.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".a.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout.readline().strip() == b"held"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_under_the_same_name_is_refused(holder, tmp_path):
    path = tmp_path / ".a.lock"
    with pytest.raises(EnvironmentFault) as caught, RunLock(path):
        pass
    assert f"another process is training under this name (process {holder.pid})" in str(
        caught.value
    )
    assert "choose another output_name" in str(caught.value)
    with RunLock(tmp_path / ".b.lock"):
        pass
    holder.communicate()
    assert not path.exists()
    with RunLock(path):
        assert path.exists()
    assert not path.exists()


def test_the_lock_of_a_killed_process_can_be_taken(holder, tmp_path):
    path = tmp_path / ".a.lock"
    holder.kill()
    holder.wait()
    assert path.exists()
    with RunLock(path):
        assert path.read_text("ascii").strip() == str(os.getpid())
    assert not path.exists()


def test_the_process_that_holds_a_lock_is_known_while_it_is_held(holder, tmp_path):
    path = tmp_path / ".a.lock"
    assert lock_holder(tmp_path / ".b.lock") is None
    assert not (tmp_path / ".b.lock").exists()
    assert lock_holder(path) == holder.pid
    holder.kill()
    holder.wait()
    assert path.exists() and lock_holder(path) is None


def test_taking_a_lock_makes_no_folder(tmp_path):
    folder = tmp_path / "out"
    with RunLock(folder / ".a.lock") as lock:
        assert not folder.exists()
        folder.mkdir()
        lock.acquire()
        lock.acquire()
        with pytest.raises(EnvironmentFault), RunLock(folder / ".a.lock"):
            pass
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes, and rarely links")
def test_a_lock_follows_no_link_and_waits_for_no_pipe(tmp_path):
    victim, lock = tmp_path / "victim", tmp_path / ".a.lock"
    for make in (
        lambda: lock.symlink_to(victim),
        lambda: lock.symlink_to("nothing"),
        lambda: os.mkfifo(lock),
    ):
        victim.write_text("of another user", encoding="utf-8")
        make()
        with pytest.raises(EnvironmentFault, match=r"link|pipe") as caught:
            RunLock(lock).acquire()
        assert "delete it" in str(caught.value) and lock_holder(lock) is None
        assert victim.read_text("utf-8") == "of another user"
        assert not (tmp_path / "nothing").exists()
        lock.unlink()


def test_a_link_that_takes_the_place_of_the_lock_in_between_is_not_followed(tmp_path, monkeypatch):
    if not hasattr(os, "O_NOFOLLOW"):
        pytest.skip("this system cannot refuse links")
    lock = tmp_path / ".a.lock"
    lock.symlink_to("victim")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        RunLock(lock).acquire()
    assert not (tmp_path / "victim").exists()


def test_a_lock_file_that_cannot_be_removed_hides_no_error(tmp_path, monkeypatch):
    def refuse(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    with pytest.raises(ZeroDivisionError), RunLock(tmp_path / ".a.lock"):
        monkeypatch.setattr(Path, "unlink", refuse)
        1 / 0  # noqa: B018
    monkeypatch.undo()
    with RunLock(tmp_path / ".a.lock"):  # nor is it an obstacle
        assert lock_holder(tmp_path / ".a.lock") == os.getpid()
