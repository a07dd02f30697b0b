"""One of sd-scripts' scripts on SD1's own classes with few channels; run by sd-scripts' Python in
its folder: `sd_scripts_narrow.py SCRIPT OPTIONS`.

The layers and their names are those of SD1. The widths are those of `tests.hosts.narrow`.
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
from importlib import import_module
from typing import Any

CHANNELS, TEXT = 32, 64


def make_narrow() -> None:
    """Replace the widths in sd-scripts' modules, which build SD1 from constants."""
    unet: Any = import_module("library.original_unet")
    unet.BLOCK_OUT_CHANNELS = (CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS)
    unet.TIMESTEP_INPUT_DIM, unet.TIME_EMBED_DIM = CHANNELS, 4 * CHANNELS
    models: Any = import_module("library.model_util")
    models.UNET_PARAMS_MODEL_CHANNELS = models.VAE_PARAMS_CH = CHANNELS
    models.UNET_PARAMS_CONTEXT_DIM = TEXT
    wide = models.CLIPTextConfig
    sizes = {"hidden_size": TEXT, "intermediate_size": 2 * TEXT, "num_attention_heads": 4}

    @functools.wraps(wide)
    def narrow(**options: Any) -> Any:
        return wide(**{**options, **sizes, "projection_dim": TEXT})

    models.CLIPTextConfig = narrow


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    make_narrow()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
