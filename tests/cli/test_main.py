"""The command line: exit codes, error messages, flags, and `lycoris-ext init`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris_ext import cli
from lycoris_ext.cli import init, train
from lycoris_ext.cli.exit_codes import EXIT_CODES, exit_code
from lycoris_ext.cli.extra import install_line
from lycoris_ext.cli.train import config_from_arguments
from lycoris_ext.config import build_config, read_toml
from lycoris_ext.data import scan_folders
from lycoris_ext.errors import (
    ConfigError,
    DataError,
    DivergedError,
    LycorisExtError,
    RunInterrupted,
)
from tests.tiny_pictures import write_picture

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_command_the_commands_are_listed(capsys):
    assert cli.main([]) == 0
    output = capsys.readouterr().out
    assert all(command in output for command in cli.COMMANDS)


def test_an_unknown_command_names_the_nearest_one(capsys):
    assert cli.main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_the_flag_version_prints_the_version_of_the_package(capsys):
    import lycoris_ext

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == lycoris_ext.__version__


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("wrong", where="x", fix="mend"), 2, "error: x: wrong\n  -> mend"),
        (ConfigError("seed is 1", where="seed"), 2, "error: seed is 1"),
        (DataError("bad"), 3, "error: bad"),
        (DivergedError("nan"), 6, "error: nan"),
        (RunInterrupted("stopped", fix="again"), 130, "stopped\n  -> again"),
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError(), 5, "out of memory"),
        (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), 5, "a smaller batch"),
    ],
)
def test_each_error_ends_with_its_exit_code_and_its_message(monkeypatch, capsys, error, code, said):
    def fail(_):
        raise error

    monkeypatch.setattr(train, "main", fail)
    assert cli.main(["train"]) == code
    assert said in capsys.readouterr().err


def test_every_error_has_an_exit_code():
    kinds, waiting = set(), [LycorisExtError]
    while waiting:
        kind = waiting.pop()
        kinds.add(kind)
        waiting += [k for k in kind.__subclasses__() if k.__module__.startswith("lycoris_ext.")]
    codes = {kind.__name__: exit_code(kind("x")) for kind in kinds - {LycorisExtError}}
    assert codes == {
        "ConfigError": 2,
        "ShapeError": 2,
        "DataError": 3,
        "FormatError": 3,
        "EnvironmentFault": 4,
        "MemoryFault": 5,
        "DivergedError": 6,
        "RunInterrupted": 130,
    }


def test_help_and_documentation_list_the_exit_codes(capsys):
    cli.main(["--help"])
    shown = capsys.readouterr().out
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    for code, (_, meaning) in EXIT_CODES.items():
        assert re.search(rf"^  {code} +{re.escape(meaning)}$", shown, re.MULTILINE)
        assert f"| {code} | {meaning} |" in page


def test_an_unexpected_error_is_raised_and_not_hidden(monkeypatch):
    def fail(_):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(train, "main", fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        cli.main(["train"])


@pytest.mark.parametrize("package", ["tyro", "diffusers"])
def test_without_the_extra_packages_the_pip_line_is_shown(package, tmp_path, pictures):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from lycoris_ext.cli import main\n"
        f"sys.exit(main(['train', '--train_data_dir', {str(pictures)!r}, '--output_dir', "
        f"{str(tmp_path / 'out')!r}, '--resolution', '64']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 4, done.stderr
    assert f"the package {package} is not installed" in done.stderr
    assert install_line() in done.stderr


def test_flags_are_read_with_underscores_and_with_dashes(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('output_name = "from file"\nseed = 3\nflip_aug = true\n', encoding="utf-8")
    config = config_from_arguments(
        [
            str(file),
            "--preset",
            "seed-default",
            "--learning_rate",
            "1e-3",
            "--max-train-steps",
            "7",
            "--shuffle_caption",
            "--no-flip-aug",
            "--sample_prompts",
            "a cat",
            "a dog",
            "--resolution",
            "512,768",
            "--network_train_unet_only",
        ]
    )
    assert (config.run.output_name, config.run.seed, config.run.max_train_steps) == (
        "from file",
        3,
        7,
    )
    assert config.optimizer.learning_rate == 1e-3
    assert (config.data.shuffle_caption, config.data.flip_aug) == (True, False)
    assert config.data.size == (512, 768)
    assert config.sample.sample_prompts == ("a cat", "a dog")
    assert (config.network.conv_dim, config.network.network_train_unet_only) == (4, True)


def test_an_unknown_flag_names_the_nearest_one(capsys):
    with pytest.raises(SystemExit) as caught:
        config_from_arguments(["--lerning_rate", "1"])
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert "learning-rate" in output.err + output.out


def test_init_writes_a_config_that_can_be_read(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert init.main([str(pictures)]) == 0
    path = tmp_path / "pictures.toml"
    text = path.read_text("utf-8")
    config = build_config([read_toml(path)])
    assert config.data.train_data_dir == pictures.as_posix()
    assert config.data.keep_tokens == 1
    assert config.network.conv_dim == 4
    assert config.data.resolution == 64
    assert (config.run.max_train_steps, config.data.train_batch_size) == (800, 8)
    assert "# 6 pictures in 1 folder, about 36 pixels" in text
    assert "All captions begin with: by tester" in text
    assert "[data]" in text and "# flip_aug = false" in text
    assert "lycoris-ext train pictures.toml" in capsys.readouterr().out


def test_init_lines_that_are_commented_out_are_valid_too(pictures, tmp_path):
    path = tmp_path / "a.toml"
    init.main([str(pictures), "--output", str(path), "--all"])
    lines = path.read_text("utf-8").splitlines()
    loose = [line[2:] for line in lines if line.startswith("# ") and " = " in line]
    loose = [line for line in loose if line.split(" = ")[0].isidentifier()]
    assert len(loose) > 30
    path.write_text(
        "\n".join([line for line in lines if not line.startswith("#")] + loose), "utf-8"
    )
    build_config([read_toml(path)])


def test_init_never_overwrites(pictures, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="not overwritten"):
        init.main([str(pictures), "--output", str(path)])
    assert path.read_text("utf-8") == "mine"


def test_init_writes_image_dir_for_a_flat_folder_and_counts_missing_captions(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(2):
        write_picture(folder / f"{number}.png", number, size=(800, 600))
    path = tmp_path / "a.toml"
    assert init.main([str(folder), "--output", str(path), "--base", "my/sd15"]) == 0
    config = build_config([read_toml(path)])
    assert config.data.image_dir == folder.as_posix()
    assert config.data.resolution is None  # it follows the model, which is not there yet
    assert config.model.pretrained_model_name_or_path == "my/sd15"
    assert "2 have no caption" in path.read_text("utf-8")


def test_init_takes_the_ending_of_the_captions_and_leaves_a_stray_picture_out(pictures, tmp_path):
    for caption in (pictures / "2_shapes").glob("*.txt"):
        caption.rename(caption.with_suffix(".caption"))
    write_picture(pictures / "stray.png", 20)
    path = tmp_path / "a.toml"
    assert init.main([str(pictures), "--output", str(path)]) == 0
    config = build_config([read_toml(path)])
    assert config.data.train_data_dir == pictures.as_posix()
    assert config.data.caption_extension == ".caption"
    scan = scan_folders(config.data)
    assert len(scan.pictures) == 6 and scan.without_caption == 0


def test_init_refuses_a_folder_that_is_missing_or_holds_no_pictures(tmp_path):
    with pytest.raises(DataError, match="the folder does not exist"):
        init.main([str(tmp_path / "nothing")])
    with pytest.raises(DataError, match="there is no picture in this folder"):
        init.main([str(tmp_path)])


def test_a_closed_pipe_is_no_error() -> None:
    command = [sys.executable, "-c", "from lycoris_ext.cli import main; raise SystemExit(main())"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_booleans_are_read_as_every_program_writes_them():
    def value(*flags):
        data = config_from_arguments(["--seed", "1", *flags])
        return data.data.flip_aug, data.model.v2

    for flags in (["--flip_aug"], ["--flip_aug", "true"], ["--flip-aug=True"]):
        assert value(*flags) == (True, None)
        assert value("--flip_aug", *flags, "--v2") == (True, True)
    for flags in (["--no-flip_aug"], ["--flip_aug", "False"], ["--flip_aug=false"]):
        assert value("--flip_aug", *flags, "--v2", "false") == (False, False)
    with pytest.raises(SystemExit):
        value("--flip_aug=perhaps")


def test_no_library_is_let_to_ask_a_hub_unless_the_user_wants_it(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert cli.main(["--version"]) == 0 and os.environ["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert cli.main(["--version"]) == 0 and os.environ["HF_HUB_OFFLINE"] == "0"
