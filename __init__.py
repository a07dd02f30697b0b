"""The entry of a clone in ComfyUI's `custom_nodes`; empty everywhere else.

`folder_paths` is ComfyUI's own module: where it is not loaded, pytest, mypy or pip is looking, and
they shall see nothing.
"""

import sys

if "folder_paths" in sys.modules:
    from .comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    # Help pages; ComfyUI serves the folder under the clone's name.
    WEB_DIRECTORY = "./comfy_nodes/web"

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
