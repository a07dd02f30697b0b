"""An extension of Forge for tests: SD1 with few channels is one of the models that it knows.

Forge tells a model by its weights' shapes and takes the rest from a folder of its own per model.
Here it gets one more such shape and folder; its own classes and code load it.
"""

import json
from pathlib import Path

from huggingface_guess import model_list
from modules.paths import models_path

#: As tests/hosts/webui_model.py writes it.
FOLDER = Path(models_path) / "Stable-diffusion" / "narrow"
UNET = json.loads((FOLDER / "unet" / "config.json").read_text("utf-8"))


class NarrowSD15(model_list.SD15):  # type: ignore[misc] # the host's module
    """SD1 with the widths of that folder."""

    # The host joins it to a path of its own, which an absolute path replaces.
    huggingface_repo = str(FOLDER)
    unet_config = {  # noqa: RUF012 - as the host declares it
        **model_list.SD15.unet_config,
        "context_dim": UNET["cross_attention_dim"],
        "model_channels": UNET["block_out_channels"][0],
    }


model_list.models.insert(0, NarrowSD15)
