"""The wheel works in an empty environment, and a clone works in ComfyUI without being installed.

Run by `make check`, from the environment that the tests run in. All of it happens outside the
clone, in an environment which holds the base dependencies alone (torch, safetensors, pillow,
packaging and what these need): they are linked from the running environment, which takes a second
where installing torch again would take minutes. pip then resolves the wheel against them without an
index, so a dependency that is used but not declared, or declared but not there, fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BASE = ("torch", "safetensors[numpy]", "pillow", "packaging")
BUILDING = Path("lycoris_ext", "mini", "building")
# Top-level entries of site-packages that belong to no single distribution.
SHARED = {"..", "__pycache__"}

# ComfyUI's nodes.py, load_custom_node: the module is named after the full path.
LOAD_LIKE_COMFYUI = """
import importlib.util, os, sys, types

clone = sys.argv[1]
assert importlib.util.find_spec("lycoris_ext") is None, "lycoris_ext must not be installed here"
sys.modules["folder_paths"] = types.ModuleType("folder_paths")
name = clone.replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, os.path.join(clone, "__init__.py"))
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)

assert isinstance(module.NODE_CLASS_MAPPINGS, dict)
assert set(module.NODE_DISPLAY_NAME_MAPPINGS) <= set(module.NODE_CLASS_MAPPINGS)
assert clone not in sys.path

import lycoris_ext
assert lycoris_ext.__file__.startswith(clone), lycoris_ext.__file__
for public in lycoris_ext.__all__:
    getattr(lycoris_ext, public)
"""

# Outside ComfyUI the same file does nothing at all.
LOAD_ELSEWHERE = """
import runpy, sys

before = set(sys.modules)
names = runpy.run_path(sys.argv[1])
assert "lycoris_ext" not in sys.modules
assert not [name for name in names if not name.startswith("__") and name != "sys"], names
"""

IMPORT_WHEEL = """
import pathlib, sys

import lycoris_ext
assert "lycoris_ext.kohya" not in sys.modules and "kohya_adapter" not in sys.modules
for public in lycoris_ext.__all__:
    getattr(lycoris_ext, public)

import comfy_nodes, lycoris_ext.kohya, webui_extension
from lycoris_ext import mini
assert mini.real_picture(mini.held_out_prompts()[0]).image.size  # what the demo compares with
root = pathlib.Path(sys.prefix).resolve()
for module in (lycoris_ext, lycoris_ext.kohya, comfy_nodes, webui_extension):
    assert root in pathlib.Path(module.__file__).resolve().parents, module.__file__
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="lycoris-ext-check-") as name:
        folder = Path(name).resolve()
        clone = copy_clone(folder / "lycoris-ext")
        wheel = build_wheel(clone, folder)
        python = make_environment(folder / "environment")

        run_python(python, folder, LOAD_LIKE_COMFYUI, str(clone))
        print("a clone loads in ComfyUI's way, without being installed")
        run_python(python, folder, LOAD_ELSEWHERE, str(clone / "__init__.py"))
        print("outside ComfyUI the clone's __init__.py does nothing")

        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "--no-index", str(wheel)], folder)
        run([*pip, "check"], folder)
        run_python(python, folder, IMPORT_WHEEL)
        compare_data(clone, python, folder)
        run([str(python), str(ROOT / "tests" / "packaging" / "base_only.py")], folder)
        print(f"{wheel.name} installs, imports and trains with the base dependencies alone")
        check_command_line(python, folder)
        check_nodes(python, folder)
    return 0


def run(command: list[str], folder: Path, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Run outside the clone; PYTHONPATH and the like must not let the clone in."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PYTHONUTF8"] = "1"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode != expected:
        sys.exit(
            f"{' '.join(command[:4])} ... ended with {done.returncode}, expected {expected}:\n"
            f"{done.stdout}{done.stderr}"
        )
    return done


def run_python(python: Path, folder: Path, code: str, *arguments: str) -> None:
    run([str(python), "-W", "error", "-c", code, *arguments], folder)


