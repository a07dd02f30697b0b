"""What `lycoris-ext info` says of names in ComfyUI is what its own loader does."""

from __future__ import annotations

import pytest

from lycoris_ext.formats.namings import COMFYUI
from tests.hosts.checkouts import Checkout
from tests.hosts.naming import disagreements

pytestmark = pytest.mark.hosts


def test_it_leaves_exactly_the_layers_that_we_say(comfyui: Checkout) -> None:
    families = ("sd1", "sdxl", "flux")
    assert not disagreements(COMFYUI, comfyui, "comfyui_names.py", families)
