"""Small base models in the form in which sd-scripts hands them to a network module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kohya_models import Models, tiny_models


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return tiny_models(tmp_path / "sd1")


@pytest.fixture
def sdxl(tmp_path: Path) -> Models:
    return tiny_models(tmp_path / "sdxl", "sdxl")
