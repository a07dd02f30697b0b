"""A finished, stopped or damaged run: used again, continued, or refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.formats.sealed import sealed, unsealed
from lycoris_ext.runs.state import load_state
from lycoris_ext.training import train as recipe
from lycoris_ext.training.terminal import train_in_terminal
from tests.tiny_pictures import write_picture


def run(options, **changes):
    return train_in_terminal(build_config([OptionSource("test", {**options, **changes})]))


def test_a_finished_run_is_used_again_and_never_overwritten(options, capsys):
    path = run(options)
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    assert run(options) == path and path.stat().st_mtime_ns == written
    assert "it is used again as it is" in capsys.readouterr().err
    path.write_bytes(before + b"changed")
    with pytest.raises(ConfigError, match="finished at step 4, and 4 are asked") as caught:
        run(options)
    assert "raise max_train_steps" in str(caught.value) and "--overwrite" in str(caught.value)
    path.write_bytes(before)
    with pytest.raises(DataError):
        run(options, overwrite=True, pretrained_model_name_or_path="not/there")
    assert path.read_bytes() == before
    run(options, overwrite=True, seed=3)
    assert path.read_bytes() != before


def test_a_finished_run_can_be_trained_longer(options, tmp_path):
    whole = run(options, output_dir=str(tmp_path / "whole"), max_train_steps=6)
    run(options)
    assert run(options, max_train_steps=6).read_bytes() == whole.read_bytes()


def test_a_result_without_a_state_is_not_overwritten(options):
    path = run(options)
    path.with_name("test.state").unlink()
    with pytest.raises(DataError, match="exist already"):
        run(options)


def test_a_run_is_not_continued_with_other_options(options, tmp_path):
    run(options)
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.001, is 0\.01") as caught:
        run(options, learning_rate=1e-2, max_train_steps=8)
    assert "stands at step 4 with other options" in str(caught.value)


def test_a_run_is_not_continued_with_other_pictures(options, pictures):
    run(options)
    write_picture(pictures / "2_shapes" / "00.png", number=50)
    with pytest.raises(DataError, match="pictures or captions changed") as caught:
        run(options, max_train_steps=8)
    said = "reached step 4:\n  2_shapes/00.png: the picture changed\n  1 picture changed\n"
    assert said in str(caught.value)
    assert "put them back" in str(caught.value)


@pytest.mark.parametrize("left", [b"", b"damaged", None])
def test_a_run_whose_list_of_pictures_is_lost_still_notices_other_pictures(options, pictures, left):
    listed = run(options).with_name("test.dataset.json.gz")
    listed.unlink() if left is None else listed.write_bytes(left)
    write_picture(pictures / "2_shapes" / "00.png", number=50)
    with pytest.raises(DataError, match=r"since this run reached step 4\n"):
        run(options, max_train_steps=8)


def test_a_run_is_not_continued_on_another_base(options, tmp_path):
    from tests.tiny_pipeline import write_tiny_folder

    run(options)
    other = write_tiny_folder(tmp_path / "other", seed=9)
    with pytest.raises(DataError, match="not those this run was started with"):
        run(options, max_train_steps=8, pretrained_model_name_or_path=str(other))


def test_a_run_continued_under_another_torch_says_that_it_is_not_exact(options, tmp_path, capsys):
    path = run(options)
    network_state = load_state(path.with_name("test.state"))
    assert network_state.progress.threads == torch.get_num_threads()
    changed = dataclasses.replace(network_state.progress, torch_version="1.0")
    from safetensors.torch import load, save

    tensors = load(unsealed(path.with_name("test.state").read_bytes()))
    header = json.loads(bytes(tensors["header"].tolist()))
    header["progress"] = dataclasses.asdict(changed)
    raw = bytearray(json.dumps(header).encode())
    tensors["header"] = torch.frombuffer(raw, dtype=torch.uint8)
    path.with_name("test.state").write_bytes(sealed(save(tensors)))
    run(options, max_train_steps=5)
    said = [line for line in capsys.readouterr().err.splitlines() if "bit for bit" in line]
    assert said == [
        "not bit for bit the same as without the stop: torch was 1.0, is " + torch.__version__
    ]


def test_a_damaged_state_costs_the_steps_since_the_one_before_and_nothing_else(
    options, tmp_path, monkeypatch, capsys
):
    longer = {"max_train_steps": 6, "save_state_every_n_steps": 1}
    whole = run(options, output_dir=str(tmp_path / "whole"), **longer)
    assert not list((tmp_path / "whole").glob("*-before"))
    step, steps = recipe.train_step, []

    def killed(*arguments, **more):
        steps.append(arguments)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return step(*arguments, **more)

    monkeypatch.setattr(recipe, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(options, **longer)
    monkeypatch.setattr(recipe, "train_step", step)
    path = tmp_path / "out" / "test.state"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    capsys.readouterr()
    assert run(options, **longer).read_bytes() == whole.read_bytes()
    told = capsys.readouterr().err
    assert "the state of the run is damaged" in told and "continuing after step 3 of 6" in told
