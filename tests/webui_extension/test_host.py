"""What is asked of AUTOMATIC1111, on stand-ins of its modules; tests/hosts runs the real one."""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lycoris_ext.grids.settings import Settings
from webui_extension.host import WebuiHost
from webui_extension.painter import Order


class Task:
    """Stands for `StableDiffusionProcessingTxt2Img`."""

    asked: dict[str, Any]

    def __init__(self, **asked: Any) -> None:
        Task.asked = asked

    def close(self) -> None:
        pass


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put stand-ins of the host's modules in place that a picture needs, and return `shared`."""
    labels = ("sd_model_checkpoint", "CLIP_stop_at_last_layers", "sd_lora", "sd_hypernetwork")
    info = SimpleNamespace(title="model-a [0a]")
    state = SimpleNamespace(begin=lambda job: None, end=lambda: None)
    state.interrupted = state.skipped = False
    values = SimpleNamespace(
        opts=SimpleNamespace(data_labels=dict.fromkeys(labels)),
        cmd_opts=SimpleNamespace(),
        sd_model=SimpleNamespace(sd_checkpoint_info=info),
        state=state,
    )
    result = SimpleNamespace(
        images=[Image.new("RGB", (8, 8))], index_of_first_image=0, infotexts=["a cat"]
    )
    processing = SimpleNamespace(
        StableDiffusionProcessingTxt2Img=Task, process_images=lambda task: result
    )
    package: Any = ModuleType("modules")
    package.shared, package.processing = values, processing
    package.call_queue = SimpleNamespace(queue_lock=threading.Lock())
    monkeypatch.setitem(sys.modules, "modules", package)
    networks = SimpleNamespace(available_networks={}, loaded_networks=[])
    monkeypatch.setitem(sys.modules, "networks", networks)
    return values


def test_networks_and_face_restoration_of_the_host_are_off_in_a_picture(
    shared: SimpleNamespace,
) -> None:
    order = Order("a cat", "", 1, "model-a [0a]", Settings())
    assert WebuiHost().draw(order) is not None
    assert Task.asked["restore_faces"] is False
    assert Task.asked["override_settings"] == {
        "sd_model_checkpoint": "model-a [0a]",
        "CLIP_stop_at_last_layers": 1,
        "sd_lora": "None",
        "sd_hypernetwork": "None",
    }


def test_programs_are_started_only_where_the_host_allows_it(shared: SimpleNamespace) -> None:
    assert not WebuiHost().may_start_programs(), "a host that does not say"
    for refused in (True, False):
        shared.cmd_opts.disable_extension_access = refused
        assert WebuiHost().may_start_programs() is not refused
