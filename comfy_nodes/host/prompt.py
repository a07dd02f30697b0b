"""Read from the queued workflow which model file is connected to a node."""

from __future__ import annotations

from typing import Any

#: Inputs of ComfyUI's loader nodes that hold the file name of a model.
_FILES = ("ckpt_name", "unet_name", "model_name")
UNKNOWN = "ComfyUI's model"


def model_name(prompt: Any, node_id: str | None) -> str:
    """Return the file name of the model that is connected to a node, for the metadata.

    The inputs called "model" are followed back, node by node, to a loader that names a file.

    Args:
        prompt: ComfyUI's hidden input PROMPT, the queued workflow.
        node_id: of the node.

    Returns:
        The file name without folders; "ComfyUI's model" if no loader is found.
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
