"""Saving and restoring: byte for byte, and refusing what does not belong."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from lycoris_ext.errors import FormatError
from lycoris_ext.runs.state import Progress, load_state, restore, save_state
from lycoris_ext.training.optimizers import OptimizerConfig, build_optimizer
from lycoris_ext.training.step import optimizer_step

PROGRESS = Progress(
    step=5,
    batch_number=10,
    finished=False,
    config={"learning_rate": 2e-4, "include": [], "output_name": "ü"},
    dataset="d",
    base="b",
    torch_version="2",
    device="cpu",
    threads=1,
)


def build(kind):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(70, 70), nn.Linear(3, 2))
    config = OptimizerConfig(optimizer_type=kind, learning_rate=1e-2)
    groups = [{"params": list(network.parameters()), "lr": 1e-2, "name": "unet"}]
    return network, build_optimizer(groups, config)


def step(network, optimizer, number):
    generator = torch.Generator().manual_seed(number)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer_step(optimizer, 1.0, 1.0)


@pytest.mark.parametrize("kind", ["AdamW8bit", "AdamW"])
def test_a_restored_run_goes_on_bit_for_bit(tmp_path, kind):
    network, optimizer = build(kind)
    for number in range(5):
        step(network, optimizer, number)
    save_state(tmp_path / "s", PROGRESS, network, optimizer)
    for number in range(5, 9):
        step(network, optimizer, number)

    other, its_optimizer = build(kind)
    step(other, its_optimizer, 77)
    saved = load_state(tmp_path / "s")
    assert saved.progress == PROGRESS
    restore(saved, other, its_optimizer)
    for number in range(5, 9):
        step(other, its_optimizer, number)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        for key, value in optimizer.state[mine].items():
            restored = its_optimizer.state[theirs][key]
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, restored) and value.dtype == restored.dtype
            else:
                assert value == restored


def test_no_file_is_no_state(tmp_path):
    assert load_state(tmp_path / "nothing") is None


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_state_says_what_to_do(tmp_path, damage):
    network, optimizer = build("AdamW")
    path = tmp_path / "run.state"
    save_state(path, PROGRESS, network, optimizer)
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises(FormatError, match="damaged or of another version") as caught:
        load_state(path)
    assert "run.state" in str(caught.value) and "delete this file" in str(caught.value)


def test_a_state_of_another_network_is_refused(tmp_path):
    network, optimizer = build("AdamW")
    step(network, optimizer, 0)
    save_state(tmp_path / "s", PROGRESS, network, optimizer)
    saved = load_state(tmp_path / "s")
    smaller = nn.Sequential(nn.Linear(70, 70))
    with pytest.raises(FormatError, match="tensors of the network"):
        restore(saved, smaller, torch.optim.AdamW(smaller.parameters()))
    wider = nn.Sequential(nn.Linear(70, 71), nn.Linear(3, 2))
    with pytest.raises(FormatError, match=r"\(70, 70\) in the state and \(71, 70\)"):
        restore(saved, wider, torch.optim.AdamW(wider.parameters()))


def test_the_old_state_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    network, optimizer = build("AdamW")
    save_state(tmp_path / "s", PROGRESS, network, optimizer)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="No space left"):
        save_state(tmp_path / "s", dataclasses.replace(PROGRESS, step=6), network, optimizer)
    assert load_state(tmp_path / "s").progress.step == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