def copy_clone(target: Path) -> Path:
    """What a clone of this tree would hold: tracked files and new ones that git would take."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
    for name in names.decode("utf-8").split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    return target


def build_wheel(clone: Path, folder: Path) -> Path:
    """Build from a second copy, because setuptools leaves its build folder in the source."""
    source = folder / "source"
    shutil.copytree(clone, source)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "wheels")]
    run([*command, str(source)], folder)
    (wheel,) = (folder / "wheels").glob("lycoris_ext-*.whl")
    return wheel


def make_environment(folder: Path) -> Path:
    """A fresh environment with the base dependencies linked in; returns its interpreter."""
    run([sys.executable, "-m", "venv", str(folder)], folder.parent)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    scheme = sysconfig.get_preferred_scheme("prefix")
    site = Path(sysconfig.get_path("purelib", scheme, {"base": str(folder)}))
    for package in base_distributions():
        for entry in sorted(top_level_entries(package)):
            if not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    return python


def base_distributions() -> list[Distribution]:
    """The base dependencies and everything that they need, as installed here."""
    found: dict[str, Distribution] = {}
    seen: set[str] = set()
    waiting = [Requirement(line) for line in BASE]
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        package = found.setdefault(wanted.name, distribution(wanted.name))
        for needed in map(Requirement, package.requires or ()):
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(needed)
    return list(found.values())


def top_level_entries(package: Distribution) -> set[Path]:
    names = {file.parts[0] for file in package.files or ()} - SHARED
    return {Path(str(package.locate_file(name))) for name in names}


def compare_data(clone: Path, python: Path, folder: Path) -> None:
    """Every file of the four packages that git has is in the wheel, data included; what builds the
    small base model is not."""
    code = "import lycoris_ext, pathlib; print(pathlib.Path(lycoris_ext.__file__).parents[1])"
    site = Path(run([str(python), "-c", code], folder).stdout.strip())
    missing = [
        str(file.relative_to(clone))
        for package in ("lycoris_ext", "kohya_adapter", "webui_extension", "comfy_nodes")
        for file in (clone / package).rglob("*")
        if file.is_file() and not (site / file.relative_to(clone)).is_file()
        if "__pycache__" not in file.parts
        if clone / BUILDING not in file.parents
    ]
    if (site / BUILDING).exists():
        sys.exit(f"{BUILDING} is in the wheel (see packages.find in pyproject.toml)")
    if missing:
        sys.exit("not in the wheel (see package-data in pyproject.toml):\n" + "\n".join(missing))


def check_command_line(python: Path, folder: Path) -> None:
    """Without the extra [train] the command says which line installs it, and exits with 4."""
    command = python.with_name("lycoris-ext.exe" if os.name == "nt" else "lycoris-ext")
    done = run([str(command), "train", "my.toml"], folder, expected=4)
    if 'pip install "lycoris-ext[train]"' not in done.stderr:
        sys.exit(f"the pip line is missing from:\n{done.stderr}")
    print("without [train] the command line names the pip line and exits with 4")


def check_nodes(python: Path, folder: Path) -> None:
    """The installed package brings the nodes to a ComfyUI, with templates and locale."""
    command = python.with_name("lycoris-ext.exe" if os.name == "nt" else "lycoris-ext")
    for mode in ([], ["--copy"]):
        comfyui = folder / f"ComfyUI{''.join(mode)}"
        (comfyui / "custom_nodes").mkdir(parents=True)
        run([str(command), "install", "comfyui", str(comfyui), *mode], folder)
        pack = comfyui / "custom_nodes" / "lycoris-ext"
        found = {path.name for path in (pack / "example_workflows").glob("*.json")}
        locales = {path.parent.name for path in (pack / "locales").glob("*/nodeDefs.json")}
        written = {path.parent.name for path in (ROOT / "locales").glob("*/nodeDefs.json")}
        if len(found) < 4 or locales != written or "en" not in locales:
            sys.exit(f"{pack} lacks templates or locales: {found}, {locales}")
    print("the wheel's nodes install into a ComfyUI, linked and copied")


if __name__ == "__main__":
    sys.exit(main())
