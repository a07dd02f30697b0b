"""`lycoris-ext install webui` puts the tab into a host's extensions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.hosts.webui import ENTRY, NAME, NOTE, install_webui

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "models").mkdir()
    return tmp_path


def test_installing_again_renews_the_extension(host: Path) -> None:
    place = host / "extensions" / NAME
    assert install_webui(host)[0].startswith(f"installed: {place}")
    assert {path.name for path in place.iterdir()} == {
        "lycoris_ext",
        "webui_extension",
        "scripts",
        NOTE,
    }
    assert json.loads((place / NOTE).read_text("utf-8"))["version"]
    assert not (place / "lycoris_ext" / "mini").exists()
    (place / "lycoris_ext" / "left_over.py").touch()
    assert install_webui(host)[0].startswith("updated")
    assert not (place / "lycoris_ext" / "left_over.py").exists()
    assert [path.name for path in (host / "extensions").iterdir()] == [NAME]


def test_the_installed_copy_imports_without_the_clone(host: Path) -> None:
    install_webui(host)
    code = (
        "import webui_extension.register, lycoris_ext, importlib.resources as r; "
        "print(lycoris_ext.__file__); "
        "print((r.files('lycoris_ext.grids') / 'parts' / 'page.js').is_file())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=host / "extensions" / NAME,
        env={"PATH": "", "PYTHONPATH": ""},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, parts = done.stdout.split()
    assert Path(file).parents[1] == (host / "extensions" / NAME).resolve() and parts == "True"


def test_a_folder_that_is_not_ours_is_not_overwritten(host: Path) -> None:
    clone = host / "extensions" / NAME
    clone.mkdir()
    (clone / "mine").touch()
    with pytest.raises(ConfigError, match="something else of this name is there"):
        install_webui(host)
    assert (clone / "mine").exists()


def test_a_folder_that_is_no_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder of AUTOMATIC1111's or Forge's"):
        install_webui(tmp_path)


def test_one_script_of_a_few_lines_and_no_installer_at_the_root() -> None:
    assert [path.name for path in (ROOT / "scripts").glob("*") if path.is_file()] == [
        Path(ENTRY).name
    ]
    script = (ROOT / ENTRY).read_text("utf-8")
    assert script == (ROOT / "webui_extension" / "entry.py").read_text("utf-8")
    assert len(script.splitlines()) < 12
    assert not (ROOT / "install.py").exists() and not (ROOT / "requirements.txt").exists()
