"""`lycoris-ext ema` against the running average of the paper, and against wrong sets of files."""

from __future__ import annotations

import json
from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.cli import main
from lycoris_ext.errors import ConfigError, DataError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.tools.ema import METADATA, UNIFORM, average, gamma_of, weights_of

SIGMAS = st.floats(0.001, UNIFORM)


@given(SIGMAS)
def test_gamma_solves_the_equation_of_the_paper(sigma):
    # Karras et al. 2024, equation 126: the cubic whose largest root is gamma.
    gamma, t = gamma_of(sigma), sigma**-2
    terms = (gamma**3, 7 * gamma**2, (16 - t) * gamma, 12 - t)
    assert gamma >= 0
    assert sum(terms) == pytest.approx(0, abs=1e-11 * sum(map(abs, terms)) + 1e-13 * t)


@given(SIGMAS, st.integers(1, 60), st.floats(0.5, 1e4))
def test_at_equal_distances_the_weights_are_those_of_the_running_average(sigma, number, distance):
    gamma = gamma_of(sigma)
    running = torch.zeros(number, dtype=torch.float64)
    for t in range(1, number + 1):
        beta = (1 - 1 / t) ** (gamma + 1)
        running *= beta
        running[t - 1] += 1 - beta
    weights = weights_of([distance * (t + 1) for t in range(number)], sigma)
    assert weights == pytest.approx(running.tolist(), rel=1e-8, abs=1e-15)
    assert sum(weights) == pytest.approx(1, abs=1e-12)


@given(SIGMAS, st.lists(st.integers(1, 10**6), min_size=3, max_size=20, unique=True))
def test_a_checkpoint_that_is_missing_gives_its_weight_to_the_next_one(sigma, steps):
    steps = sorted(steps)
    every, fewer = weights_of(steps, sigma), weights_of(steps[1:], sigma)
    assert fewer[0] == pytest.approx(every[0] + every[1], rel=1e-9, abs=1e-15)
    assert fewer[1:] == pytest.approx(every[2:], rel=1e-12, abs=0)


def test_the_widest_average_weighs_all_steps_the_same():
    assert weights_of([10, 30, 40], 1 / sqrt(12)) == pytest.approx([0.25, 0.5, 0.25])


@pytest.mark.parametrize("sigma", [0.0, -0.1, 0.2888, 1.0, float("nan"), float("inf")])
def test_a_sigma_without_a_profile_is_refused(sigma):
    with pytest.raises(ConfigError, match="no relative width"):
        gamma_of(sigma)


def _checkpoint(path, step, seed=0, rank=4, alpha=2.0, dtype=torch.float16, layer="mid", **more):
    generator = torch.Generator().manual_seed(seed + (step or 0))
    name = f"lora_unet_{layer}_block_attentions_0_proj_in"
    tensors = {
        f"{name}.lora_up.weight": torch.randn(6, rank, generator=generator),
        f"{name}.lora_down.weight": torch.randn(rank, 5, generator=generator),
        f"{name}.alpha": torch.tensor(alpha),
    }
    metadata = {"ss_session_id": "7", "ss_output_name": "cat", **more}
    if step is not None:
        metadata["ss_steps"] = str(step)
    tensors = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    save_adapter(path, AdapterState(tensors, metadata))
    return path


def test_the_average_is_the_weighted_sum_in_float64(tmp_path, capsys):
    names = {"cat-000300": 300, "cat-000100": 100, "cat": 1000}
    files = [_checkpoint(tmp_path / f"{name}.safetensors", step) for name, step in names.items()]
    before = [file.read_bytes() for file in files]
    assert main(["ema", *map(str, files), "--sigma", "0.15"]) == 0
    told = capsys.readouterr()
    made = load_adapter(tmp_path / "cat-ema-0.15.safetensors")
    ordered = [load_adapter(files[index]) for index in (1, 0, 2)]
    weights = weights_of([100, 300, 1000], 0.15)
    for key, tensor in made.tensors.items():
        terms = [w * s.tensors[key].double() for w, s in zip(weights, ordered, strict=True)]
        direct = sum(terms).to(torch.float16)
        assert tensor.dtype == torch.float16 and torch.equal(tensor, direct), key
    assert [file.read_bytes() for file in files] == before
    assert made.metadata["ss_output_name"] == "cat" and made.metadata["ss_steps"] == "1000"
    assert json.loads(made.metadata[METADATA]) == {
        "sigma": 0.15,
        "files": ["cat-000100.safetensors", "cat-000300.safetensors", "cat.safetensors"],
        "steps": [100, 300, 1000],
        "weights": pytest.approx(weights),
    }
    check = made.hash_check()
    assert check is not None and check.agrees
    assert "written: " in told.out and told.err == ""


def test_an_average_never_overwrites_a_file(tmp_path, capsys):
    files = [_checkpoint(tmp_path / f"{step}.safetensors", step) for step in (1, 2)]
    before = files[1].read_bytes()
    for output in (files[1], tmp_path / "2"):
        assert main(["ema", *map(str, files), "--sigma", "0.1", "--output", str(output)]) != 0
        assert "not overwritten" in capsys.readouterr().err
    assert files[1].read_bytes() == before


def test_all_files_that_do_not_go_together_are_told_at_once(tmp_path):
    last = _checkpoint(tmp_path / "last.safetensors", 9)
    wrong = {
        "rank": _checkpoint(tmp_path / "rank.safetensors", 1, rank=3),
        "layer": _checkpoint(tmp_path / "layer.safetensors", 2, layer="down"),
        "alpha": _checkpoint(tmp_path / "alpha.safetensors", 3, alpha=1.0),
    }
    with pytest.raises(FormatError) as told:
        average([last, *wrong.values()], 0.1)
    text = str(told.value)
    assert len(told.value.parts) == 3 and all(str(file) in text for file in wrong.values())
    assert "(3, 5), not (4, 5)" in text and "lacks 3 tensors" in text and "alpha 1" in text


def test_files_that_cannot_be_read_are_told_at_once(tmp_path):
    good = _checkpoint(tmp_path / "good.safetensors", 1)
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    with pytest.raises(DataError) as told:
        average([good, empty, tmp_path / "none.safetensors"], 0.1)
    assert len(told.value.parts) == 2


def test_two_files_of_one_step_are_refused(tmp_path):
    files = [_checkpoint(tmp_path / f"{name}.safetensors", 5) for name in "ab"]
    with pytest.raises(DataError, match="after step 5"):
        average(files, 0.1)


@pytest.mark.parametrize("names", [["a"], ["a", "a"]])
def test_fewer_than_two_different_files_are_refused(names, tmp_path):
    for name in names:
        _checkpoint(tmp_path / f"{name}.safetensors", 5)
    with pytest.raises(ConfigError, match="different checkpoints"):
        average([tmp_path / f"{name}.safetensors" for name in names], 0.1)


def test_without_recorded_steps_the_given_order_counts(tmp_path):
    files = [
        _checkpoint(tmp_path / "b.safetensors", None, seed=1),
        _checkpoint(tmp_path / "a.safetensors", 40, seed=2),
    ]
    made = average(files, 0.1)
    assert made.files == files and made.steps == [1, 2]
    assert "b.safetensors" in made.notes[0]


def test_files_of_several_runs_are_noted(tmp_path):
    files = [
        _checkpoint(tmp_path / f"{step}.safetensors", step, ss_session_id=str(step))
        for step in (1, 2)
    ]
    assert "several runs" in average(files, 0.1).notes[0]
