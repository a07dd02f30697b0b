"""Whole short runs of algorithms that need something from the training step, such as timesteps."""

from __future__ import annotations

import pytest
import torch

from lycoris_ext.algorithms import tlora
from lycoris_ext.formats import load_adapter
from lycoris_ext.network import Network
from lycoris_ext.training import train as recipe


@pytest.mark.parametrize(
    ("algo", "ends"),
    [
        ("dylora", {"lora_up.weight", "lora_down.weight", "alpha"}),
        ("tlora", {"q_layer.weight", "p_layer.weight", "lambda_layer", "alpha"}),
        ("full", {"diff", "diff_b"}),
    ],
)
def test_dylora_tlora_and_full_train_together_with_normalisations(run, algo, ends):
    path = run(
        algo=algo,
        train_norm=True,
        preset="unet-transformer-only",
        **({"block_size": 2} if algo == "dylora" else {}),
        train_batch_size=2,
        gradient_checkpointing=True,
        max_train_steps=2,
    )
    tensors = load_adapter(path).tensors
    assert {key.split(".", 1)[1] for key in tensors} == ends | {"w_norm", "b_norm"}
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert any(tensor.any() for key, tensor in tensors.items() if key.endswith("w_norm"))


def test_two_equal_runs_of_dylora_give_equal_tensors(run):
    files = [load_adapter(run(algo="dylora", block_size=1, output_name=name)) for name in "ab"]
    assert all(
        torch.equal(files[0].tensors[key], files[1].tensors[key]) for key in files[0].tensors
    )


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ({}, "lengths of input channels, which"),
        ({"wd_on_output": True}, "lengths of output channels (wd_on_output), which"),
    ],
)
def test_a_run_names_the_axis_of_dora_once(run, capsys, axis, said):
    run(algo="loha", dora_wd=True, max_train_steps=1, **axis)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "DoRA" in line]
    assert said in line and "ComfyUI" in line


def test_a_run_without_dora_does_not_mention_it(run, capsys):
    run(algo="loha", max_train_steps=1)
    assert "DoRA" not in capsys.readouterr().err


def test_sample_pictures_of_tlora_are_drawn_with_all_ranks(run, monkeypatch):
    drawing, asked = [], {True: 0, False: 0}

    def counted(timesteps, rank):
        asked[bool(drawing)] += 1
        return ranks_at(timesteps, rank)

    def drawn(*given):
        drawing.append(True)
        draw(*given)
        drawing.clear()

    ranks_at, draw = tlora.ranks_at, recipe.draw
    monkeypatch.setattr(tlora, "ranks_at", counted)
    monkeypatch.setattr(recipe, "draw", drawn)
    path = run(algo="tlora", max_train_steps=2, sample_every_n_steps=1, sample_prompts=["a --s 2"])
    assert asked[False] > 0 and asked[True] == 0
    assert len(list(path.parent.rglob("*.png"))) == 2


def test_each_step_hands_tlora_the_timesteps_of_its_samples(run, monkeypatch):
    told = []
    monkeypatch.setattr(Network, "set_timesteps", lambda self, timesteps: told.append(timesteps))
    run(algo="tlora", train_batch_size=2, max_train_steps=3)
    assert [tuple(timesteps.shape) for timesteps in told] == [(2,)] * 3
    assert all(0 <= int(value) < 1000 for timesteps in told for value in timesteps)
    assert len({int(value) for timesteps in told for value in timesteps}) > 1
