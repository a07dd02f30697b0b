"""Settings and fixtures of all tests: one thread, checked shapes, and a tiny base model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.shapes import check_shapes
from tests.tiny_pictures import write_pictures
from tests.tiny_pipeline import write_tiny_folder

# Tensors here are tiny: a second thread costs more than it brings, far more on a busy machine.
torch.set_num_threads(1)

# Nothing of a test may come from the user's own caches, nor stay there.
CACHES = tempfile.TemporaryDirectory(prefix="lycoris_ext_cache_", ignore_cleanup_errors=True)
os.environ["LYCORIS_EXT_CACHE"] = CACHES.name

# How long an example takes says nothing about the code: other tests run at the same time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What the maths is given, and what it returns, has the shapes that its annotations say.
check_shapes("lycoris_ext.functional", "lycoris_ext.algorithms")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Stable Diffusion model of random weights, 32-pixel pictures."""
    return write_tiny_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A train_data_dir with six captioned pictures, shown twice an epoch."""
    return write_pictures(tmp_path / "pictures")
