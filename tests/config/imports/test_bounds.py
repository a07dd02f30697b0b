"""Small configs that stand for much."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.config import read_config
from lycoris_ext.config.imports.command_line import read_command
from lycoris_ext.config.imports.documents import read_document
from lycoris_ext.config.imports.yaml_text import DEEPEST, MOST_VALUES, parse_yaml
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import read_tables


def laughs(line: str, deep: int = 40) -> str:
    return "".join(line.format(now=n + 1, before=n) for n in range(deep))


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x]\n" + laughs("a{now}: &a{now} [*a{before}, *a{before}]\n"),
        "a0: &a0 {x: 1}\n" + laughs("a{now}: &a{now} {{<<: [*a{before}, *a{before}]}}\n"),
        "a: &a [*a]",
        "a: [" + "1," * MOST_VALUES + "]",
        "a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        "a: " + "[" * 20_000,
        "a: 1" + ":10" * 1000,
        "a: " + "9" * 5000,
        "a: 2001-99-99",
        "a: !!int x",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: !!int ''",
        "a: !!python/object/apply:os.system [exit]",
        "? [a]\n: 1",
    ],
)
def test_yaml_that_unfolds_or_is_none_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^a\.yaml: "):
        parse_yaml(text, "a.yaml")


def test_names_of_yaml_are_still_read() -> None:
    text = "a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: [*a, *a]"
    both = {"x": 1, "y": [1, 2]}
    assert parse_yaml(text, "") == {"a": both, "b": {"x": 2, "y": [1, 2]}, "c": [both, both]}
    assert parse_yaml("", "") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", ".".join("a" * 1000) + " = 1"),
        ("a.toml", "[" + ". ".join("a" * 1000) + "]"),
        ("a.toml", ".".join(['"a"', "'b'"] * 500) + " = 1"),
        ("a.toml", "a = " + "[" * 5000),
        ("a.toml", "a = " + "{a = " * 5000),
        ("a.json", "[" * 100_000),
        ("a.json", '{"a":' * 60 + "1" + "}" * 60),
        ("a.json", '{"a": ' + "9" * 5000 + "}"),
        ("a.json", '{"a": "' + '\\"' * 100_000),
        ("a.toml", "#" * 1_000_001),
    ],
)
def test_a_document_that_is_too_large_or_too_deep_is_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_document(tmp_path / name)
    assert name in str(caught.value) and len(str(caught.value)) < 1500


def test_dots_in_texts_and_numbers_of_toml_are_no_names(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('a = "1. 2. 3."\nb.c.d = 1.5\nx = [1.0, 2.0]\n' * 1, encoding="utf-8")
    assert read_document(path)["b"] == {"c": {"d": 1.5}}


def test_variables_of_a_script_do_not_unfold_without_end() -> None:
    text = "A0=xxxxxxxxxx\n" + laughs("A{now}=$A{before}$A{before}\n")
    with pytest.raises(ConfigError, match="its variables unfold to more than 1,000,000"):
        read_command(text + "python train_network.py --output_name=$A40", "a.sh")


def test_references_of_a_config_do_not_unfold_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    start = "_base_: [cfgs/train/train_base.yaml]\ndata: {}\nlora_unet: [{rank: 4}]\nl0: xxxxxxx\n"
    line = 'l{now}: "' + "${{l{before}}}" * 9 + '"\n'
    path.write_text(start + laughs(line, 19), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"references \(\$\{\.\.\.\}\) unfold to more than"):
        read_config(path)


def test_bases_of_bases_do_not_unfold_without_end(tmp_path: Path) -> None:
    for number in range(6):
        other = [f"{'./' * n}{number + 1}.yaml" for n in range(10)]
        text = f"_base_: {other}\nmodel: {{x: 1}}\ndata: {{}}\nlora_unet: []\n".replace("'", '"')
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "6.yaml").write_text("model: {x: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="more than 100 bases"):
        read_config(tmp_path / "0.yaml")


@pytest.mark.parametrize(
    "line", [".".join("a" * 60) + " = 1", "[" + ' . "b" . '.join("a" * 40) + "]"]
)
def test_a_name_of_many_parts_is_refused_before_it_is_parsed(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 has a name of more than 50 parts"):
        read_tables(f"a = 1\n{line}")
