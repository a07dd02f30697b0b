"""Named sets of options that a run can start from; config file and flags override them."""

from __future__ import annotations

from collections.abc import Mapping

RECIPES: dict[str, Mapping[str, object]] = {
    # The settings of the LyCORIS experiments of March 2023, with which others are compared.
    "seed-default": {
        "algo": "loha",
        "network_dim": 8,
        "network_alpha": 1.0,
        "conv_dim": 4,
        "conv_alpha": 1.0,
        "preset": "full",
        "optimizer_type": "AdamW8bit",
        "learning_rate": 2e-4,
        "lr_scheduler": "constant",
        "clip_skip": 1,
    },
}
