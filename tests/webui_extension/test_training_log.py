"""The tab shows the sentence with which a training failed, not its last line alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.cli import main
from webui_extension.training import TrainingState
from webui_extension.training_log import Said, read_log

KNOWN = "pretrained_model_name_or_path = 'mini'\ntrain_data_dir = 'x'\nmax_train_steps = 1\n"


def log(path: Path, text: str) -> Said:
    path = path / "x.log"
    path.write_bytes(text.encode("utf-8"))
    return read_log(path)


@pytest.mark.parametrize(
    ("config", "sentence", "advice"),
    [
        ('output-dir = "x"', "output-dir", "did you mean output_dir?"),
        ("nonsense = 3\nlearning_rat = 1", "nonsense", "did you mean learning_rate?"),
        ("network_dim = 'four'", "network_dim", "->"),
    ],
)
def test_a_config_with_a_mistake_is_told_in_whole_sentences(
    config: str, sentence: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.toml").write_text(KNOWN + config, encoding="utf-8")
    assert main(["train", str(tmp_path / "my.toml")]) != 0
    printed = capsys.readouterr()
    said = log(tmp_path, f"a warning\n{printed.out}{printed.err}")
    assert said.failed and sentence in said.text and advice in said.text
    assert said.text == printed.err.strip().removeprefix("error: ")
    shown = str(TrainingState("my.toml", False, failed=True, last=said.text))
    assert shown.startswith("my.toml: failed.\n") and sentence in shown


def test_a_crash_is_told_by_its_exception(tmp_path: Path) -> None:
    text = (
        "step 1\nTraceback (most recent call last):\n  File x, line 1\n    y()\nTypeError: no y\n"
    )
    assert log(tmp_path, text) == Said("TypeError: no y", True)
    chained = f"{text}\nDuring handling of the above exception, another occurred:\n\n"
    assert log(tmp_path, chained + text.replace("no y", "no z")).text == "TypeError: no z"
    assert log(tmp_path, "Traceback (most recent call last):\n  File x\n").failed
    assert log(tmp_path, text.replace("TypeError: no y", "KeyboardInterrupt")) == Said(
        "it was stopped"
    )


def test_progress_is_the_last_thing_that_a_bar_wrote(tmp_path: Path) -> None:
    assert log(tmp_path, "x\r\n10%|#  |\r20%|## |\r") == Said("20%|## |")
    assert log(tmp_path, "") == Said() == read_log(tmp_path / "nothing.log")
    assert log(tmp_path, "no error: here\n") == Said("no error: here")


def test_a_long_list_of_errors_is_cut_and_shows_no_control_characters(tmp_path: Path) -> None:
    listed = "\n".join(f"{n}. \x1b[31ma/picture.png: is damaged" for n in range(400))
    said = log(tmp_path, f"error: 400 things are wrong:\n{listed}\n")
    assert said.text.startswith("400 things are wrong:\n0.  [31ma/picture.png")
    assert len(said.text) < 3010 and said.text.endswith("...")


def test_a_log_that_begins_before_what_is_read_is_still_told(tmp_path: Path) -> None:
    assert log(tmp_path, "é" * 100_000 + "\nerror: it is wrong\n  -> mend it").text == (
        "it is wrong\n  -> mend it"
    )
