"""Receipts of host runs: what they hold, when they are stale, and when none is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import receipts
from tests.hosts.checkouts import HOSTS, ROOT, Checkout

HOST = HOSTS["sd_scripts"]
TESTS = {
    "test_sd_scripts.py::test_a": {"outcome": "passed", "seconds": 1.5, "sha256": "ab"},
    "test_sd_scripts.py::test_b": {"outcome": "skipped", "seconds": 0.0, "reason": "too large"},
    "test_sd_scripts_tools.py::test_c[a/b.py]": {"outcome": "passed", "seconds": 80.0},
}


def git(folder: Path, *arguments: str) -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    command = ["git", *name, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8")
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with an adapter and two parts of the core, committed."""
    root = tmp_path / "repository"
    for name in ("kohya_adapter/a.py", "lycoris_ext/b.py", "lycoris_ext/network/c.py", "docs/d.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{name}\n", encoding="utf-8", newline="\n")
    (root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=all")
    return root


def test_tree_hashes_are_those_of_git(tree: Path) -> None:
    hashes = receipts.tree_hashes(HOST, tree)
    assert hashes == {
        name: git(tree, "rev-parse", f"HEAD:{name}")
        for name in ("kohya_adapter", "lycoris_ext/b.py", "lycoris_ext/network")
    }


def test_uncommitted_changes_are_hashed_as_they_will_be_when_committed(tree: Path) -> None:
    before = receipts.tree_hashes(HOST, tree)
    (tree / "docs" / "d.md").write_text("other", encoding="utf-8")
    (tree / "lycoris_ext" / "__pycache__").mkdir()
    (tree / "lycoris_ext" / "__pycache__" / "b.pyc").touch()
    assert receipts.moved({"trees": before}, HOST, tree) == []
    (tree / "lycoris_ext" / "b.py").unlink()
    (tree / "lycoris_ext" / "network" / "c.py").write_text("other", encoding="utf-8")
    (tree / "kohya_adapter" / "new.py").touch()
    moved = ["kohya_adapter", "lycoris_ext/b.py", "lycoris_ext/network"]
    assert receipts.moved({"trees": before}, HOST, tree) == moved
    status = git(tree, "status", "--porcelain")
    uncommitted = receipts.tree_hashes(HOST, tree)
    assert git(tree, "status", "--porcelain") == status, "the index is left alone"
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message=more")
    assert receipts.tree_hashes(HOST, tree) == uncommitted


def test_a_receipt_holds_the_results_and_is_stale_once_a_part_changes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "FOLDER", tmp_path / "receipts")
    monkeypatch.setattr(receipts, "host_versions", lambda _: {"torch": "2.13.0"})
    trees = receipts.tree_hashes(HOST, tree)
    monkeypatch.setattr(receipts, "tree_hashes", lambda *_: trees)
    checkout = Checkout(HOST, tree.resolve(), Path(sys.executable))
    path = receipts.write_receipt("sd_scripts", checkout, TESTS)
    monkeypatch.undo()
    text = path.read_text("utf-8")
    receipt = json.loads(text)
    assert receipt["commit"] == git(tree, "rev-parse", "HEAD")
    assert receipt["counts"] == {"passed": 2, "skipped": 1}
    assert receipt["tests"] == TESTS and receipt["trees"] == trees
    assert str(tmp_path) not in text and os.path.expanduser("~") not in text
    state = receipts.state("sd_scripts", path.parent, tree)
    assert state.startswith("sd-scripts: receipt of this tree (2 passed, 1 skipped; host at ")
    (tree / "kohya_adapter" / "a.py").write_text("other", encoding="utf-8")
    assert receipts.state("sd_scripts", path.parent, tree) == (
        "sd-scripts: receipt STALE, moved since: kohya_adapter"
    )
    assert receipts.state("comfyui", path.parent, tree) == "ComfyUI: no receipt"


def test_the_parts_that_ran_are_told_with_their_times_and_with_what_was_left_out() -> None:
    parts = receipts.parts_of("sd_scripts", TESTS)
    assert parts == {
        "": {"ran": 1, "seconds": 1.5, "left_out": ["test_b: too large"]},
        "tools": {"ran": 1, "seconds": 80.0, "left_out": []},
    }
    assert receipts.described(parts) == [
        "the rest: 1 ran in 2 s",
        "the rest: left out test_b: too large",
        "tools: 1 ran in 80 s",
        "all parts: 1.4 minutes",
    ]


def test_the_commit_of_a_host_says_whether_its_files_were_changed(
    tree: Path, tmp_path: Path
) -> None:
    commit = git(tree, "rev-parse", "HEAD")
    assert receipts.host_commit(tree.resolve()) == commit
    (tree / "docs" / "d.md").write_text("other", encoding="utf-8")
    assert receipts.host_commit(tree.resolve()) == f"{commit}, changed"
    unpacked = tree / "unpacked"
    unpacked.mkdir()
    assert receipts.host_commit(unpacked.resolve()) == "unknown"


def test_the_version_of_every_package_of_a_host_is_found() -> None:
    checkout = Checkout(HOST, ROOT, Path(sys.executable))
    versions = receipts.host_versions(checkout)
    assert set(versions) == {"python", *HOST.packages}


def run_hosts(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    names = {f"{host.variable}_DIR" for host in HOSTS.values()}
    environment = {key: value for key, value in os.environ.items() if key not in names}
    command = [sys.executable, "-m", "pytest", "-m", "hosts", "tests/hosts", *arguments]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_a_host_that_is_not_named_fails() -> None:
    done = run_hosts("--host", "sd_scripts", "comfyui")
    assert done.returncode == 1, done.stdout
    for name, variable in (("sd-scripts", "SD_SCRIPTS_DIR"), ("ComfyUI", "COMFYUI_DIR")):
        assert f"{name}: not run. {variable}: is not set" in done.stdout


def test_a_run_of_some_of_the_host_tests_gets_no_receipt() -> None:
    for part in (("-k", "layers"), ("tests/hosts/test_receipts.py",)):
        done = run_hosts(*part, "--host", "sd_scripts")
        assert done.returncode == 4, done.stdout
        assert "leave out -k and files" in done.stderr
