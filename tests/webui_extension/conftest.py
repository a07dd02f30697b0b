"""A stand-in of the host, which can be told to draw otherwise than asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.functional import LayerSpec
from lycoris_ext.grids.fit import HostTraits
from tests.grids.conftest import run  # noqa: F401 - a fixture
from webui_extension import schemas
from webui_extension.asked import draw
from webui_extension.door import Openness
from webui_extension.jobs import Job
from webui_extension.laboratory import Laboratory
from webui_extension.painter import Drawn, LoadedNetwork, Order
from webui_extension.staging import Staged

_TAG = re.compile(r"<lora:([^:]+):([^:]+):([^>]+)>")


class FakeHost:
    """Stands for `WebuiHost`: loads the networks in its folder and paints a colour."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.orders: list[Order] = []
        self.loads = True
        self.breaks_off = self.black = False
        self.left_over: list[LoadedNetwork] = []
        self.comments: tuple[str, ...] = ()
        self.layers = 2
        self.model = "model-a"
        self.interrupted_at = 10**6
        self.refreshed = 0
        self.api = True
        self.has_schedulers = True
        self.vae = "0123456789"
        self.lent: list[Staged] = []
        self.forgotten: list[str] = []
        self.shared = False
        self.python = ""
        for name in ("Lora", "runs"):
            (root / name).mkdir()

    def lora_folder(self) -> Path:
        return self.root / "Lora"

    def output_folder(self) -> Path:
        return self.root / "outputs"

    def allowed_folders(self) -> list[Path]:
        return [self.root / "runs", self.lora_folder(), self.root / "not there"]

    def traits(self) -> HostTraits:
        return HostTraits("Fake 1.0", FAMILIES["sd1"], reads_dora=False)

    def applied_layers(self, path: Path, name: str) -> dict[str, LayerSpec | None]:
        return dict.fromkeys(load_adapter(path).layers())

    def interrupt(self) -> None:
        self.interrupted_at = 0

    def refresh_networks(self) -> None:
        self.refreshed += 1

    def has_api(self) -> bool:
        return self.api

    def has_open_api(self) -> bool:
        return self.api

    def train_python(self) -> str:
        return self.python

    def may_start_programs(self) -> bool:
        return True

    def openness(self) -> Openness:
        return Openness(local=not self.shared)

    def tells_folders(self) -> bool:
        return not self.shared

    def base_models(self) -> list[str]:
        return ["model-a", "model-b"]

    def samplers(self) -> list[str]:
        return ["Euler a", "Euler"]

    def choices(self, axis: str) -> list[str] | None:
        listed: dict[str, list[str] | None] = {
            "sampler": self.samplers(),
            "scheduler": ["Automatic", "Karras"] if self.has_schedulers else None,
            "vae": ["None", "soft.pt"],
            "hires_fix": ["Latent", "R-ESRGAN 4x+"],
        }
        return listed.get(axis, [])

    def vae_titled(self, name: str) -> str:
        return f"{name} [{self.vae}]"

    def styles(self) -> dict[str, tuple[str, str]]:
        return {"ink": ("{prompt}, ink", "colour"), "soft": ("soft", "")}

    def network_named(self, name: str) -> Path | None:
        path = self.lora_folder() / f"{name}.safetensors"
        return path if path.is_file() else None

    def name_of_network(self, path: Path) -> str | None:
        return path.stem if path.parent == self.lora_folder() else None

    def lend(self, adapter: Staged) -> None:
        self.lent.append(adapter)

    def forget(self, names: Iterable[str]) -> None:
        self.forgotten += names

    def model_named(self, name: str) -> str:
        if name and name not in self.base_models():
            raise ConfigError("the host has no such base model", where="base models", fix="choose")
        return name or self.model

    def decides(self, model: str) -> dict[str, str]:
        return {"base": model}

    def draw(self, order: Order) -> Drawn | None:
        self.orders.append(order)
        if len(self.orders) > self.interrupted_at:
            return None
        if self.breaks_off and order.adapters:
            raise FormatError("the host broke off: shape '[4, 4]' is invalid")
        loaded = list(self.left_over)
        for adapter in order.adapters if self.loads else ():
            assert adapter.path.is_file() and adapter.path.stem == adapter.name
            _, text, unet = _TAG.findall(adapter.tag)[0]
            loaded.append(LoadedNetwork(adapter.path, float(text), float(unet), self.layers))
        colour = (0, 0, 0) if self.black else (len(self.orders) % 256, order.seed % 256, 1)
        picture = Image.new("RGB", (16, 16), colour)
        tags = "".join(f" {adapter.shown_tag}" for adapter in order.adapters)
        return Drawn(picture, order.prompt + tags, order.model, tuple(loaded), self.comments)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    root = tmp_path / "host"
    root.mkdir()
    return FakeHost(root)


@pytest.fixture
def folder(host: FakeHost, run: Path) -> Path:  # noqa: F811 - the fixture
    """Move the run into a folder that the host allows, and return that."""
    place = host.root / "runs" / "tilty"
    run.rename(place)
    return place


@pytest.fixture
def laboratory(host: FakeHost) -> Laboratory:
    return Laboratory(host)


def ask(laboratory: Laboratory, folder: Path, **more: Any) -> Job:
    """Draw a grid of the first checkpoint and wait for it."""
    files = [str(folder / "tilty-step-200.safetensors")]
    asked = schemas.checked({"files": files, "prompts": ["a cat"], **more}, schemas.GRID)
    job = draw(laboratory, asked)
    assert job.ended.wait(60)
    return job
