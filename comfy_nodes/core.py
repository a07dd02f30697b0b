"""Import the package lycoris_ext from the folder beside this one.

ComfyUI imports a node pack under a name made of its full path, so that `import lycoris_ext` would
not find the package in the same clone. An installed lycoris_ext is not used either: nodes and
package might then be of different versions.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_CORE = Path(__file__).resolve().parents[1] / "lycoris_ext"
_PACK = "comfyui_pack"
"""Attribute of the package with the name of the node pack that uses it."""


def _load() -> ModuleType:
    # By file location and not through sys.path, which would offer every folder of a clone (tests,
    # docs) to all other node packs.
    spec = importlib.util.spec_from_file_location(
        "lycoris_ext", _CORE / "__init__.py", submodule_search_locations=[str(_CORE)]
    )
    if spec is None or spec.loader is None or not _CORE.is_dir():
        raise ImportError(f"{_CORE} does not exist: the clone is incomplete, clone it again")
    module = importlib.util.module_from_spec(spec)
    sys.modules["lycoris_ext"] = module
    spec.loader.exec_module(module)
    return module


def _refuse_two(module: ModuleType) -> None:
    """Raise if another copy of this pack was loaded: its nodes would be half of each copy."""
    pack = __name__.partition(".comfy_nodes")[0]
    first = getattr(module, _PACK, pack)
    place = Path(str(module.__file__)).resolve().parent
    if place != _CORE or first != pack:
        raise ImportError(
            f"the LyCORIS nodes are installed twice, and ComfyUI has loaded them already, from "
            f"{first} ({place.parent}): these here, of {pack} ({_CORE.parent}), are left out. "
            "Delete one of the two from custom_nodes and restart ComfyUI"
        )
    setattr(module, _PACK, pack)


_refuse_two(sys.modules.get("lycoris_ext") or _load())
