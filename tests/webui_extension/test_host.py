"""What is asked of AUTOMATIC1111, on stand-ins of its modules; tests/hosts runs the real one."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lycoris_ext.errors import FormatError
from lycoris_ext.grids.entrants import Strength
from lycoris_ext.grids.settings import Settings
from webui_extension.host import WebuiHost
from webui_extension.painter import Drawn, Order
from webui_extension.staging import Staged

LOADED = "model-a [0a]"


@dataclass
class Task:
    """Stands for `StableDiffusionProcessingTxt2Img`."""

    sd_model: Any = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    sampler_name: str = ""
    steps: int = 0
    cfg_scale: float = 0
    width: int = 0
    height: int = 0
    restore_faces: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    override_settings: dict[str, Any] = field(default_factory=dict)
    override_settings_restore_afterwards: bool = True
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str = ""
    denoising_strength: float = 0.75

    def close(self) -> None:
        pass


class Modules:
    """Stands for the host's modules: its options, and its way to draw.

    Args:
        options: the host's options.
        networks: its module of that name.
        tasks: what was drawn.
        meanwhile: called while a picture is drawn.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {
            "sd_model_checkpoint": "model-a",
            "CLIP_stop_at_last_layers": 1,
            "sd_lora": "None",
            "sd_hypernetwork": "None",
            "sd_vae": "Automatic",
        }
        self.opts = SimpleNamespace(data_labels=dict.fromkeys(self.options), **self.options)
        aliases = {"mine": "of the user"}
        self.networks = SimpleNamespace(
            available_networks={"mine": "of the user"},
            available_network_aliases=aliases,
            available_network_hash_lookup={},
            loaded_networks=[],
        )
        self.tasks: list[Task] = []
        self.meanwhile: Any = lambda: None
        self.state = SimpleNamespace(begin=lambda job: None, end=lambda: None)
        self.state.interrupted = self.state.skipped = False

    def process_images(self, task: Task) -> SimpleNamespace:
        self.tasks.append(task)
        for name, value in task.override_settings.items():
            setattr(self.opts, name, value)
        self.seen = dict(self.networks.available_network_aliases)
        self.meanwhile()
        text = f'{task.prompt.partition(" <")[0]}\nSteps: 1, Lora hashes: "x__00: 12"'
        return SimpleNamespace(
            images=[Image.new("RGB", (8, 8))], index_of_first_image=0, infotexts=[text]
        )


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Modules:
    """Put stand-ins of the host's modules in place that a picture needs."""
    made = Modules()
    package: Any = ModuleType("modules")
    infos = {
        name: SimpleNamespace(title=title)
        for name, title in (("model-a", LOADED), (LOADED, LOADED), ("model-b", "model-b [0b]"))
    }
    infos["model-b [0b]"] = infos["model-b"]
    package.shared = SimpleNamespace(
        opts=made.opts,
        cmd_opts=SimpleNamespace(),
        state=made.state,
        sd_model=SimpleNamespace(sd_checkpoint_info=infos["model-a"]),
    )
    package.processing = SimpleNamespace(
        StableDiffusionProcessingTxt2Img=Task,
        process_images=made.process_images,
        sd_vae=SimpleNamespace(reload_vae_weights=lambda: None),
    )
    package.devices = SimpleNamespace(NansException=type("NansException", (Exception,), {}))
    package.call_queue = SimpleNamespace(queue_lock=threading.Lock())
    package.sd_models = SimpleNamespace(checkpoint_aliases=infos)
    package.sd_vae = SimpleNamespace(
        loaded_vae_file=None, checkpoints_loaded={}, reload_vae_weights=lambda model: None
    )
    scripts: Any = ModuleType("modules.processing_scripts")
    scripts.comments = SimpleNamespace(strip_comments=lambda text: text.partition("#")[0])
    network = SimpleNamespace(
        NetworkOnDisk=type("NetworkOnDisk", (), {}), SdVersion=SimpleNamespace(Unknown="?")
    )
    for name, module in {
        "modules": package,
        "modules.processing_scripts": scripts,
        "networks": made.networks,
        "network": network,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def drawn(model: str = LOADED, prompt: str = "a cat", **more: Any) -> Drawn:
    """Draw a picture with the stand-ins."""
    adapters = more.pop("adapters", ())
    result = WebuiHost().draw(Order(prompt, "", 1, model, Settings(**more), adapters))
    assert result is not None
    return result


def test_only_options_that_differ_are_overridden_in_a_picture(modules: Modules) -> None:
    drawn()
    assert modules.tasks[0].override_settings == {}
    assert modules.tasks[0].restore_faces is False
    modules.opts.sd_lora = "mine"
    drawn("model-b [0b]", clip_skip=2)
    assert modules.tasks[1].override_settings == {
        "sd_model_checkpoint": "model-b [0b]",
        "CLIP_stop_at_last_layers": 2,
        "sd_lora": "None",
    }
    assert (modules.opts.sd_model_checkpoint, modules.opts.sd_lora) == ("model-a", "mine")
    assert modules.opts.CLIP_stop_at_last_layers == 1


def test_a_choice_of_the_user_while_a_picture_is_drawn_is_kept(modules: Modules) -> None:
    def choose() -> None:
        modules.opts.sd_model_checkpoint = "model-c"

    modules.meanwhile = choose
    drawn()
    assert modules.opts.sd_model_checkpoint == "model-c"
    modules.opts.sd_model_checkpoint = "model-a"
    drawn("model-b [0b]", clip_skip=2)
    assert modules.opts.sd_model_checkpoint == "model-c"
    assert modules.opts.CLIP_stop_at_last_layers == 1, "which the user has not changed"


def test_the_host_finds_an_adapter_while_it_draws_and_lists_it_nowhere(modules: Modules) -> None:
    adapter = Staged("x__00", Path("x__00.safetensors"), "x", "12" * 32, Strength(0.5, 1))
    result = drawn(adapters=(adapter,))
    entry = modules.seen["x__00"]
    assert (entry.filename, entry.alias, entry.shorthash) == (
        "x__00.safetensors",
        "x__00",
        "12" * 6,
    )
    assert modules.tasks[0].prompt == "a cat <lora:x__00:0.5:1>"
    known = modules.networks
    assert known.available_networks == known.available_network_aliases == {"mine": "of the user"}
    assert known.available_network_hash_lookup == {}
    wanted = 'a cat <lora:x:0.5:1>\nSteps: 1, Lora hashes: "x: 12"'
    assert result.parameters == wanted, "what the user can send to txt2img"


def test_a_picture_that_becomes_nan_is_the_adapters_fault_and_leaves_the_host_as_it_was(
    modules: Modules,
) -> None:
    def break_off() -> None:
        raise sys.modules["modules"].devices.NansException("All NaNs. This could be. Use --x.")

    modules.opts.sd_lora = "mine"
    modules.meanwhile = break_off
    with pytest.raises(FormatError, match=r"^the host broke off: All NaNs$"):
        drawn()
    assert modules.opts.sd_lora == "mine"


def test_comments_in_a_prompt_are_left_out_as_the_host_leaves_them_out(modules: Modules) -> None:
    drawn(prompt="a cat # a dog")
    modules.opts.enable_prompt_comments = True
    drawn(prompt="a cat # a dog")
    assert [task.prompt for task in modules.tasks] == ["a cat # a dog", "a cat "]


def test_the_settings_of_the_host_alone_reach_its_task(modules: Modules) -> None:
    extra = (("vae", "soft.pt [0123456789]"), ("hires_fix", "1.5 Latent 0.6"))
    drawn(extra=extra)
    (task,) = modules.tasks
    assert (task.enable_hr, task.hr_scale, task.hr_upscaler) == (True, 1.5, "Latent")
    assert task.denoising_strength == 0.6
    assert task.override_settings == {"sd_vae": "soft.pt"}
    assert modules.opts.sd_vae == "Automatic"


def test_programs_are_started_only_where_the_host_allows_it(modules: Modules) -> None:
    assert not WebuiHost().may_start_programs(), "a host that does not say"
    for refused in (True, False):
        sys.modules["modules"].shared.cmd_opts.disable_extension_access = refused
        assert WebuiHost().may_start_programs() is not refused
