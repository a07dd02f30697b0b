"""Files that are configs of other formats, or none: what is said about them."""

from __future__ import annotations

import builtins

import pytest

from lycoris_ext.config import read_config
from lycoris_ext.config.imports.documents import read_document
from lycoris_ext.errors import ConfigError, EnvironmentFault
from tests.config.imports.reads import built, refusals, written


def said_of(path):
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    text = str(caught.value)
    assert str(path) in text and "did you mean" not in text
    return text


def test_json_may_have_commas_before_its_closing_brackets(tmp_path):
    text = '\ufeff{"seed": 5, "a,]": "x,}", "sample_prompts": ["a", "b",], "y": 1,\n}'
    document = read_document(written(tmp_path, "a.json", text))
    assert document["sample_prompts"] == ["a", "b"] and document["a,]"] == "x,}"


def test_options_in_json_and_yaml_are_read_like_those_in_toml(tmp_path):
    assert built(written(tmp_path, "a.json", '{"seed": 5}')).run.seed == 5
    assert built(written(tmp_path, "a.yaml", "run:\n  seed: 5\n")).run.seed == 5
    assert "seed is '5'" in refusals(written(tmp_path, "b.json", '{"seed": "5"}'))[0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", '{"a" 5}', "no valid JSON"),
        ("a.json", '{"a": "C:\\Users"}', r"Windows paths need / or \\"),
        ("a.json", "[1]", "holds a list"),
        ("a.yaml", "a: [", "no valid YAML"),
        ("a.yml", "- 1\n", "holds a list"),
        ("a.toml", "a = \n", "no valid TOML"),
        ("a.ini", "a=1", "its format follows from its ending: .toml"),
        ("a.safetensors", "", "lycoris-ext config FILE"),
        ("a.ipynb", "{}", "into a .txt file"),
        ("a.json", '{"qqqq": 1}', "no config that is known here: it has qqqq"),
        ("a.json", '{"name": "x", "version": "1.0"}', "known here: it has name, version"),
        ("a.toml", "[a.b]\nseed = 1\n[c]\nseed = 2\n", "[a.b] is a table within a table"),
    ],
)
def test_what_is_no_config_is_refused_with_what_it_is(tmp_path, name, text, said):
    if name == "a.toml" and "[a.b]" in text:
        text += "max_train_steps = 3\n"
    assert said in said_of(written(tmp_path, name, text))


def test_names_in_yaml_are_texts(tmp_path):
    document = read_document(written(tmp_path, "a.yaml", "on: {1: 2, null: [{no: 3}]}"))
    assert document == {"True": {"1": 2, "None": [{"False": 3}]}}
    assert "it has True, jobs" in said_of(written(tmp_path, "b.yaml", "on: push\njobs: {}\n"))


def test_a_folder_and_a_missing_file_are_refused_as_such(tmp_path):
    assert f"lycoris-ext init {tmp_path}" in said_of(tmp_path)
    assert "there is no such file" in said_of(tmp_path / "a.json")


def test_yaml_without_its_package_says_how_to_get_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "yaml":
            raise ModuleNotFoundError(name="yaml")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFault, match="PyYAML") as caught:
        read_document(written(tmp_path, "a.yaml", "a: 1\n"))
    assert "pip install" in str(caught.value)
