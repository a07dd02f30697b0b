"""ComfyUI nodes for training and sampling.

Here will live the nodes. None is written yet, so the mappings that ComfyUI reads are empty.
"""

from __future__ import annotations

from typing import Any

NODE_CLASS_MAPPINGS: dict[str, type[Any]] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}
