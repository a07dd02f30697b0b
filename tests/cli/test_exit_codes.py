"""Every exit code, from a real run of the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lycoris_ext import cli
from lycoris_ext.training import step as steps
from lycoris_ext.training import train as recipe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def train(tiny_base, pictures, tmp_path, capsys):
    """Return a function that trains by the command line, and returns exit code and stderr."""
    options = {
        "pretrained_model_name_or_path": str(tiny_base),
        "train_data_dir": str(pictures),
        "output_dir": str(tmp_path / "out"),
        "resolution": 32,
        "network_dim": 2,
        "preset": "attn-only",
        "optimizer_type": "AdamW",
        "max_train_steps": 2,
        "device": "cpu",
    }

    def call(**changes):
        file = tmp_path / "my.toml"
        pairs = {**options, **changes}.items()
        lines = [f"{name} = {json.dumps(value)}" for name, value in pairs]
        file.write_text("\n".join(lines), encoding="utf-8")
        return cli.main(["train", str(file)]), capsys.readouterr().err

    return call


def test_a_finished_training_exits_0(train, tmp_path):
    code, _ = train()
    assert code == 0 and (tmp_path / "out" / "last.safetensors").exists()


def test_a_wrong_option_exits_2(train):
    code, said = train(lerning_rate=1)
    assert code == 2 and "did you mean learning_rate?" in said
    code, said = train(scale_weight_norms=-1.0)
    assert code == 2 and "scale_weight_norms is -1.0" in said


def test_a_damaged_picture_exits_3(train, pictures):
    (pictures / "2_shapes" / "02.png").write_bytes(b"")
    code, said = train()
    assert code == 3 and "02.png" in said


def test_a_missing_gpu_exits_4(train, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, said = train(device="cuda")
    assert code == 4 and "finds no GPU" in said


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_running_out_of_memory_exits_5(tiny_base, pictures, tmp_path):
    script = f"""
import resource, sys
import lycoris_ext.training.terminal
from lycoris_ext import cli
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))
sys.exit(cli.main(["train", "--pretrained_model_name_or_path", {str(tiny_base)!r},
    "--train_data_dir", {str(pictures)!r}, "--output_dir", {str(tmp_path / "out")!r},
    "--resolution", "4096", "--network_dim", "8", "--optimizer_type", "AdamW"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 5, done.stderr
    assert "out of memory" in done.stderr and "network_dim below 8" in done.stderr


def test_a_training_that_diverges_exits_6(train, monkeypatch):
    step = steps.optimizer_step

    def explode(optimizer, *rest):
        norm = step(optimizer, *rest)
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1e30)
        return norm

    monkeypatch.setattr(steps, "optimizer_step", explode)
    code, said = train(max_train_steps=9)
    assert code == 6 and "learning_rate" in said


def test_an_interrupted_training_exits_130_and_can_be_continued(train, tmp_path, monkeypatch):
    step = recipe.train_step

    def interrupted(*given, **settings):
        signal.raise_signal(signal.SIGINT)
        return step(*given, **settings)

    monkeypatch.setattr(recipe, "train_step", interrupted)
    code, said = train(max_train_steps=5)
    assert code == 130 and "stopped after step 1 of 5; last-step-1.safetensors and the" in said
    assert (tmp_path / "out" / "last.state").exists()
    monkeypatch.setattr(recipe, "train_step", step)
    code, said = train(max_train_steps=5)
    assert code == 0 and "continuing after step 1 of 5" in said
