"""ComfyUI's modules as stand-ins, and captioned pictures in its input folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfy_nodes.stand_ins import Host, inside_comfyui
from tests.tiny_pictures import write_pictures


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Stand-ins of ComfyUI's modules can be imported, and input/shapes holds captioned pictures."""
    with inside_comfyui(tmp_path / "comfyui") as found:
        write_pictures(found.input / "shapes", size=(32, 32))
        yield found
