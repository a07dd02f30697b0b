"""The entry of a clone in ComfyUI's `custom_nodes`; empty everywhere else.

ComfyUI runs this file under a module name made of the clone's full path, and neither the clone
nor `custom_nodes` is importable by name. `folder_paths` is ComfyUI's own module: where it is not
loaded, pytest, mypy or pip is looking, and they shall see nothing.
"""

import sys

if "folder_paths" in sys.modules:
    import importlib.util
    from pathlib import Path

    if "lycoris_ext" not in sys.modules:
        # By file location and not through sys.path, which would offer every folder of this clone
        # (tests, docs) to all other node packs. An installed lycoris_ext is passed over: nodes and
        # core come from one clone, or they drift apart.
        _core = Path(__file__).resolve().parent / "lycoris_ext"
        _spec = importlib.util.spec_from_file_location(
            "lycoris_ext", _core / "__init__.py", submodule_search_locations=[str(_core)]
        )
        if _spec is None or _spec.loader is None:
            raise ImportError(f"{_core} is not a package: the clone is incomplete, clone it again")
        _module = importlib.util.module_from_spec(_spec)
        sys.modules["lycoris_ext"] = _module
        _spec.loader.exec_module(_module)

    from .comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
