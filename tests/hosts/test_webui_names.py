"""What `lycoris-ext info` says of names in AUTOMATIC1111 is what its own loader does."""

from __future__ import annotations

import pytest

from lycoris_ext.formats.namings import WEBUI
from tests.hosts.checkouts import Checkout
from tests.hosts.naming import disagreements

pytestmark = pytest.mark.hosts


def test_it_leaves_exactly_the_layers_that_we_say(webui: Checkout) -> None:
    families = ("sd1", "sdxl")
    assert not disagreements(WEBUI, webui, "webui_names.py", families)
