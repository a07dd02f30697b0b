"""Names of arguments in the form of the kohya_ss GUI, for the errors that its users read.

Source: kohya_ss 45088f0, kohya_gui/lora_gui.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lycoris_ext.errors import LycorisExtError, together

#: Argument -> label of its field in the LoRA tab.
FIELDS = {
    "algo": "LoRA type",
    "preset": "LyCORIS Preset",
    "network_dim": "Network Rank (Dimension)",
    "network_alpha": "Network Alpha",
    "conv_dim": "Convolution Rank (Dimension)",
    "conv_alpha": "Convolution Alpha",
    "dropout": "Network dropout",
    "rank_dropout": "Rank dropout",
    "module_dropout": "Module dropout",
    "rank_dropout_scale": "Rank Dropout Scale",
    "use_tucker": "Use Tucker decomposition",
    "use_scalar": "Use Scalar",
    "bypass_mode": "Bypass mode",
    "dora_wd": "DoRA Weight Decompose",
    "train_norm": "Train Norm",
    "constraint": "Constrain OFT",
    "rescaled": "Rescaled OFT",
    "block_size": "DyLoRA Unit / Block size",
    "factor": "LoKr factor",
    "decompose_both": "LoKr decompose both",
    "train_on_input": "iA3 train on input",
    "scale_weight_norms": "Scale weight norms",
    "loraplus_lr_ratio": "LoRA+ learning rate ratio",
    "save_precision": "Save precision",
    "output_dir": "Output directory for trained model",
}
#: Longer names of layers, such as a list of all of them, would hide the message.
_LONGEST = 120


@contextmanager
def in_gui_words() -> Iterator[None]:
    """Add to an error raised inside the ``with`` what the GUI calls the option that it names."""
    try:
        yield
    except LycorisExtError as error:
        parts = [
            type(part)(part.what, where=_named(part.where), fix=part.fix) for part in error.parts
        ]
        raise together(parts) from error


def _named(where: str | None) -> str | None:
    if where is None:
        return None
    # The option stands last, or before its value: "network_args, algo", "output_dir C:\loras".
    words = [part.split()[0] for part in reversed(re.split("[:,]", where)) if part.strip()]
    label = next((FIELDS[word] for word in words if word in FIELDS), None)
    short = where if len(where) <= _LONGEST else f"{where[: _LONGEST - 40]} ... {where[-40:]}"
    return f'{short} (kohya_ss: "{label}")' if label else short
