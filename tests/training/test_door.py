"""What doctor and init promise is what train does, and a run without room is refused early."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lycoris_ext import cli
from lycoris_ext.config import OptionSource, build_config, read_config
from lycoris_ext.errors import EnvironmentFault, LycorisExtError
from lycoris_ext.formats import load_adapter
from lycoris_ext.runs import state
from lycoris_ext.training import run as run_module
from lycoris_ext.training import train as recipe
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.rehearsal import rehearse
from lycoris_ext.training.terminal import train_in_terminal
from tests.tiny_pictures import write_picture


class Started(Exception):
    """The run has passed its door."""


def starts(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Train, but stop at the first step."""

    def stop(*_: object) -> None:
        raise Started

    monkeypatch.setattr(recipe, "loop", stop)
    try:
        train_in_terminal(config)
    except Started:
        return True
    except LycorisExtError:
        return False
    raise AssertionError("the run ended")


def leave_alone(pictures: Path) -> None: ...


def without_caption(pictures: Path) -> None:
    (pictures / "2_shapes" / "03.txt").unlink()


def damaged(pictures: Path) -> None:
    (pictures / "2_shapes" / "02.png").write_bytes(b"\x89PNG nothing")


def in_another_encoding(pictures: Path) -> None:
    (pictures / "2_shapes" / "01.txt").write_bytes("高达".encode("gbk"))


def stray(pictures: Path) -> None:
    write_picture(pictures / "stray.png", 9)


def empty(pictures: Path) -> None:
    shutil.rmtree(pictures / "2_shapes")


def one_empty_caption(pictures: Path) -> None:
    (pictures / "2_shapes" / "00.txt").write_text(" \n", encoding="utf-8")


MESSES = [
    leave_alone,
    without_caption,
    damaged,
    in_another_encoding,
    stray,
    empty,
    one_empty_caption,
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"allow_missing_captions": True},
    {"clip_skip": 9},
    {"min_bucket_reso": 512},
    {"resolution": 36, "bucket_reso_steps": 4},
    {"pretrained_model_name_or_path": "not/there"},
    {"network_weights": "not/there.safetensors"},
    {"base_weights": ["not/there.safetensors"]},
    {"include": ["nothing_is_called_so"], "preset": "none"},
    {"zero_terminal_snr": True},
    {"v_parameterization": True, "zero_terminal_snr": True},
    {"mixed_precision": "fp16"},
    {"device": "cuda"},
    {"sample_prompts": ["no_file.txt"], "sample_every_n_steps": 1},
    {"sample_prompts": ["a cat --s many"], "sample_every_n_steps": 1},
    {"vae": "not/there"},
    {"vae": __file__},
    {"v2": True},
    {"preset": "not_there.toml"},
    {"device": "cuda:9"},
    {"network_dim": 100_000},
    {"cache_latents_to_disk": True, "cache_dir": __file__},
    {"cache_dir": __file__},
    {"log_with": "tensorboard", "logging_dir": __file__},
]


@pytest.fixture
def config(tiny_base: Path, pictures: Path, tmp_path: Path) -> Any:
    def make(**options: Any) -> TrainConfig:
        values = {
            "pretrained_model_name_or_path": str(tiny_base),
            "train_data_dir": str(pictures),
            "output_dir": str(tmp_path / "out"),
            "output_name": "mine",
            "optimizer_type": "AdamW",
            "max_train_steps": 2,
            **options,
        }
        return build_config([OptionSource("test", values)])

    return make


@pytest.mark.parametrize("mess", MESSES, ids=lambda mess: mess.__name__)
@pytest.mark.parametrize("options", [{}, {"allow_missing_captions": True}], ids=["", "allowed"])
def test_a_folder_is_promised_to_train_exactly_if_it_trains(
    config: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch, mess: Any, options: Any
) -> None:
    mess(pictures)
    promised = rehearse(config(**options)).can_start
    assert promised is starts(config(**options), monkeypatch)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "plain")
