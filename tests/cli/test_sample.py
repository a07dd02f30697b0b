"""`lycoris-ext sample`: numbered pictures with their parameters, and grids."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from PIL import Image, ImageChops

from lycoris_ext.cli.sample import main
from lycoris_ext.errors import ConfigError, DataError, DivergedError
from lycoris_ext.models import Pipeline
from lycoris_ext.plots.png import read_parameters
from tests.tiny_pipeline import PICTURE_SIZE, loud_adapter, tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model's folder with two adapters beside it."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    pipeline = tiny_pipeline(folder)
    for seed, name in enumerate(["red", "blue"]):
        loud_adapter(pipeline, folder.parent / f"{name}.safetensors", seed)
    return folder


@pytest.fixture
def run(model, tmp_path, capsys):
    def call(*arguments):
        fixed = ["--model", str(model), "--output-dir", str(tmp_path / "out"), "--steps", "2"]
        assert main([*fixed, *arguments]) == 0
        return [tmp_path / "out" / line for line in capsys.readouterr().out.splitlines()]

    return call


def difference(first, second):
    """Return the largest difference of two pictures in any channel, in levels of 255."""
    return max(high for _, high in ImageChops.difference(first, second).getextrema())


def test_pictures_are_numbered_and_hold_their_generation_parameters(run, model):
    adapter = model.parent / "red.safetensors"
    paths = run("--prompt", "a cat", "--prompt", "dog", "-n", "2", "--seed", "5")
    paths += run("--prompt", "a cat", "--seed", "5", "--adapter", f"{adapter}:0.8")
    assert [path.name[:6] for path in paths] == ["00000-", "00001-", "00002-", "00003-", "00004-"]
    texts = [read_parameters(path) for path in paths]
    assert [text.splitlines()[0] for text in texts[:4]] == ["a cat", "a cat", "dog", "dog"]
    assert "Seed: 5, Size: 32x32, Model hash: " in texts[0]
    assert "Seed: 6" in texts[3]
    assert texts[4].startswith("a cat <lora:red:0.8>\n")
    assert 'Lora hashes: "red: ' in texts[4]
    with Image.open(paths[0]) as bare, Image.open(paths[4]) as adapted:
        assert bare.size == (PICTURE_SIZE, PICTURE_SIZE)
        assert bare.tobytes() != adapted.tobytes()


def test_a_grid_always_has_a_column_without_adapter(run, model, monkeypatch):
    seen = {}

    def remember(cells, row_labels, column_labels, **options):
        seen.update(cells=cells, rows=row_labels, columns=column_labels, **options)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("lycoris_ext.grids.output.comparison_grid", remember)
    adapters = [f"{model.parent / name}.safetensors:0.7" for name in ("red", "blue")]
    prompts = ["--prompt", "a cat", "--prompt", "dog"]
    both = ["--adapter", adapters[0], "--adapter", adapters[1]]
    (path,) = run(*prompts, *both, "--grid", "--strengths", "0.5", "1")
    assert path.name.endswith("-grid.png")
    assert seen["columns"] == [
        "without adapter",
        "red at 0.5",
        "red at 1",
        "blue at 0.5",
        "blue at 1",
    ]
    assert seen["rows"] == ["a cat", "dog"]
    assert (seen["title"], seen["groups"]) == ("red, blue", (1,))
    assert seen["subtitle"] == "tiny, Euler, 2 steps, CFG 7, 32x32, seed 0"
    assert read_parameters(path).startswith("a cat <lora:red:0.5>\n")
    assert len({cell.tobytes() for row in seen["cells"] for cell in row}) == 10

    run(*prompts, *both, "--grid")
    assert seen["columns"] == ["without adapter", "red at 0.7", "blue at 0.7"]
    run("--prompt", "a cat", "--grid", "-n", "2")
    assert seen["columns"] == ["without adapter"]
    assert seen["rows"] == ["a cat\nseed 0", "a cat\nseed 1"]
    run("--prompt", "a cat", "--adapter", adapters[0], "--grid", "--strengths", "1")
    assert seen["columns"] == ["without adapter", "red"]


def test_a_grid_shows_the_same_pictures_as_sample_without_grid(run, model, monkeypatch):
    """Prompts keep their own seeds, sizes and steps; equal pictures are drawn once."""
    seen = []
    monkeypatch.setattr(
        "lycoris_ext.grids.output.comparison_grid",
        lambda cells, rows, *_, **__: seen.append((cells, rows)) or Image.new("RGB", (8, 8)),
    )
    use = ["--adapter", f"{model.parent / 'red.safetensors'}:0.8"]
    asked = ["--prompt", "a cat --d 7", "--prompt", "dog --w 40 --s 3 --l 2", "-n", "2"]
    again = ["--prompt", "a cat --d 8", "--clip-skip", "2", "--batch-size", "3"]
    run(*asked, *again, *use, "--grid")
    ((cells, rows),) = seen
    assert rows == [
        "a cat\n2 steps, CFG 7, 32x32, seed 7",
        "a cat\n2 steps, CFG 7, 32x32, seed 8",
        "dog\n3 steps, CFG 2, 40x32, seed 0",
        "dog\n3 steps, CFG 2, 40x32, seed 1",
        "a cat\n2 steps, CFG 7, 32x32, seed 9",
    ]
    for column, adapter in enumerate(([], use)):
        alone = [Image.open(path) for path in run(*asked, *again, *adapter)]
        assert difference(alone.pop(4), alone[1]) <= 1, "a cat, seed 8, is asked for twice"
        drawn = [row[column] for row in cells]
        assert all(difference(*pair) <= 1 for pair in zip(drawn, alone, strict=True))
        for picture in alone:
            picture.close()


def test_options_in_a_prompt_file_win_over_the_flags(run, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a cat --d 7 --s 3 --ss ddim\ndog --w 40\n", encoding="utf-8")
    paths = run("--sample-prompts", str(file), "--seed", "5", "-n", "2", "--prompt", "red --l 2")
    texts = [read_parameters(path) for path in paths]
    assert len(texts) == 6
    assert texts[0].startswith("red\n") and "CFG scale: 2" in texts[0] and "Seed: 5" in texts[0]
    assert "Steps: 3, Sampler: DDIM" in texts[2] and "Seed: 7" in texts[2] and "Seed: 8" in texts[3]
    assert "Size: 40x32" in texts[4] and "Steps: 2, Sampler: Euler," in texts[4]


def test_sample_without_a_prompt_is_refused(run):
    with pytest.raises(ConfigError, match="no prompt is given") as caught:
        run()
    assert "--sample-prompts FILE" in str(caught.value)


def test_wrong_arguments_of_sample_are_refused_by_name(run, model):
    with pytest.raises(DataError, match=r"none.safetensors"):
        run("--prompt", "a", "--adapter", "none.safetensors:1")
    with pytest.raises(DataError, match=r"(?s)none.safetensors.*gone.safetensors"):
        missing = ["--adapter", "none.safetensors", "--adapter", "gone.safetensors"]
        run("--prompt", "a", "--grid", *missing)
    with pytest.raises(ConfigError, match="works only with --grid"):
        run("--prompt", "a", "--strengths", "1")
    with pytest.raises(ConfigError, match="a strength is nan"):
        run("--prompt", "a", "--grid", "--strengths", "1", "nan")
    with pytest.raises(ConfigError, match="0 pictures"):
        run("--prompt", "a", "-n", "0")
    with pytest.raises(ConfigError, match="did you mean 'DDIM'"):
        run("--prompt", "a", "--sampler", "DIM")
    with pytest.raises(DataError, match="never downloaded"):
        main(["--model", "some/model", "--prompt", "a"])


def test_adapters_that_cannot_be_read_are_refused_before_the_model_is_loaded(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"Entry not found")
    adapters = [f"--adapter={tmp_path / name}.safetensors" for name in ("a", "b")]
    with pytest.raises(DataError) as caught:
        main(["--model", str(tmp_path / "no model"), "--prompt", "a cat", *adapters])
    assert len(caught.value.parts) == 2 and "Entry not found" in str(caught.value)


def test_a_picture_that_became_nan_is_no_file_and_the_others_are_saved(
    run, model, tmp_path, capsys, monkeypatch
):
    decode = Pipeline.decode_pixels

    def second_is_nan(self, latents):
        pixels = decode(self, latents)
        pixels[1] = torch.nan
        return pixels

    monkeypatch.setattr(Pipeline, "decode_pixels", second_is_nan)
    adapter = model.parent / "red.safetensors"
    with pytest.raises(DivergedError, match=r"seed 6, a cat: .* drawn with red.safetensors"):
        run("--prompt", "a cat", "-n", "3", "--seed", "5", "--adapter", str(adapter))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(list((tmp_path / "out").iterdir())) == 2


def test_a_damaged_adapter_is_told_before_anything_is_drawn(run, model, tmp_path, monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    content = bytearray((model.parent / "red.safetensors").read_bytes())
    content[-3] ^= 4
    (tmp_path / "red.safetensors").write_bytes(content)
    run("--prompt", "a cat", "--adapter", str(tmp_path / "red.safetensors"))
    assert "note: red.safetensors: its tensors do not fit the hash" in said.getvalue()
