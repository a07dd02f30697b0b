"""`lycoris-ext install comfyui` puts the nodes into custom_nodes, as a link or a copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_nodes import NODE_CLASS_MAPPINGS
from lycoris_ext.cli import main
from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.hosts import comfyui as module
from lycoris_ext.hosts.comfyui import FOLDER, install_comfyui, python_of

ROOT = Path(__file__).resolve().parents[2]

# As ComfyUI loads a folder of custom_nodes.
LOAD = """
import importlib.util, json, sys, types
sys.modules["folder_paths"] = types.ModuleType("folder_paths")
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(folder.replace(".", "_x_"), folder + "/__init__.py")
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
import lycoris_ext
print(json.dumps([lycoris_ext.__file__, module.WEB_DIRECTORY, len(module.NODE_CLASS_MAPPINGS)]))
"""


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "Comfy UI"
    (folder / "custom_nodes").mkdir(parents=True)
    return folder


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the check that the nodes load, which takes seconds; other tests run it."""
    monkeypatch.setattr(module, "_check_loads", lambda folder, python: None)


def loaded(pack: Path) -> tuple[Path, Path, int]:
    """Load the pack as ComfyUI does; return the folders of core and help, and the count of
    nodes."""
    command = [sys.executable, "-c", LOAD, str(pack)]
    done = subprocess.run(
        command, cwd=pack.parent, check=True, capture_output=True, encoding="utf-8"
    )
    core, web, count = json.loads(done.stdout)
    return Path(core).parent, Path(web), count


@pytest.mark.parametrize("link", [True, False], ids=["linked", "copied"])
def test_the_installed_pack_loads_and_brings_templates_and_locale(
    comfyui: Path, link: bool
) -> None:
    told = install_comfyui(comfyui, link)
    pack = comfyui / "custom_nodes" / FOLDER
    assert ("linked to" if link else "copied") in told[0]
    place = ROOT if link else pack
    core, web, count = loaded(pack)
    assert (
        core == place / "lycoris_ext"
        and web == place / "comfy_nodes" / "web"
        and count == len(NODE_CLASS_MAPPINGS)
    )
    assert (web / "docs" / "LycorisExtTrainLora.md").is_file()
    for name in ("example_workflows/train_a_style.json", "locales/en/nodeDefs.json"):
        assert (pack / name).read_bytes() == (ROOT / name).read_bytes()
    assert (pack / "comfy_nodes").exists() is not link
    assert sorted(path.name for path in pack.parent.iterdir()) == [FOLDER], "nothing is left over"


@pytest.mark.parametrize("link", [True, False], ids=["linked", "copied"])
@pytest.mark.usefixtures("unchecked")
def test_a_second_copy_of_the_nodes_is_refused_by_name(comfyui: Path, link: bool) -> None:
    """A clone in custom_nodes, and an installation that was linked to it or copied beside it."""
    clone = comfyui / "custom_nodes" / "a-clone"
    clone.mkdir()
    (clone / "__init__.py").write_text(
        f"__path__.append({str(ROOT)!r})\nfrom .comfy_nodes import NODE_CLASS_MAPPINGS\n"
        "WEB_DIRECTORY = ''\n",
        encoding="utf-8",
    )
    install_comfyui(comfyui, link)
    pack = comfyui / "custom_nodes" / FOLDER
    both = LOAD + LOAD.replace("sys.argv[1]", "sys.argv[2]")
    done = subprocess.run(
        [sys.executable, "-c", both, str(clone), str(pack)], capture_output=True, encoding="utf-8"
    )
    assert done.returncode and '"' in done.stdout, "the first one works"
    said = done.stderr.splitlines()[-1]
    assert "installed twice" in said and "a-clone" in said and FOLDER in said


@pytest.mark.usefixtures("unchecked")
def test_installing_again_replaces_the_earlier_pack(comfyui: Path) -> None:
    pack = comfyui / "custom_nodes" / FOLDER
    install_comfyui(comfyui, link=False)
    (pack / "old.txt").touch()
    install_comfyui(comfyui, link=True)
    assert not (pack / "old.txt").exists() and not (pack / "comfy_nodes").exists()


@pytest.mark.usefixtures("unchecked")
def test_the_old_pack_comes_back_where_the_new_one_cannot_take_its_place(
    comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = comfyui / "custom_nodes" / FOLDER
    install_comfyui(comfyui, link=False)
    (pack / "old.txt").touch()
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if source.name.endswith(".new.disabled"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(EnvironmentFault, match="nothing was changed"):
            install_comfyui(comfyui, link=True)
    assert (pack / "old.txt").is_file()
    assert [path.name for path in pack.parent.iterdir()] == [FOLDER]


def test_a_folder_that_is_not_ours_is_not_overwritten(comfyui: Path) -> None:
    pack = comfyui / "custom_nodes" / FOLDER
    pack.mkdir()
    (pack / "__init__.py").write_text("a clone", encoding="utf-8")
    with pytest.raises(DataError, match="this command did not make it"):
        install_comfyui(comfyui, link=True)
    assert (pack / "__init__.py").read_text("utf-8") == "a clone"


def test_a_folder_without_custom_nodes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "comfyui", str(tmp_path)]) == 3
    assert "there is no folder custom_nodes" in capsys.readouterr().err


@pytest.mark.usefixtures("unchecked")
def test_install_comfyui_with_copy_copies_the_pack(
    comfyui: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "comfyui", str(comfyui), "--copy"]) == 0
    assert "copied\nthe nodes can be imported" in capsys.readouterr().out


def test_nodes_that_do_not_load_leave_the_old_ones(
    comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "_check_loads", lambda folder, python: None)
        install_comfyui(comfyui, link=True)
    entry = comfyui / "custom_nodes" / FOLDER / "__init__.py"
    before = entry.read_text("utf-8")
    monkeypatch.setattr(module, "_LOAD", "raise ImportError('No module named torch')")
    with pytest.raises(EnvironmentFault, match=r"cannot be imported: (.|\n)*No module named torch"):
        install_comfyui(comfyui, link=False)
    assert entry.read_text("utf-8") == before
    assert [path.name for path in entry.parents[1].iterdir()] == [FOLDER]


def test_a_missing_data_folder_is_named(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DATA", ("nowhere",))
    with pytest.raises(EnvironmentFault, match="the folder nowhere is missing"):
        install_comfyui(comfyui, link=True)


def test_the_python_beside_comfyui_is_found(comfyui: Path, tmp_path: Path) -> None:
    assert python_of(comfyui) == Path(sys.executable)
    embedded = tmp_path / "python_embeded" / "python.exe"
    embedded.parent.mkdir()
    embedded.touch()
    assert python_of(comfyui) == embedded
