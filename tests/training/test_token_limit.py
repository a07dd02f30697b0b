"""How many tokens of a caption a base model reads, and who tells that a caption is cut."""

from __future__ import annotations

import json

import pytest

from lycoris_ext import cli
from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.models import ModelConfig
from lycoris_ext.training.terminal import train_in_terminal
from lycoris_ext.training.token_limit import clip_token_limit, token_limit
from tests.tiny_pipeline import MAX_TOKENS

LONG = "cat, " * 20  # two tokens each


def limit_of(model, **options):
    return token_limit(ModelConfig(pretrained_model_name_or_path=str(model), **options))


def test_a_folder_is_counted_with_its_own_tokenizer(tiny_base):
    limit = limit_of(tiny_base, max_token_length=150)
    assert (limit.tokens, limit.piece) == (2 * (MAX_TOKENS - 2), MAX_TOKENS - 2)
    assert limit.count("cat by zoo") == 2 + 3  # zoo is none of its words
    assert limit_of(tiny_base, weighted_captions=True).count("(cat:1.5)") == 1


def test_the_small_base_reads_22_tokens():
    assert limit_of("mini").tokens == 22


@pytest.mark.parametrize("there", [True, False])
def test_a_file_or_a_missing_model_is_counted_with_clips_tokenizer(tmp_path, there):
    path = tmp_path / "model.safetensors"
    if there:
        path.write_bytes(b"")
    limit = limit_of(path)
    assert limit.tokens == 75 and limit.count("cat by zoo") == 3
    assert clip_token_limit(ModelConfig()).count("1girl, solo") == 4


def test_a_damaged_folder_is_left_to_those_who_load_it(tiny_base, tmp_path):
    (tmp_path / "text_encoder").mkdir()
    assert limit_of(tmp_path).tokens == 75
    for text in ("", "[]", "{}", "<html>", '{"max_position_embeddings": null}'):
        (tmp_path / "text_encoder" / "config.json").write_text(text, encoding="utf-8")
        assert limit_of(tmp_path).tokens == 75


def test_train_tells_of_captions_that_are_cut_before_its_first_step(options, pictures, capsys):
    (pictures / "2_shapes" / "02.txt").write_text(LONG, encoding="utf-8")
    train_in_terminal(build_config([OptionSource("test", {**options, "max_train_steps": 1})]))
    said = capsys.readouterr().err
    found = said.index("warning LX018: ")
    assert "longer than 22 tokens, and the rest is not read: " in said[found:]
    assert "02.txt (40 tokens)" in said[found:]
    assert said.index("set max_token_length = 150", found) < said.index("parameters")
    longer = {**options, "max_train_steps": 1, "max_token_length": 150, "output_name": "longer"}
    train_in_terminal(build_config([OptionSource("test", longer)]))
    assert "LX018" not in capsys.readouterr().err


def test_init_and_doctor_tell_of_captions_that_are_cut(pictures, tmp_path, capsys):
    (pictures / "2_shapes" / "02.txt").write_text(LONG, encoding="utf-8")
    config = tmp_path / "mine.toml"
    assert cli.main(["init", str(pictures), "--output", str(config)]) == 0
    assert "02.txt (40 tokens)" in capsys.readouterr().out
    cli.main(["doctor", str(config), "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    (check,) = [check for check in checks if check["name"] == "LX018"]
    assert check["state"] == "note" and "02.txt (40 tokens)" in check["found"]
