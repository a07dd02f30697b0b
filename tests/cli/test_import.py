"""`lycoris-ext import` and `train`: configs of other programs on the command line."""

from __future__ import annotations

import json

import pytest

from lycoris_ext import cli
from lycoris_ext.cli.train import config_from_arguments, split_files, without_bools
from lycoris_ext.config import all_options, build_config, read_config, read_toml
from lycoris_ext.errors import ConfigError

KOHYA = """
network_module = "lycoris.kohya"
network_args = ["algo=lokr", "factor=8"]
pretrained_model_name_or_path = "C:\\\\models\\\\my base.safetensors"
train_data_dir = "pictures"
unet_lr = 1e-4
max_train_epochs = 3
fp8_base = true
caption_prefix = '''a "b"'''
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kohya.toml").write_text(KOHYA, encoding="utf-8")
    return tmp_path


def test_an_imported_config_trains_what_the_file_would(here, capsys):
    assert cli.main(["import", "kohya.toml", "-o", "mine.toml", "--skip-unsupported"]) == 0
    out, err = capsys.readouterr()
    assert "written: mine.toml" in out and "lycoris-ext train mine.toml" in out
    assert "left out: kohya.toml: fp8_base = true is not supported" in err
    config = build_config([read_toml(here / "mine.toml")])
    assert config == config_from_arguments(["kohya.toml", "--skip-unsupported"])
    text = (here / "mine.toml").read_text("utf-8")
    assert "[network]\n# " in text and 'left_out = ["fp8_base = true is not supported"]' in text
    assert "lycoris.kohya" not in text


def test_subsets_and_overrides_are_written_as_tables_that_are_read_back(here):
    data = '[[datasets]]\nresolution = 320\n[[datasets.subsets]]\nimage_dir = "a"\nis_reg = true\n'
    (here / "data.toml").write_text(data + '[[datasets.subsets]]\nimage_dir = "b c"\n', "utf-8")
    text = '[[network.overrides]]\nmatch = "attn2"\nnetwork_dim = 4\n'
    (here / "mine.toml").write_text(text + "[model]\nclip_skip = 2\n", "utf-8")
    assert cli.main(["import", "data.toml", "mine.toml", "--output", "all.toml"]) == 0
    text = (here / "all.toml").read_text("utf-8")
    assert text.count("[[data.subsets]]") == 2 + 1 and "[[network.overrides]]" in text
    assert 'pretrained_model_name_or_path = ""' in text
    text = text.replace('path = ""', 'path = "mini"')
    (here / "all.toml").write_text(text, encoding="utf-8")
    written = build_config([read_config(here / "all.toml")])
    sources = [read_config(here / name) for name in ("data.toml", "mine.toml")]
    assert written == build_config(sources)


def test_without_skipping_nothing_is_written_and_the_way_out_is_named(here, capsys):
    assert cli.main(["import", "kohya.toml", "-o", "mine.toml"]) == 2
    assert "--skip-unsupported leaves out" in capsys.readouterr().err
    assert not (here / "mine.toml").exists()
    assert cli.main(["train", "kohya.toml"]) == 2
    said = capsys.readouterr().err
    assert "fp8_base = true is not supported" in said and "--skip-unsupported" in said


def test_a_file_that_exists_is_not_overwritten(here, capsys):
    (here / "mine.toml").write_text("x", encoding="utf-8")
    assert cli.main(["import", "kohya.toml", "-o", "mine.toml", "--skip-unsupported"]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert cli.main(["import", "kohya.toml", "--skip-unsupported"]) == 0
    assert (here / "kohya-imported.toml").is_file()


def test_a_folder_is_refused_as_such_before_the_name_of_the_output(here, capsys):
    (here / "photos").mkdir()
    (here / "photos.toml").write_text("x", encoding="utf-8")
    assert cli.main(["import", "photos"]) == 2
    assert "this is a folder, not a config" in capsys.readouterr().err


def test_what_the_file_leaves_open_is_left_open(here, capsys):
    (here / "a.json").write_text(json.dumps({"LoRA_type": "Standard", "epoch": 2}), "utf-8")
    assert cli.main(["import", "a.json"]) == 0
    text = (here / "a.toml").read_text("utf-8")
    assert 'pretrained_model_name_or_path = ""' in text and 'train_data_dir = ""' in text
    assert cli.main(["train", "a.toml"]) == 2
    assert "no base model is named" in capsys.readouterr().err


def test_train_without_arguments_says_what_it_wants():
    with pytest.raises(ConfigError, match="wants a config") as caught:
        config_from_arguments([])
    assert "lycoris-ext train my.toml" in str(caught.value)
    assert "--train_data_dir pictures" in str(caught.value)


def test_train_reads_json_and_flags_override_it(here):
    (here / "a.json").write_text('{"seed": 5, "network_dim": 4}', encoding="utf-8")
    config = config_from_arguments(["a.json", "--seed", "6"])
    assert (config.run.seed, config.network.network_dim) == (6, 4)
    with pytest.raises(ConfigError, match="there is no such file"):
        config_from_arguments(["b.yaml"])


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["a.toml", "b.json", "--seed", "1"], ["a.toml", "b.json"]),
        (["--seed", "1", "a.toml"], ["a.toml"]),
        (["--preset", "mine.toml", "--seed", "1"], []),
        (["--level_rules", "rules.toml", "my.toml"], ["my.toml"]),
        (["--seed=1"], []),
    ],
)
def test_files_are_told_from_the_values_of_flags(arguments, files):
    found, flags = split_files(arguments)
    assert found == files and sorted(found + flags) == sorted(arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--allow_missing_captions"], True),
        (["--allow_missing_captions", "true", "--seed", "6"], True),
        (["--allow-missing-captions=True"], True),
        (["--allow_missing_captions", "false"], False),
        (["--allow_missing_captions=false"], False),
        (["--no-allow_missing_captions"], False),
    ],
)
def test_a_switch_takes_true_and_false_as_its_value(here, arguments, expected):
    (here / "a.toml").write_text(f"allow_missing_captions = {str(not expected).lower()}")
    config = config_from_arguments(["a.toml", *arguments])
    assert config.data.allow_missing_captions is expected
    assert config.run.seed == (6 if "--seed" in arguments else 0)


def test_every_switch_takes_a_value():
    switches = [name for name, known in all_options().items() if known.hint is bool]
    assert len(switches) > 20
    for name in switches:
        assert list(without_bools([f"--{name}", "FALSE", "--seed", "1"])) == [
            *(f"--no-{name}", "--seed", "1")
        ]
    assert list(without_bools(["--seed", "true", "--output_name=a=b"])) == [
        *("--seed", "true", "--output_name=a=b")
    ]
