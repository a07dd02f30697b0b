"""What the queued workflow tells about a node's surroundings."""

from __future__ import annotations

from typing import Any

#: Inputs by which ComfyUI's loaders name a model's file.
_FILES = ("ckpt_name", "unet_name", "model_name")
UNKNOWN = "ComfyUI's model"


def model_name(prompt: Any, node_id: str | None) -> str:
    """The file of the model that is connected to a node, for the metadata.

    The links of the inputs "model" are followed up to a node that names a file.

    Args:
        prompt: ComfyUI's hidden PROMPT.
        node_id: of the node.
    """
    seen: set[str] = set()
    while node_id is not None and node_id in (prompt or {}) and node_id not in seen:
        seen.add(node_id)
        inputs = prompt[node_id].get("inputs", {})
        for name in _FILES:
            if isinstance(inputs.get(name), str):
                return inputs[name].replace("\\", "/").rpartition("/")[2]
        link = inputs.get("model")
        node_id = str(link[0]) if isinstance(link, list) and link else None
    return UNKNOWN
