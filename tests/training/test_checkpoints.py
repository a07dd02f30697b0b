"""Copies of the adapter: save_last_n_steps and _epochs keep what sd-scripts keeps."""

from __future__ import annotations

import pytest

from lycoris_ext.data.order import EqualEpochs
from lycoris_ext.runs.events import EventLog
from lycoris_ext.training.checkpoints import delete_checkpoints, record_checkpoint
from lycoris_ext.training.run_config import RunConfig


def steps_left(tmp_path):
    return sorted(int(p.stem.split("-")[-1]) for p in tmp_path.glob("out/test-step-*.safetensors"))


def of_sd_scripts(last, every, number):
    """Return what is left of the multiples of ``every`` up to ``number``, by sd-scripts' rule for
    steps (get_remove_step_no in library/train_util.py)."""
    left = set()
    for now in range(every, number + 1, every):
        left.add(now)
        left.discard(now - last - 1 - (now - last - 1) % every)
    return sorted(left)


@pytest.mark.parametrize("every", [1, 2, 10])
@pytest.mark.parametrize("last", [1, 9, 10, 25, 30])
def test_as_many_steps_are_kept_as_by_sd_scripts(every, last):
    config = RunConfig(save_every_n_steps=every, save_last_n_steps=last)
    saved = range(every, 61, every)
    kept = [step for step in saved if config.keeps_checkpoint(step, saved[-1], EqualEpochs(7))]
    assert kept == of_sd_scripts(last, every, 60)


def test_the_last_copies_of_epochs_are_kept_and_those_that_no_interval_asked_for():
    config = RunConfig(save_every_n_epochs=2, save_last_n_epochs=2, gradient_accumulation_steps=2)
    # Epochs of 5 batches end after steps 3, 5, 8, 10, 13, 15, ...
    ends = {epoch: config.steps_after_epochs(epoch, EqualEpochs(5)) for epoch in (2, 4, 6, 8)}
    kept = {
        epoch: config.keeps_checkpoint(end, ends[8], EqualEpochs(5)) for epoch, end in ends.items()
    }
    assert kept == {2: False, 4: False, 6: True, 8: True}
    assert config.keeps_checkpoint(ends[2] + 1, ends[8], EqualEpochs(5))


def test_a_copy_that_both_intervals_asked_for_is_kept_as_long_as_one_keeps_it():
    config = RunConfig(save_every_n_steps=1, save_last_n_steps=1, save_every_n_epochs=1)
    assert [config.keeps_checkpoint(step, 4, EqualEpochs(2)) for step in (1, 2, 3, 4)] == [
        0,
        1,
        1,
        1,
    ]


def test_a_run_deletes_its_old_copies_with_their_averages(run, tmp_path):
    run(save_every_n_steps=1, save_last_n_steps=1, ema_decay=0.5)
    names = sorted(p.name for p in tmp_path.glob("out/*step*"))
    assert names == [f"test-step-{n}{kind}.safetensors" for n in (3, 4) for kind in ("-ema", "")]


def test_a_longer_run_deletes_what_it_wrote_before_and_nothing_else(run, tmp_path):
    run(save_every_n_steps=1)
    assert steps_left(tmp_path) == [1, 2, 3, 4]
    strange, mine = (
        tmp_path / "out/test-step-2.safetensors",
        tmp_path / "out/test-step-0.safetensors",
    )
    strange.write_bytes(b"put here by somebody")
    mine.write_bytes(b"of an older run")
    run(save_every_n_steps=1, save_last_n_steps=1, max_train_steps=6)
    assert steps_left(tmp_path) == [0, 2, 5, 6]
    assert strange.read_bytes() == b"put here by somebody"


def test_a_file_in_use_is_deleted_the_next_time(tmp_path, monkeypatch):
    log, path = EventLog(tmp_path / "a.events.jsonl"), tmp_path / "a-step-1.safetensors"
    path.write_bytes(b"x")
    record_checkpoint(log, 1, [path])
    with monkeypatch.context() as patch:
        patch.setattr(
            type(path), "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError())
        )
        delete_checkpoints(log, unless=lambda step: False)
    assert path.exists()
    delete_checkpoints(log, unless=lambda step: False)
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "checkpoint", "stepp": 2, "files": {}}',
        '{"event": "checkpoint", "step": 2}',
        '{"event": "checkpoint", "step": 2, "files": ["a"]}',
        '{"event": "checkpoint", "step": 2, "files": {"": "x", "a\\u0000b": "x", "a/b": "x"}}',
    ],
)
def test_a_damaged_line_of_the_log_deletes_nothing_and_ends_no_training(line, tmp_path):
    log = EventLog(tmp_path / "x.events.jsonl")
    log.path.write_text(line + "\n", encoding="utf-8")
    delete_checkpoints(log, unless=lambda step: False)
    assert list(tmp_path.iterdir()) == [log.path]
