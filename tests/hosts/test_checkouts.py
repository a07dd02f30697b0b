"""Finding a host's checkout and watching its scripts, without a real host."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lycoris_ext.errors import EnvironmentFault
from tests.hosts.checkouts import HOSTS, Checkout, check_installed, find_checkout, run_script
from tests.hosts.sd_scripts import step_seconds

HOST = HOSTS["sd_scripts"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a checkout of sd-scripts."""
    (tmp_path / "networks").mkdir()
    (tmp_path / "library").mkdir()
    for name in ("train_network.py", "library/train_util.py"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_checkout_that_the_environment_names_is_found(folder: Path) -> None:
    named = {"SD_SCRIPTS_DIR": str(folder), "SD_SCRIPTS_PYTHON": sys.executable}
    assert find_checkout(HOST, named) == Checkout(HOST, folder.resolve(), Path(sys.executable))


def test_the_interpreter_in_the_folder_venv_of_a_checkout_is_taken(folder: Path) -> None:
    inside = "venv/Scripts/python.exe" if os.name == "nt" else "venv/bin/python"
    python = folder / inside
    python.parent.mkdir(parents=True)
    python.touch()
    assert find_checkout(HOST, {"SD_SCRIPTS_DIR": str(folder)}).python == python.resolve()


def test_a_missing_checkout_or_interpreter_is_named(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    for environment, said in (
        ({}, r"SD_SCRIPTS_DIR: is not set\n  -> set it to a folder with sd-scripts"),
        ({"SD_SCRIPTS_DIR": elsewhere}, "names no checkout of sd-scripts"),
        ({"SD_SCRIPTS_DIR": str(folder)}, r"no interpreter is there\n  -> set SD_SCRIPTS_PYTHON"),
        (
            {"SD_SCRIPTS_DIR": str(folder), "SD_SCRIPTS_PYTHON": "not/there"},
            "SD_SCRIPTS_PYTHON: no interpreter is there",
        ),
    ):
        with pytest.raises(EnvironmentFault, match=said):
            find_checkout(HOST, environment)


def test_another_copy_of_the_package_in_a_host_is_refused(folder: Path) -> None:
    checkout = Checkout(HOST, folder, Path(sys.executable))
    (folder / "lycoris_ext.py").touch()
    with pytest.raises(EnvironmentFault, match=r"has another copy.*\n.*pip install --no-deps"):
        check_installed(checkout)
    (folder / "lycoris_ext.py").write_text("import not_there", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="cannot import lycoris_ext"):
        check_installed(checkout)


def test_a_script_runs_in_the_hosts_folder_and_its_output_is_timed(folder: Path) -> None:
    checkout = Checkout(HOST, folder, Path(sys.executable))
    code = "import os, sys, time\nprint(sys.argv[1:], os.getcwd())\ntime.sleep(0.2)\nprint('ü')"
    (folder / "say.py").write_text(code, encoding="utf-8")
    run = run_script(checkout, "say.py", "--a=b c")
    assert run.output.split() == f"['--a=b c'] {folder.resolve()} ü".split()
    assert 0.2 < run.pieces[-1][0] - run.pieces[0][0] < run.seconds < 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_the_peak_memory_is_the_scripts_own_and_not_its_parents(folder: Path) -> None:
    checkout = Checkout(HOST, folder, Path(sys.executable))
    size = 300 << 20
    ours = bytearray(b"x") * size  # a child begins with its parent's peak
    for name, code, least in (("big", f"x = b'x' * {size}", size), ("small", "", 1)):
        (folder / f"{name}.py").write_text(f"import time\n{code}\ntime.sleep(0.5)", "utf-8")
        peak = run_script(checkout, f"{name}.py").peak
        assert peak is not None and least <= peak < least + (100 << 20)
    assert len(ours) == size


def test_a_failure_shows_what_was_printed(folder: Path) -> None:
    checkout = Checkout(HOST, folder, Path(sys.executable))
    (folder / "fail.py").write_text("raise SystemExit('no such model')", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"fail\.py --x: exit 1\nno such model"):
        run_script(checkout, "fail.py", "--x")


def test_a_script_that_hangs_is_ended(folder: Path) -> None:
    checkout = Checkout(HOST, folder, Path(sys.executable))
    (folder / "hang.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"hang\.py: exit"):
        run_script(checkout, "hang.py", limit=0.5)


def test_steps_are_timed_by_the_progress_bar(folder: Path) -> None:
    checkout = Checkout(HOST, folder, Path(sys.executable))
    code = (
        "import sys, time\n"
        "for n, wait in enumerate((0.3, 0.1, 0)):\n"
        "    for _ in range(2):\n"
        "        sys.stderr.write(f'\\rsteps: {50 * n:3d}%|###  | {n}/2 [00:00<?, 1it/s]')\n"
        "    time.sleep(wait)\n"
    )
    (folder / "bar.py").write_text(code, encoding="utf-8")
    first, second = step_seconds(run_script(checkout, "bar.py"))
    assert 0.28 < first < 5 and 0.08 < second < 5
