"""Logging to TensorBoard: which curves are written, where, and what if it is missing."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import ClassVar

import pytest

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.training.run_config import RunConfig
from tests.recorded import loss_curve


class Writer:
    """Stands for TensorBoard's SummaryWriter and remembers its calls."""

    opened: ClassVar[list[Writer]] = []

    def __init__(self, folder, purge_step=None):
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False
        Writer.opened.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "opened", [])
    return Writer.opened


def test_tensorboard_curves_have_sd_scripts_names_and_go_on_with_the_run(run, writers, tmp_path):
    logs = str(tmp_path / "logs")
    path = run(log_with="tensorboard", logging_dir=logs, max_train_steps=2, text_encoder_lr=5e-4)
    run(log_with="tensorboard", logging_dir=logs, max_train_steps=3, text_encoder_lr=5e-4)
    first, second = writers
    assert Path(first.folder) == tmp_path / "logs" / "test"
    assert (first.purge_step, second.purge_step) == (None, 3)
    assert first.closed and second.closed
    names = ["loss/current", "loss/average", "lr/unet", "lr/textencoder"]
    assert sorted(name for name, _, step in first.scalars if step == 1) == sorted(names)
    told = {step: value for w in writers for name, value, step in w.scalars if name == names[0]}
    assert told == dict(loss_curve(path.with_name("test.events.jsonl")))
    assert {value for name, value, _ in first.scalars if name == "lr/textencoder"} == {5e-4}


@pytest.mark.parametrize("when", ["__init__", "add_scalar", "close"])
def test_a_log_of_tensorboard_that_fails_ends_no_run(
    run, writers, tmp_path, monkeypatch, capsys, when
):
    whole = run(output_dir=str(tmp_path / "whole"))
    logged = {"log_with": "tensorboard", "logging_dir": str(tmp_path / "logs")}
    untouched = run(output_dir=str(tmp_path / "logged"), **logged)

    def full(*given, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, when, full)
    assert run(**logged).read_bytes() == untouched.read_bytes()
    assert len(untouched.read_bytes()) >= len(whole.read_bytes())
    said = capsys.readouterr().err
    assert said.count("cannot be written any more") == 1 and "No space left" in said
    assert "Traceback" not in said


def test_what_the_thread_of_tensorboard_raises_is_told_once_and_without_a_traceback(
    run, writers, tmp_path, monkeypatch, capsys
):
    class Thread(threading.Thread):
        """As TensorBoard's: its error is raised again by the next call."""

        def run(self):
            raise OSError(28, "No space left on device")

    Thread.__module__ = "tensorboard.summary.writer.event_file_writer"

    def failing(writer, *given):
        thread = Thread()
        thread.start()
        thread.join()
        raise OSError(28, "No space left on device")

    before = threading.excepthook
    monkeypatch.setattr(Writer, "add_scalar", failing)
    run(log_with="tensorboard", logging_dir=str(tmp_path / "logs"))
    said = capsys.readouterr().err
    assert said.count("No space left") == 1 and "Exception in thread" not in said
    assert threading.excepthook is before


def test_without_tensorboard_a_run_that_logs_to_it_is_refused(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(EnvironmentFault, match="cannot be imported") as caught:
        run(log_with="tensorboard", logging_dir=str(tmp_path / "logs"))
    assert "pip install tensorboard" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"log_with": "tensorboard"}, "log_with is set and logging_dir is not"),
        ({"logging_dir": "logs"}, "logging_dir is set and log_with is not"),
        ({"log_with": "wandb", "logging_dir": "logs"}, "use one of tensorboard"),
    ],
)
def test_wrong_logging_options_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        RunConfig(**options)
    assert said in str(caught.value)
