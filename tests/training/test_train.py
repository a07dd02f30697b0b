"""The recipe `train` on a small base: what it asks of base and watcher, and how it goes on."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.errors import ConfigError, MemoryFault, RunInterrupted
from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.network import load_network
from lycoris_ext.runs.events import read_events
from lycoris_ext.training import door
from lycoris_ext.training import train as recipe
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run
from lycoris_ext.training.run_name import MODES
from lycoris_ext.training.watcher import Watcher
from tests.schedules import stable_diffusion


def train(config: TrainConfig, base: Base, told: Watcher, mode: str = MODES[0]) -> Path:
    return recipe.train(config, base, told, mode)


class Base:
    """A base model whose denoiser is a convolution and whose encoded captions are numbers."""

    kind, device, latent_factor, reads_first = "sd1", torch.device("cpu"), 4, True

    def __init__(self, mark: str = "a") -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.unet = nn.Sequential(nn.Conv2d(4, 4, 1)).requires_grad_(False)
        self.mark, self.asked = mark, []
        self.is_prepared = False

    def token_limit(self) -> None:
        return None

    def picture_size(self) -> int:
        return 32

    def load(self) -> None:
        pass

    def targets(self) -> Mapping[str, nn.Module]:
        return {"model": self.unet}

    def fingerprint(self) -> str:
        return self.mark

    @contextmanager
    def prepared(self, gradient_checkpointing: bool) -> Iterator[None]:
        self.is_prepared = True
        yield
        self.is_prepared = False

    def schedule(self) -> NoiseSchedule:
        return stable_diffusion()

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        assert not self.is_prepared
        small = nn.functional.avg_pool2d(pixels, 4)
        mean = torch.cat([small, small[:, :1]], dim=1)
        return mean, torch.full_like(mean, 0.1)

    def identity(self, part: str) -> str:
        return self.mark + part

    def merge(self, state: AdapterState, strength: float) -> None:
        load_network(state, self.targets()).merge(strength, keep=False)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        self.asked += [(caption, self.is_prepared) for caption in captions]
        return torch.tensor([len(caption) / 100.0 for caption in captions])

    def join(self, texts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(texts))

    def to_tensors(self, text: Tensor) -> dict[str, Tensor]:
        return {"number": text}

    def from_tensors(self, tensors: dict[str, Tensor]) -> Tensor:
        return tensors["number"]

    def release_text_encoders(self) -> None:
        self.asked.append(("released", self.is_prepared))

    def predict(self, noisy: Tensor, timesteps: Tensor, text: Tensor, size_ids: Any) -> Tensor:
        assert len(text) == len(size_ids) == len(noisy) and self.is_prepared
        answer: Tensor = self.unet(noisy) + text.view(-1, 1, 1, 1)
        return answer


class Told(Watcher):
    def __init__(self, stop_after: int = 99, fail_at: int = 99, draw_fails: bool = False) -> None:
        self.losses: list[float] = []
        self.drawn: list[int] = []
        self.stop_after, self.fail_at, self.draw_fails = stop_after, fail_at, draw_fails

    def after_step(self, run: Run, report: StepReport) -> None:
        self.losses.append(report.loss)
        if run.step == self.fail_at:
            raise KeyError("the host's own")

    def draw(self, run: Run) -> Sequence[str]:
        assert not run.network.training
        self.drawn.append(run.step)
        if self.draw_fails:
            raise KeyError("the host's own")
        return [f"picture {run.step}"]

    def stop_asked(self) -> bool:
        return len(self.losses) >= self.stop_after


@pytest.fixture
def config(pictures: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> TrainConfig:
        options = {
            "pretrained_model_name_or_path": "a host's",
            "train_data_dir": str(pictures),
            "output_dir": str(tmp_path / "out"),
            "output_name": "mine",
            "resolution": 32,
            "network_dim": 2,
            "network_train_unet_only": True,
            "optimizer_type": "AdamW",
            "learning_rate": 1e-2,
            "max_train_steps": 4,
            "device": "cpu",
        }
        return build_config([OptionSource("test", {**options, **changes})])

    return make


def steps(folder: Path, name: str = "mine") -> list[int]:
    events = read_events(folder / f"{name}.events.jsonl")
    return [event["step"] for event in events if event["event"] == "step"]


def test_out_of_memory_before_the_first_step_says_what_to_change(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(door, "examine", fail)
    with pytest.raises(MemoryFault, match="gradient_checkpointing = true"):
        train(config(), Base(), Told())


def test_a_run_encodes_each_caption_once_and_reports_each_step_once(
    config: Any, tmp_path: Path
) -> None:
    base, told = Base(), Told()
    path = train(config(sample_every_n_steps=2, sample_at_first=True), base, told)
    assert path == tmp_path / "out" / "mine.safetensors"
    assert len(told.losses) == 4 and told.drawn == [0, 2, 4]
    assert steps(path.parent) == [1, 2, 3, 4]
    # Captions are read while the device is free of the denoiser, which may need the room.
    assert len(base.asked) == 6 and not any(prepared for _, prepared in base.asked)
    assert load_adapter(path).metadata["ss_sd_model_name"] == "a host's"


def test_changing_captions_are_encoded_in_the_step_that_shows_them(config: Any) -> None:
    base = Base()
    train(config(shuffle_caption=True), base, Told())
    assert base.asked and all(prepared for _, prepared in base.asked)


def test_a_full_cache_of_captions_does_not_change_the_adapter(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"train_batch_size": 2, "shuffle_caption": True}
    plain = train(config(**options), Base(), Told())
    monkeypatch.setattr(recipe, "MAX_KEPT", 1)
    few = train(config(**options, output_name="few"), Base(), Told())
    wanted, found = load_adapter(plain).tensors, load_adapter(few).tensors
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


@pytest.mark.parametrize(
    ("told", "error", "done"),
    [
        (Told(stop_after=1), RunInterrupted, 2),
        (Told(fail_at=2), KeyError, 2),
        (Told(fail_at=4), KeyError, 4),
        (Told(draw_fails=True), KeyError, 3),
    ],
    ids=["asked", "after a step", "after the last step", "while drawing"],
)
def test_a_run_that_stopped_or_failed_goes_on_bit_for_bit(
    config: Any, tmp_path: Path, told: Told, error: type, done: int
) -> None:
    whole = train(config(output_name="whole"), Base(), Told())
    with pytest.raises(error):
        train(config(sample_every_n_steps=3), Base(), told)
    out = tmp_path / "out"
    assert steps(out) == list(range(1, done + 1))
    load_adapter(out / f"mine-step-{done}.safetensors")
    again = train(config(), Base(), Told())
    assert again == out / "mine.safetensors" and steps(out) == [1, 2, 3, 4]
    wanted, found = load_adapter(whole).tensors, load_adapter(again).tensors
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


@pytest.mark.parametrize(
    "change", [{"learning_rate": 2e-2}, {"max_train_steps": 1}, {"seed": 1}], ids=str
)
def test_a_run_with_other_options_takes_another_name(config: Any, change: dict[str, Any]) -> None:
    with pytest.raises(RunInterrupted):
        train(config(), Base(), Told(stop_after=1))
    assert train(config(**change), Base(), Told()).stem == "mine-2"


def test_a_run_on_another_base_takes_another_name(config: Any) -> None:
    with pytest.raises(RunInterrupted):
        train(config(), Base(), Told(stop_after=1))
    assert train(config(), Base("b"), Told()).stem == "mine-2"


def test_a_run_from_other_network_weights_takes_another_name(config: Any, tmp_path: Path) -> None:
    first = train(config(output_name="first"), Base(), Told())
    second = train(config(output_name="second", seed=1), Base(), Told())
    start = tmp_path / "start.safetensors"
    start.write_bytes(first.read_bytes())
    with pytest.raises(RunInterrupted):
        train(config(network_weights=str(start)), Base(), Told(stop_after=1))
    start.write_bytes(second.read_bytes())
    assert train(config(network_weights=str(start)), Base(), Told()).stem == "mine-2"
    start.write_bytes(first.read_bytes())
    with pytest.raises(RunInterrupted):
        train(config(network_weights=str(start)), Base(), Told(stop_after=1), "new name")
    assert train(config(network_weights=str(start)), Base(), Told()).stem == "mine-3"


def test_the_metadata_tell_algorithm_and_rank_of_a_network_from_a_file(
    config: Any, tmp_path: Path
) -> None:
    first = train(config(output_name="first", algo="lora", network_dim=3), Base(), Told())
    start = {"network_weights": str(first), "dim_from_weights": True}
    metadata = load_adapter(train(config(**start), Base(), Told())).metadata
    assert metadata["ss_network_dim"] == "3"
    assert json.loads(metadata["ss_network_args"])["algo"] == "lora"
    with pytest.raises(RunInterrupted):
        train(config(**start, output_name="third"), Base(), Told(stop_after=1))
    assert train(config(**start, output_name="third"), Base(), Told()).stem == "third"


def test_a_continued_run_uses_its_first_number_of_threads_and_restores_the_hosts(
    config: Any,
) -> None:
    seen: list[int] = []

    class Counting(Told):
        def after_step(self, run: Run, report: StepReport) -> None:
            super().after_step(run, report)
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(RunInterrupted):
            train(config(), Base(), Counting(stop_after=1))
    finally:
        torch.set_num_threads(before)
    seen.clear()
    train(config(), Base(), Counting())
    assert set(seen) == {before + 1} and torch.get_num_threads() == before


def test_each_mode_for_a_taken_name_gives_the_name_that_it_promises(config: Any) -> None:
    def name(mode: str, **more: Any) -> str:
        return train(config(**more), Base(), Told(), mode).stem

    assert [name("new name"), name("new name")] == ["mine", "mine-2"]
    assert name("overwrite") == name("continue") == "mine"
    with pytest.raises(ConfigError, match="this run is finished at step 4, and 2 are asked"):
        name("continue", max_train_steps=2)
    assert name("continue", max_train_steps=5) == "mine"
    with pytest.raises(ConfigError, match="unknown mode 'perhaps'"):
        name("perhaps")


def test_a_resolution_that_does_not_fit_the_autoencoder_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match="30x30 pixels are no multiple of the base model's 4"):
        train(config(resolution=30, enable_bucket=False), Base(), Told())


def test_scale_weight_norms_is_refused_for_a_rotation(config: Any) -> None:
    with pytest.raises(ConfigError, match="a norm cannot be limited"):
        train(config(algo="diag-oft", scale_weight_norms=1.0), Base(), Told())


def test_base_weights_are_merged_into_any_base(config: Any) -> None:
    first = train(config(output_name="first", learning_rate=0.5), Base(), Told())
    plain, on_top = Told(), Told()
    train(config(output_name="plain"), Base(), plain)
    train(config(output_name="top", base_weights=[str(first)]), Base(), on_top)
    assert plain.losses != on_top.losses


def test_caches_on_disk_serve_any_base(config: Any, tmp_path: Path) -> None:
    kept = {"cache_latents_to_disk": True, "cache_text_encoder_outputs_to_disk": True}
    plain = train(config(output_name="plain"), Base(), Told())
    first = train(config(output_name="first", **kept), Base(), Told())
    base = Base()
    base.encode_pixels = base.encode_text = None  # type: ignore[method-assign,assignment]
    second = train(config(output_name="second", **kept), base, Told())
    assert list((tmp_path / "out" / "cache").rglob("*.tensors"))
    wanted = load_adapter(plain).tensors
    for path in (first, second):
        found = load_adapter(path).tensors
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_drawn_pictures_are_written_to_the_events(config: Any, tmp_path: Path) -> None:
    train(config(sample_every_n_steps=2), Base(), Told())
    events = read_events(tmp_path / "out" / "mine.events.jsonl")
    drawn = [event["files"] for event in events if event["event"] == "pictures"]
    assert drawn == [["picture 2"], ["picture 4"]]


def test_curves_for_tensorboard_are_written_on_any_base(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int | None = None) -> None:
            assert Path(folder) == tmp_path / "curves" / "mine"

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, step))

        def close(self) -> None:
            told.append(("closed", 0))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    train(config(log_with="tensorboard", logging_dir=str(tmp_path / "curves")), Base(), Told())
    assert [step for name, step in told if name == "loss/current"] == [1, 2, 3, 4]
    assert told[-1] == ("closed", 0)


class Changing(Base):
    """A base whose fingerprint is of its weights as they are, like a host's."""

    def fingerprint(self) -> str:
        assert not self.is_prepared, "looking at all weights moves them off the device"
        return str(float(next(self.unet.parameters()).double().sum()))


def test_a_run_on_merged_adapters_goes_on_in_whatever_mode_it_was_begun(
    config: Any, tmp_path: Path
) -> None:
    first = train(config(output_name="first", learning_rate=0.5), Base(), Told())
    on_top = config(base_weights=[str(first)])
    for begun, continued in (("new name", "continue"), ("continue", "continue or new")):
        with pytest.raises(RunInterrupted):
            train(on_top, Changing(), Told(stop_after=1), begun)
        assert train(on_top, Changing(), Told(), continued).name == "mine.safetensors"
        for path in (tmp_path / "out").glob("mine*"):
            path.unlink()


def test_an_optimizer_that_cannot_be_saved_is_refused_after_its_first_step(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keeping(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["remembered"] = torch.float16
            return super().step(closure)

    build = recipe.build_optimizer
    monkeypatch.setattr(
        recipe, "build_optimizer", lambda *given: Keeping(build(*given).param_groups)
    )
    told = Told()
    with pytest.raises(ConfigError, match=r"could not be continued: .* torch.float16"):
        train(config(), Base(), told)
    assert told.losses == []
