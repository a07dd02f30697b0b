"""Options of a short run on the tiny base."""

from __future__ import annotations

import pytest

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.training.terminal import train_in_terminal


@pytest.fixture
def options(tiny_base, pictures, tmp_path):
    return {
        "pretrained_model_name_or_path": str(tiny_base),
        "train_data_dir": str(pictures),
        "output_dir": str(tmp_path / "out"),
        "output_name": "test",
        "resolution": 32,
        "network_dim": 4,
        "preset": "attn-only",
        "optimizer_type": "AdamW",
        "learning_rate": 1e-3,
        "max_train_steps": 4,
        "device": "cpu",
    }


@pytest.fixture
def run(options):
    """Return a function that trains with some options changed and returns the adapter's path."""

    def train_with(**changes):
        return train_in_terminal(build_config([OptionSource("test", {**options, **changes})]))

    return train_with
