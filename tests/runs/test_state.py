"""The state of a run is restored bit for bit, and states of other runs are refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from lycoris_ext.errors import FormatError
from lycoris_ext.runs import state
from lycoris_ext.runs.optimizer_state import pack, unpack
from lycoris_ext.runs.state import Progress, load_newest, load_state, restore, save_state
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


def paths(folder):
    return folder / "s", folder / "s-before"


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
    save_state(paths(tmp_path), PROGRESS, network, optimizer)
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
        assert_same(optimizer.state[mine], its_optimizer.state[theirs])
    for mine, theirs in zip(optimizer.param_groups, its_optimizer.param_groups, strict=True):
        assert_same({**mine, "params": ()}, {**theirs, "params": ()})


def assert_same(mine, theirs):
    """Assert equal values of equal types and dtypes in equal containers."""
    assert type(mine) is type(theirs)
    if isinstance(mine, torch.Tensor):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        assert torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (mine, theirs)))
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs)
        for key, value in mine.items():
            assert_same(value, theirs[key])
    elif isinstance(mine, (list, tuple)):
        assert len(mine) == len(theirs)
        for value, other in zip(mine, theirs, strict=True):
            assert_same(value, other)
    else:
        assert repr(mine) == repr(theirs)


def test_whatever_an_optimizer_keeps_comes_back_as_it_was(tmp_path):
    network, optimizer = build("AdamW")
    step(network, optimizer, 0)
    shared = torch.arange(3, dtype=torch.bfloat16)
    odd = {
        "none": None,
        "numbers": (1, 1.5, float("inf"), float("nan"), -0.0, 0.1 + 0.2, True),
        "nested": [{"tuple": (), "tensor": torch.tensor([1 + 2**40])}, [shared], "ü"],
        3: torch.zeros(0, 2, dtype=torch.float16),
    }
    optimizer.param_groups[0] |= {"d": 0.25, "odd": odd, "shared": shared}
    first = next(network.parameters())
    optimizer.state[first] |= {"codes": torch.arange(6, dtype=torch.uint8).view(2, 3).t(), "o": odd}
    optimizer.state["of no parameter"] = {"count": 7}
    save_state(paths(tmp_path), PROGRESS, network, optimizer)

    other, its_optimizer = build("AdamW")
    restore(load_state(tmp_path / "s"), other, its_optimizer)
    (mine,), (theirs,) = optimizer.param_groups, its_optimizer.param_groups
    assert_same({**mine, "params": ()}, {**theirs, "params": ()})
    assert theirs["odd"]["nested"][1][0] is theirs["shared"]  # one tensor in two places
    assert_same(optimizer.state[first], its_optimizer.state[next(other.parameters())])
    assert its_optimizer.state["of no parameter"] == {"count": 7}


def test_a_step_count_on_the_cpu_stays_there_and_moments_follow_their_parameter():
    """torch's Adam keeps its count of steps on the CPU; "meta" stands for a GPU."""
    network, optimizer = build("AdamW")
    step(network, optimizer, 0)
    packed, tensors = pack(optimizer, network)
    there = nn.Sequential(nn.Linear(70, 70, device="meta"), nn.Linear(3, 2, device="meta"))
    elsewhere = torch.optim.AdamW(there.parameters())
    unpack(packed, tensors, elsewhere, there)
    for entries in elsewhere.state.values():
        assert {key: value.device.type for key, value in entries.items()} == {
            "step": "cpu",
            "exp_avg": "meta",
            "exp_avg_sq": "meta",
        }


def test_a_missing_file_is_no_state(tmp_path):
    assert load_state(tmp_path / "nothing") is None


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_state_is_refused_with_a_remedy(tmp_path, damage):
    network, optimizer = build("AdamW")
    path = tmp_path / "run.state"
    save_state((path, tmp_path / "before"), PROGRESS, network, optimizer)
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises(FormatError, match="the state of the run is damaged") as caught:
        load_state(path)
    assert "run.state" in str(caught.value) and "--overwrite" in str(caught.value)


def test_a_state_of_an_older_version_is_refused_in_a_clear_sentence(tmp_path, monkeypatch):
    network, optimizer = build("AdamW")
    with monkeypatch.context() as patched:
        patched.setattr(state, "FORMAT", "lycoris_ext run state 1")
        patched.setattr(state, "sealed", lambda content: content)
        save_state((tmp_path / "run.state", tmp_path / "before"), PROGRESS, network, optimizer)
    with pytest.raises(FormatError) as caught:
        load_state(tmp_path / "run.state")
    text = str(caught.value)
    assert "another version of lycoris_ext wrote this state, as 'lycoris_ext run state 1'" in text
    assert "reads 'lycoris_ext run state 3'" in text and "run.state" in text
    assert "finish the run with the version that began it, choose another output_name" in text


def test_a_state_of_other_parameter_groups_is_refused(tmp_path):
    network, optimizer = build("AdamW")
    save_state(paths(tmp_path), PROGRESS, network, optimizer)
    weights, biases = ([p for p in network.parameters() if p.ndim == n] for n in (2, 1))
    apart = torch.optim.AdamW([{"params": weights}, {"params": biases}])
    with pytest.raises(FormatError, match=r"4 parameters of the optimizer, this run has 2 \+ 2"):
        restore(load_state(tmp_path / "s"), network, apart)


def test_a_state_of_another_network_is_refused(tmp_path):
    network, optimizer = build("AdamW")
    step(network, optimizer, 0)
    save_state(paths(tmp_path), PROGRESS, network, optimizer)
    saved = load_state(tmp_path / "s")
    smaller = nn.Sequential(nn.Linear(70, 70))
    with pytest.raises(FormatError, match="tensors of the network"):
        restore(saved, smaller, torch.optim.AdamW(smaller.parameters()))
    wider = nn.Sequential(nn.Linear(70, 71), nn.Linear(3, 2))
    with pytest.raises(FormatError, match=r"\(70, 70\) in the state and \(71, 70\)"):
        restore(saved, wider, torch.optim.AdamW(wider.parameters()))


def test_the_old_state_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    network, optimizer = build("AdamW")
    save_state(paths(tmp_path), PROGRESS, network, optimizer)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="No space left"):
        save_state(paths(tmp_path), dataclasses.replace(PROGRESS, step=6), network, optimizer)
    assert load_state(tmp_path / "s").progress.step == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_flipped_bit_is_noticed_wherever_it_is_and_the_state_before_serves(tmp_path):
    network, optimizer = build("AdamW")
    newest, before = paths(tmp_path)
    save_state((newest, before), PROGRESS, network, optimizer)
    step(network, optimizer, 0)
    save_state((newest, before), dataclasses.replace(PROGRESS, step=6), network, optimizer)
    assert load_newest((newest, before)).progress.step == 6
    whole = newest.read_bytes()
    bits = torch.randint(0, 8 * len(whole), (200,), generator=torch.Generator().manual_seed(0))
    for bit in (0, 8 * len(whole) - 1, *bits.tolist()):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(changed)
        with pytest.raises(FormatError, match="damaged"):
            load_state(newest)
    saved = load_newest((newest, before))
    assert saved.progress.step == 5
    assert "s-before" in saved.note and "its hash does not fit" in saved.note
    newest.unlink()  # as a process leaves it that is killed between two renames
    assert load_newest((newest, before)).progress.step == 5
    before.write_bytes(b"junk")
    with pytest.raises(FormatError, match="damaged"):
        load_newest((newest, before))
    before.unlink()
    assert load_newest((newest, before)) is None
