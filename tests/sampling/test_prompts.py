"""Prompts with options behind them, and files of prompts as sd-scripts' users keep them."""

from __future__ import annotations

import json

import pytest

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.sampling.prompts import parse_prompt, read_prompts
from lycoris_ext.sampling.specs import PromptSpec

CAT = {
    "prompt": "a cat, by night",
    "negative_prompt": "blurry, bad",
    "width": 512,
    "height": 768,
    "seed": 3,
    "steps": 28,
    "cfg_scale": 7.5,
    "sampler": "euler_a",
}


def test_options_behind_a_prompt_are_read():
    line = "a cat, by night --n blurry, bad --w 512 --h 768 --d 3 --s 28 --l 7.5 --ss euler_a"
    assert parse_prompt(line) == CAT
    assert parse_prompt(line.replace("--w", "--W")) == CAT
    assert parse_prompt("a--b") == {"prompt": "a--b"}


def test_unknown_options_and_wrong_values_behind_a_prompt_are_refused():
    with pytest.raises(ConfigError, match="option --q is not supported"):
        parse_prompt("a --q 1")
    with pytest.raises(ConfigError, match="--w 'wide' is no int"):
        parse_prompt("a --w wide")


def test_prompts_are_read_from_the_lines_of_a_file(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("\ufeff# mine\n\na cat\na dog --d 1\n", encoding="utf-8")
    assert read_prompts([str(path)]) == [{"prompt": "a cat"}, {"prompt": "a dog", "seed": 1}]
    assert read_prompts(["a", "b", " "]) == [{"prompt": "a"}, {"prompt": "b"}]
    with pytest.raises(DataError, match="cannot be read"):
        read_prompts([str(tmp_path / "none.txt")])


def test_prompts_are_read_from_a_toml_file_with_common_options(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(
        '[prompt]\nwidth = 512\nheight = 768\nnegative_prompt = "blurry, bad"\nscale = 7.5\n'
        '[[prompt.subset]]\nprompt = "a cat, by night"\nseed = 3\nsample_steps = 28\n'
        'sample_sampler = "euler_a"\n'
        '[[prompt.subset]]\nprompt = "a dog"\nscale = 5\nwidth = 64\n',
        encoding="utf-8",
    )
    first, second = read_prompts([str(path)])
    assert first == CAT
    assert second == {
        "prompt": "a dog",
        "negative_prompt": "blurry, bad",
        "width": 64,
        "height": 768,
        "cfg_scale": 5.0,
    }


def test_prompts_are_read_from_a_json_file(tmp_path):
    path = tmp_path / "p.json"
    entries = [{"prompt": "a cat", "sample_steps": 4}, "a dog --s 5"]
    path.write_text(json.dumps(entries), encoding="utf-8")
    assert read_prompts([str(path)]) == [
        {"prompt": "a cat", "steps": 4},
        {"prompt": "a dog", "steps": 5},
    ]


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("a.toml", "[prompt", DataError, "no file of prompts"),
        ("a.json", "{", DataError, "no file of prompts"),
        ("a.toml", '[prompt]\nsubset = "xy"', DataError, "must be tables"),
        ("a.toml", "[prompt]\nsubset = 3", DataError, "must be tables"),
        ("a.toml", '[prompt]\nsubset = ["a"]', DataError, "must be tables"),
        ("a.toml", '[prompt.subset]\nprompt = "a"', DataError, "must be tables"),
        ("a.toml", '[[prompt]]\nprompt = "a"', DataError, "must be tables"),
        ("a.toml", 'prompt = "a"', DataError, "must be tables"),
        ("a.json", '{"prompt": "a"}', DataError, "expected a list of prompts"),
        ("a.json", "[5]", DataError, "no file of prompts"),
        (
            "a.json",
            '[{"prompt": "a", "flow_shift": 3}]',
            ConfigError,
            "flow_shift is not supported",
        ),
        (
            "a.json",
            '[{"prompt": "a", "width": "512"}]',
            ConfigError,
            "width is '512', expected int",
        ),
        ("a.json", '[{"seed": 5}]', ConfigError, "a prompt has no text"),
    ],
)
def test_wrong_prompt_files_are_refused_by_name(tmp_path, name, content, kind, said):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(kind, match=said) as caught:
        read_prompts([str(path)])
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a --s 1000000000", "use 1 to 1000"),
        ("a --w 1000000000", "1 to 8192 are drawn"),
        ("a --h 8193", "1 to 8192 are drawn"),
        ("a --l 1e999", "numbers from 0 to 1000"),
        ("a --l nan", "numbers from 0 to 1000"),
    ],
)
def test_numbers_of_a_prompt_have_bounds(line, said):
    with pytest.raises(ConfigError, match=said):
        PromptSpec(**parse_prompt(line))


def test_more_prompts_than_the_bound_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\n" * 10_001, encoding="utf-8")
    with pytest.raises(ConfigError, match="the number of prompts is 10,001, and at most 10,000"):
        read_prompts([str(path)])
    path.write_text("a\n" * 600_000, encoding="utf-8")
    with pytest.raises(DataError, match=r"it has 1\.20 MB, and at most 1\.00 MB are read"):
        read_prompts([str(path)])
    (tmp_path / "a.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match="this is no file of prompts"):
        read_prompts([str(tmp_path / "a.json")])
