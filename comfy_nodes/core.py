"""Import the package lycoris_ext from the folder beside this one.

ComfyUI imports a node pack under a name made of its full path, so that `import lycoris_ext` would
not find the package in the same clone. An installed lycoris_ext is not used either: nodes and
package might then be of different versions.
"""

import importlib.util
import sys
from pathlib import Path

if "lycoris_ext" not in sys.modules:
    # By file location and not through sys.path, which would offer every folder of a clone (tests,
    # docs) to all other node packs.
    _core = Path(__file__).resolve().parents[1] / "lycoris_ext"
    _spec = importlib.util.spec_from_file_location(
        "lycoris_ext", _core / "__init__.py", submodule_search_locations=[str(_core)]
    )
    if _spec is None or _spec.loader is None or not _core.is_dir():
        raise ImportError(f"{_core} does not exist: the clone is incomplete, clone it again")
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["lycoris_ext"] = _module
    _spec.loader.exec_module(_module)
