"""Training is another process with another interpreter; this one only watches."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from webui_extension.places import NotAllowed, Places
from webui_extension.training import Training

CHILD = """\
#!{python}
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from lycoris_ext.training.lock import RunLock
assert sys.argv[1:4] == ["-m", "lycoris_ext", "train"] and "COMMANDLINE_ARGS" not in os.environ
folder = Path(sys.argv[4]).parent / "out"
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
with RunLock(folder / ".my.lock"), (folder / "my.events.jsonl").open("a") as events:
    for step in range(1, 600):
        events.write(json.dumps({{"event": "step", "step": step, "loss": 0.5}}) + "\\n")
        events.flush()
        print("step", step, flush=True)
        if stop or (step == 3 and "short" in Path(sys.argv[4]).read_text()):
            events.write(json.dumps({{"event": "finished", "step": step}}) + "\\n")
            break
        time.sleep(0.05)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script stands for Python")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "out").mkdir(parents=True)
    path = tmp_path / "runs" / "my.toml"
    path.write_text("[run]\noutput_dir = \"out\"  # here\noutput_name = 'my'\n", encoding="utf-8")
    return path


@pytest.fixture
def python(tmp_path: Path) -> str:
    root = str(Path(__file__).resolve().parents[2])
    path = tmp_path / "python"
    path.write_text(CHILD.format(python=sys.executable, root=root), encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(Places(lambda: [tmp_path / "runs"]), tmp_path / "outputs")


def until(training: Training, word: str) -> str:
    for _ in range(400):
        if word in (text := str(training.state())):
            return text
        time.sleep(0.02)
    raise AssertionError(text)


def test_followed_to_its_end(
    training: Training, config: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDLINE_ARGS", "--share")
    config.write_text(config.read_text("utf-8") + "# short\n", encoding="utf-8")
    assert str(training.state()) == "No training was started."
    assert training.start(str(config), python).running
    assert until(training, "finished") == "my.toml: finished, step 3, loss 0.5000. step 3"


def test_a_restarted_host_finds_it_and_stops_it(
    training: Training, config: Path, python: str, tmp_path: Path
) -> None:
    training.start(str(config), python)
    until(training, "running, step 2")
    reloaded = Training(Places(lambda: [tmp_path / "runs"]), tmp_path / "outputs")
    assert reloaded.state().running
    with pytest.raises(ConfigError, match="a training is running"):
        reloaded.start(str(config), python)
    reloaded.stop()
    until(reloaded, "finished")
    until(training, "finished")
    assert not reloaded.state().running


def test_what_is_refused(training: Training, config: Path, python: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whoever sees its page may not start programs"):
        training.start(str(config), python, allowed=False)
    with pytest.raises(EnvironmentFault, match="no interpreter is named"):
        training.start(str(config), "")
    with pytest.raises(EnvironmentFault, match="there is no such interpreter"):
        training.start(str(config), str(tmp_path / "no"))
    with pytest.raises(NotAllowed):
        training.start(str(tmp_path / "x.toml"), python)
    with pytest.raises(DataError, match="this is no config"):
        training.start(str(config.with_name("other.toml")), python)
    config.write_text('output_dir = "../.."\n', encoding="utf-8")
    with pytest.raises(NotAllowed):
        training.start(str(config), python)
