"""Training runs in another process with another interpreter, and the tab only watches it."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from webui_extension import child
from webui_extension import training as module
from webui_extension.allowed_folders import AllowedFolders, NotAllowed
from webui_extension.training import Training

#: What reads the config is a real interpreter.
READER = """
import os, sys
if "-c" in sys.argv:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from lycoris_ext.runs.lock import RunLock
assert sys.argv[1:8] == ["-I", "-X", "utf8", "-u", "-m", "lycoris_ext", "train"]
assert "COMMANDLINE_ARGS" not in os.environ
config, folder = Path(sys.argv[8]), Path(sys.argv[9].partition("--output_dir=")[2])
assert folder == config.resolve().parent / "out" and sys.argv[10:] == ["--output_name=my"]
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
with RunLock(folder / ".my.lock"), (folder / "my.events.jsonl").open("a") as events:
    for step in range(1, 600):
        events.write(json.dumps({{"event": "step", "step": step, "loss": 0.5}}) + "\\n")
        events.flush()
        print("step", step, flush=True)
        if stop or (step == 3 and "short" in config.read_text()):
            events.write(json.dumps({{"event": "finished", "step": step}}) + "\\n")
            break
        time.sleep(0.05)
"""


def interpreter(path: Path, trains: str) -> str:
    """Write a script that reads configs as Python does, and trains as the text says."""
    return script(path, READER.format(python=sys.executable) + trains)


def script(path: Path, text: str) -> str:
    """Write a script that stands for Python, where scripts can."""
    if sys.platform == "win32":
        pytest.skip("a script stands for Python")
    path.write_text(f"#!{sys.executable} -S\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "out").mkdir(parents=True)
    path = tmp_path / "runs" / "my.toml"
    path.write_text("[run]\noutput_dir = \"out\"  # here\noutput_name = 'my'\n", encoding="utf-8")
    return path


@pytest.fixture
def python(tmp_path: Path) -> str:
    root = str(Path(__file__).resolve().parents[2])
    return interpreter(tmp_path / "python", CHILD.format(root=root))


@pytest.fixture
def idle(tmp_path: Path) -> str:
    """Write an interpreter that prints a word and waits."""
    waiting = 'import time\nprint("waiting", flush=True)\ntime.sleep(60)\n'
    return interpreter(tmp_path / "idle", waiting)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(AllowedFolders(lambda: [tmp_path / "runs"]), tmp_path / "outputs")


def until(training: Training, word: str) -> str:
    for _ in range(400):
        if word in (text := str(training.state())):
            return text
        time.sleep(0.02)
    raise AssertionError(text)


def stop(training: Training) -> None:
    """Stop a training of `idle`, once it is ready to be interrupted."""
    until(training, "waiting")
    training.stop()
    until(training, "not running")


def test_a_training_is_followed_to_its_end(
    training: Training, config: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMANDLINE_ARGS", "--share")
    config.write_text(config.read_text("utf-8") + "# short\n", encoding="utf-8")
    assert str(training.state()) == "No training was started."
    assert training.start(str(config), python).running
    assert until(training, "finished") == "my.toml: finished, step 3, loss 0.5000. step 3"


def test_what_a_training_writes_at_its_very_end_is_seen(
    training: Training, config: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(config.read_text("utf-8") + "# short\n", encoding="utf-8")
    training.start(str(config), python)
    child = training._child
    assert child is not None
    alive = training._alive

    def late(note: dict[str, str]) -> bool:
        child.wait()
        return alive(note)

    monkeypatch.setattr(training, "_alive", late)
    assert training.state().finished and not training.state().running


def test_a_restarted_host_finds_the_running_training_and_stops_it(
    training: Training, config: Path, python: str, tmp_path: Path
) -> None:
    training.start(str(config), python)
    until(training, "running, step 2")
    reloaded = Training(AllowedFolders(lambda: [tmp_path / "runs"]), tmp_path / "outputs")
    assert reloaded.state().running
    with pytest.raises(ConfigError, match="a training is running"):
        reloaded.start(str(config), python)
    reloaded.stop()
    until(reloaded, "finished")
    until(training, "finished")
    assert not reloaded.state().running


def test_a_training_without_permission_interpreter_or_config_is_refused(
    training: Training, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="users of its page may not start programs"):
        training.start(str(config), sys.executable, allowed=False)
    with pytest.raises(EnvironmentFault, match="no Python for training is set"):
        training.start(str(config), "")
    with pytest.raises(EnvironmentFault, match="there is no Python at"):
        training.start(str(config), str(tmp_path / "no"))
    with pytest.raises(NotAllowed):
        training.start(str(tmp_path / "x.toml"), sys.executable)
    with pytest.raises(DataError, match="this is no config"):
        training.start(str(config.with_name("other.toml")), sys.executable)
    config.write_text('output_dir = "../.."\n', encoding="utf-8")
    with pytest.raises(NotAllowed):
        training.start(str(config), sys.executable)


def test_an_interpreter_that_cannot_be_run_is_refused(
    training: Training, config: Path, python: str, tmp_path: Path
) -> None:
    Path(python).chmod(0o644)
    with pytest.raises(EnvironmentFault, match=r"cannot be started \(Permission denied") as caught:
        training.start(str(config), python)
    assert caught.value.where == python
    assert str(training.state()) == "No training was started."
    assert not (tmp_path / "outputs").exists()
    (tmp_path / "outputs").touch()
    with pytest.raises(EnvironmentFault, match="the folder cannot be made"):
        training.start(str(config), sys.executable)


@pytest.mark.parametrize("does", ["print('hello')", "import time; time.sleep(60)"])
def test_a_program_that_is_no_interpreter_is_refused_by_name(
    training: Training, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    monkeypatch.setattr(child, "_PATIENCE", 0.5)
    python = script(tmp_path / "other", does)
    with pytest.raises(EnvironmentFault, match="does not answer as Python does") as caught:
        training.start(str(config), python)
    assert caught.value.where == python


def test_a_note_of_another_version_counts_as_no_training(
    training: Training, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / module.CURRENT).write_text('{"config": "x.toml"}', encoding="utf-8")
    assert str(training.state()) == "No training was started."


def test_modules_beside_the_config_are_not_imported(training: Training, config: Path) -> None:
    beside = config.parent / "lycoris_ext"
    beside.mkdir()
    beside.joinpath("__main__.py").write_text(
        "import pathlib; pathlib.Path('imported').touch()", encoding="utf-8"
    )
    config.write_text("no_such_option = 1\n", encoding="utf-8")
    training.start(str(config), sys.executable)
    assert "no_such_option" in until(training, "failed")
    assert not config.with_name("imported").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("output_name = '../../x'", "'../../x' is no file name"),
        ("[run]\noutput_name = 'C:x'", "'C:x' is no file name"),
        ('output_name = "a\\u0000b"', r"output_name is 'a\\x00b'"),
        ("output_dir = 3", "output_dir is 3"),
        ('output_dir = "C:\\Users"', "the config cannot be read"),
        ("output_dir", "the config cannot be read"),
    ],
)
def test_a_config_with_an_unsafe_name_or_that_cannot_be_read_is_refused(
    training: Training, config: Path, tmp_path: Path, text: str, said: str
) -> None:
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        training.start(str(config), sys.executable)
    assert not (tmp_path / "outputs").exists()


WAYS_OUT = (
    '"output_dir" = "../.."',
    "run = { output_dir = '../..' }",
    '[run]\n"output\\u005fdir" = "../.."',
)


@pytest.mark.parametrize("folder", ["output", "logging", "cache"])
@pytest.mark.parametrize("text", WAYS_OUT)
def test_no_spelling_of_a_folder_leads_out_of_the_allowed_ones(
    training: Training, config: Path, text: str, folder: str
) -> None:
    config.write_text(text.replace("output", folder), encoding="utf-8")
    with pytest.raises(NotAllowed):
        training.start(str(config), sys.executable)


def test_the_folders_that_were_checked_are_handed_to_the_training(
    training: Training, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(module, "launch", lambda command, *_: commands.append(command))
    more = "log_with = 'tensorboard'\nlogging_dir = 'logs'\ncache_dir = ''\n"
    config.write_text(config.read_text("utf-8") + more, encoding="utf-8")
    training.start(str(config), sys.executable)
    config.write_text("output_dir = ''", encoding="utf-8")
    training.start(str(config), sys.executable)
    folder = config.parent.resolve()
    assert [command[command.index(str(config)) + 1 :] for command in commands] == [
        [f"--output_dir={folder / 'out'}", "--output_name=my", f"--logging_dir={folder / 'logs'}"],
        [f"--output_dir={folder}", "--output_name=last"],
    ]


def test_a_host_without_a_package_for_toml_still_starts_a_training(
    training: Training, config: Path, idle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tomllib", "tomli", "toml"):
        monkeypatch.setitem(sys.modules, name, None)
    assert training.start(str(config), idle).running
    stop(training)


def test_two_clicks_at_once_start_one_training(
    training: Training, config: Path, idle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, started = threading.Barrier(2), []
    resolve = training._allowed_folders.resolve

    def slowly(path: str | Path) -> Path:
        time.sleep(0.05)
        return resolve(path)

    def click() -> None:
        both.wait()
        with suppress(ConfigError):
            started.append(training.start(str(config), idle))

    monkeypatch.setattr(training._allowed_folders, "resolve", slowly)
    clicks = [threading.Thread(target=click) for _ in range(2)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()
    stop(training)
    assert len(started) == 1


def test_a_training_that_cannot_be_signalled_is_an_error(
    training: Training, config: Path, idle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    training.start(str(config), idle)
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        with pytest.raises(EnvironmentFault, match="cannot be asked to stop"):
            training.stop()
    stop(training)