def test_a_config_is_promised_to_train_exactly_if_it_trains(
    config: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    try:
        made = config(**options)
    except LycorisExtError:
        return  # both read the config before anything else
    promised = rehearse(made).can_start
    assert promised is starts(made, monkeypatch)


def test_a_finished_run_is_promised_to_start_again_and_one_with_other_options_to_be_refused(
    config: Any,
) -> None:
    adapter = train_in_terminal(config())
    assert rehearse(config()).can_start
    changed = rehearse(config(learning_rate=1.0)).faults[0]
    assert "learning_rate was 0.0002, is 1.0" in changed.what
    assert rehearse(config(max_train_steps=3)).can_start
    assert rehearse(config(max_train_steps=3, overwrite=True)).can_start
    adapter.unlink()
    assert "is finished" in rehearse(config()).faults[0].what


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_written(
    config: Any, tmp_path: Path, pictures: Path
) -> None:
    without_caption(pictures)
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    wrong = config(
        pretrained_model_name_or_path="not/there",
        vae="nowhere",
        network_weights="no.safetensors",
        base_weights=["none1.safetensors", "none2.safetensors"],
        preset="none.toml",
        sample_prompts=["none.txt"],
        sample_every_n_steps=1,
        device="gpu9",
        output_dir=str(file / "out"),
        log_with="tensorboard",
        logging_dir=str(file / "logs"),
        cache_latents_to_disk=True,
        cache_dir=str(file / "cache"),
    )
    with pytest.raises(LycorisExtError) as caught:
        train_in_terminal(wrong)
    parts = [str(part) for part in caught.value.parts]
    said = [part for part in parts if "TensorBoard's writer" not in part]  # it may be installed
    named = ("not/there", "nowhere", "no.safetensors", "none1", "none2", "none.toml", "none.txt")
    for part in (*named, "gpu9", "output_dir", "logging_dir", "cache_dir", "no caption"):
        assert sum(part in each for each in said) == 1, part
    assert len(said) == 12
    assert [str(part) for part in rehearse(wrong).faults] == parts[:-1]
    assert file.read_text("utf-8") == ""


def test_an_unset_resolution_is_that_of_the_base_and_is_recorded(config: Any) -> None:
    path = train_in_terminal(config())
    metadata = load_adapter(path).metadata
    assert metadata["ss_resolution"] == "(32, 32)"
    assert "resolution = 32" in path.with_suffix(".toml").read_text("utf-8")
    assert read_config(path.with_suffix(".toml")).values["resolution"] == 32
    # The decided value is compared, too.
    assert rehearse(config(max_train_steps=3, resolution=32)).can_start
    assert not rehearse(config(max_train_steps=3, resolution=48)).can_start


def test_a_disk_without_room_is_refused_before_the_first_step_with_both_sizes(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=123_000))
    with pytest.raises(EnvironmentFault, match=r"123.0 kB are free, and this run writes [\d.]+ "):
        train_in_terminal(config())
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("every", [1, 1000])
def test_if_the_state_cannot_be_written_the_adapter_lies_there(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    def full(*_: object) -> None:
        raise EnvironmentFault("cannot be written (No space left on device)")

    monkeypatch.setattr(run_module, "save_state", full)
    assert state.save_state is not full
    with pytest.raises(EnvironmentFault, match="No space left"):
        train_in_terminal(config(save_state_every_n_steps=every))
    name = "mine-step-1.safetensors" if every == 1 else "mine.safetensors"
    assert load_adapter(tmp_path / "out" / name).tensors


def test_a_missing_package_is_named_and_the_pictures_are_looked_at_nevertheless(
    config: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_caption(pictures)
    monkeypatch.setitem(sys.modules, "diffusers.utils", None)
    assert "LX009" in {finding.code for finding in rehearse(config()).findings}
    found = rehearse(config(allow_missing_captions=True))
    assert (found.missing_package, found.faults, found.can_start) == ("diffusers", (), False)


def test_doctor_says_the_same_as_train(
    tiny_base: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.toml"
    places = {
        "pretrained_model_name_or_path": str(tiny_base),
        "train_data_dir": str(pictures),
        "output_dir": str(tmp_path / "out"),
        "clip_skip": 7,
        "optimizer_type": "AdamW",
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in places.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert cli.main(["doctor", str(path)]) == 4
    said = capsys.readouterr().out
    assert "clip_skip is 7, and the text encoder of" in said and "cannot start yet" in said
    assert cli.main(["train", str(path)]) == 2
    assert "clip_skip is 7, and the text encoder of" in capsys.readouterr().err
