"""What `lycoris-ext info` says of names in sd-scripts is what its own loader does."""

from __future__ import annotations

import pytest

from lycoris_ext.formats.namings import SD_SCRIPTS
from tests.hosts.checkouts import Checkout
from tests.hosts.naming import disagreements

pytestmark = pytest.mark.hosts


def test_it_leaves_exactly_the_layers_that_we_say(sd_scripts: Checkout) -> None:
    families = ("sd1", "sdxl")
    assert not disagreements(SD_SCRIPTS, sd_scripts, "sd_scripts_names.py", families)
