"""`lycoris-ext train` with --dry-run, --quiet, --verbose, --log-file and --deterministic."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lycoris_ext import cli
from lycoris_ext.cli.log_file import LogFile, logged
from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.training.deterministic import deterministic

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


@pytest.fixture
def command(tiny_base: Path, pictures: Path, tmp_path: Path) -> Any:
    """Return a function that runs `train` on the tiny base, and returns the exit code."""

    def train(*more: str) -> int:
        return cli.main(
            [
                *("train", "--pretrained_model_name_or_path", str(tiny_base)),
                *("--train_data_dir", str(pictures), "--output_dir", str(tmp_path / "out")),
                *("--output_name", "test", "--resolution", "32", "--network_dim", "4"),
                *("--preset", "attn-only", "--optimizer_type", "AdamW", "--device", "cpu"),
                *("--max_train_steps", "4", *more),
            ]
        )

    return train


def lines(path: Path) -> list[str]:
    return [re.sub(f"^{STAMP}", "", line) for line in path.read_text("utf-8").splitlines()]


def test_a_dry_run_tells_what_would_be_written_and_writes_nothing(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--dry-run", "--save_every_n_steps", "2", "--ema_decay", "0.9") == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert "4 steps on cpu" in said and "test.safetensors and test-ema.safetensors" in said
    assert "test-step-N.safetensors: 2 times, first at step 2" in said
    assert said.endswith("nothing was trained or written\n")
    assert command() == 0
    written = sorted((tmp_path / "out").iterdir())
    content = [path.read_bytes() for path in written]
    capsys.readouterr()
    assert command("--dry-run") == 0
    assert "used again as it is" in capsys.readouterr().out
    assert command("--dry-run", "--max_train_steps", "6") == 0
    assert "continue after step 4 of 6" in capsys.readouterr().out
    assert command("--dry-run", "--overwrite", "--seed", "3") == 0
    assert "would be deleted: test.safetensors" in capsys.readouterr().out
    assert sorted((tmp_path / "out").iterdir()) == written
    assert [path.read_bytes() for path in written] == content


def test_a_dry_run_ends_with_everything_that_is_wrong(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("no folder", "utf-8")
    assert command("--dry-run", "--base_weights", str(tmp_path / "none.safetensors")) == 3
    said = capsys.readouterr().err
    assert "2 things are wrong" in said and "output_dir" in said and "none.safetensors" in said


def test_quiet_verbose_and_a_log_file_change_what_is_said_and_not_the_adapter(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "run.log"
    assert command("-q", "--log-file", str(log)) == 0
    quiet = capsys.readouterr()
    assert quiet.out == f"adapter: {tmp_path / 'out' / 'test.safetensors'}\n"
    assert all(line.startswith("note: ") for line in quiet.err.splitlines())
    told = lines(log)
    assert told[0].startswith("lycoris-ext train --pretrained_model_name_or_path")
    assert any("4 steps on cpu" in line for line in told) and quiet.out.strip() in told
    adapter = (tmp_path / "out" / "test.safetensors").read_bytes()

    assert command("-v", "--overwrite", "--log-file", str(log)) == 0
    steps = re.findall(r"^step (\d): loss [\d.]+, gradient norm", capsys.readouterr().err, re.M)
    assert steps == ["1", "2", "3", "4"]
    assert lines(log)[: len(told)] == told, "a second run is appended"
    assert len([line for line in lines(log) if line.startswith("step ")]) == 4
    assert (tmp_path / "out" / "test.safetensors").read_bytes() == adapter
    assert command("-q", "-v") == 2


def test_a_log_that_cannot_be_written_on_the_way_ends_no_training(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "logs"
    stream = LogFile(place / "run.log", lambda text: print(text, file=sys.stderr))
    stream.write("one\n")
    (place / "run.log").unlink()
    place.rmdir()
    stream.write("two\nthree\n")
    assert capsys.readouterr().err.count("cannot be written") == 1
    place.mkdir()
    stream.write("four\n")
    assert lines(place / "run.log") == ["two", "three", "four"]


def test_a_log_is_refused_at_the_start_where_it_cannot_be_or_would_spoil_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    other = tmp_path / "config.toml"
    other.write_text("seed = 1\n", "utf-8")
    for path in (other, tmp_path, other / "below.log"):
        assert command(f"--log-file={path}") == 4
        assert "--log-file" in capsys.readouterr().err
    assert other.read_text("utf-8") == "seed = 1\n"


def test_a_bar_in_a_log_is_a_line_now_and_then_and_an_error_its_last_one(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with pytest.raises(DataError), logged(str(path), "the command"):
        for done in range(1000):
            sys.stderr.write(f"\rtraining {done}")
        sys.stderr.write("\r          \rsaid\n\x1b[A\n")
        raise DataError("bad", where="here", fix="mend it")
    assert lines(path) == ["the command", "training 0", "said", "error: here: bad", "  -> mend it"]


def test_a_deterministic_run_leaves_torch_as_it_was(command: Any) -> None:
    assert command("--deterministic") == 0
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
    with pytest.raises(EnvironmentFault, match="thing does not have"), deterministic():
        raise RuntimeError("thing does not have a deterministic implementation, but you set x")
