"""A U-Net and a text encoder of a few layers, as targets of a network."""

from __future__ import annotations

import pytest
from torch import nn

from tests.network.models import TextEncoder, UNet


@pytest.fixture
def targets() -> dict[str, nn.Module]:
    return {"unet": UNet(), "text_encoder": TextEncoder()}
