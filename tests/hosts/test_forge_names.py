"""What `lycoris-ext info` says of names in Forge is what its own loader does."""

from __future__ import annotations

import pytest

from lycoris_ext.formats.namings import FORGE
from tests.hosts.checkouts import Checkout
from tests.hosts.naming import disagreements

pytestmark = pytest.mark.hosts


def test_it_leaves_exactly_the_layers_that_we_say(forge: Checkout) -> None:
    families = ("sd1", "sdxl")
    assert not disagreements(FORGE, forge, "forge_names.py", families)
