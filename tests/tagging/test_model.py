"""Taggers of both kinds of input are run, and what is none is refused in a sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lycoris_ext.errors import DataError, EnvironmentFault, FormatError, LycorisExtError
from lycoris_ext.tagging.labels import CSV, JSON
from tests.tagging.onnx_files import (
    ROWS,
    integer,
    mean_tagger,
    model,
    node,
    part,
    value,
    write_tagger,
)

pytest.importorskip("onnxruntime")

from lycoris_ext.tagging.model import OnnxTagger

GREEN = np.zeros((1, 16, 16, 3), dtype=np.float32)
GREEN[..., 1] = 255


def sigmoid(number: float) -> float:
    return float(1 / (1 + np.exp(-number)))


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_confidences_are_those_of_the_model(tmp_path: Path, batch: int | str) -> None:
    tagger = OnnxTagger(write_tagger(tmp_path, batch=batch))
    assert (tagger.size, tagger.provider) == (16, "CPU")
    assert tagger.batch == (None if batch == "batch" else batch)
    scores = tagger.scores(GREEN)
    assert scores.shape == (1, len(ROWS)) and scores.dtype == np.float32
    assert scores[0, 5] == pytest.approx(sigmoid(8 - 4), abs=1e-6)
    assert scores[0, 4] == scores[0, 6] == pytest.approx(sigmoid(-4), abs=1e-6)


def test_colours_before_rows_are_numbers_from_minus_one_to_one(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    colours = np.zeros((3, len(ROWS)))
    colours[:, 0], colours[:, 1] = (1, 0, 0), (0, 1, 0)
    raw = mean_tagger(colours, np.zeros(len(ROWS)), channels_first=True, size=24)
    (tmp_path / "model.onnx").write_bytes(raw)
    tagger = OnnxTagger(tmp_path)
    assert tagger.size == 24
    pictures = np.zeros((1, 24, 24, 3), dtype=np.float32)
    pictures[..., 0] = 255  # blue
    found = tagger.scores(pictures)[0]
    assert found[:3] == pytest.approx([sigmoid(1), sigmoid(-1), 0.5], abs=1e-6)


def test_answers_that_are_no_confidences_get_a_sigmoid(tmp_path: Path) -> None:
    with_it = OnnxTagger(write_tagger(tmp_path / "a")).scores(GREEN)
    without = OnnxTagger(write_tagger(tmp_path / "b", sigmoid=False)).scores(GREEN)
    assert np.abs(with_it - without).max() < 1e-6


def test_models_with_a_json_get_a_sigmoid_and_may_have_more_outputs(tmp_path: Path) -> None:
    write_tagger(tmp_path, sigmoid=False)
    (tmp_path / CSV).unlink()
    (tmp_path / JSON).write_text(json.dumps({"5": {"tag": "green", "category": "General"}}))
    (tmp_path / "model.onnx").rename(tmp_path / "model_optimized.onnx")
    tagger = OnnxTagger(tmp_path)
    assert tagger.scores(GREEN)[0, 5] == pytest.approx(sigmoid(4), abs=1e-6)


def test_another_model_or_other_weights_beside_it_have_another_digest(tmp_path: Path) -> None:
    digests = {OnnxTagger(write_tagger(tmp_path / "a")).digest}
    digests.add(OnnxTagger(write_tagger(tmp_path / "b", sigmoid=False)).digest)
    write_tagger(tmp_path / "c")
    (tmp_path / "c" / "model.onnx_data").write_bytes(b"weights")
    digests.add(OnnxTagger(tmp_path / "c").digest)
    assert len(digests) == 3


def _half(folder: Path) -> None:
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[:200])


def _two_inputs(folder: Path) -> None:
    graph = part(1, node("Add", ["a", "b"], "tags")) + part(2, "g")
    inputs = part(11, value("a", [1, 16, 16, 3])) + part(11, value("b", [1, 16, 16, 3]))
    (folder / "model.onnx").write_bytes(model(graph + inputs + part(12, value("tags", [1, 4]))))


def _four_axes_out(folder: Path) -> None:
    graph = part(1, node("Abs", ["a"], "tags")) + part(2, "g")
    shape = [1, 16, 16, 3]
    ends = part(11, value("a", shape)) + part(12, value("tags", shape))
    (folder / "model.onnx").write_bytes(model(graph + ends))


def _unknown_operator(folder: Path) -> None:
    graph = part(1, node("NoSuchThing", ["a"], "tags", integer("x", 1))) + part(2, "g")
    ends = part(11, value("a", [1, 16, 16, 3])) + part(12, value("tags", [1, 4]))
    (folder / "model.onnx").write_bytes(model(graph + ends))


def _nan(folder: Path) -> None:
    weights = np.full((3, len(ROWS)), np.nan)
    (folder / "model.onnx").write_bytes(mean_tagger(weights, np.zeros(len(ROWS))))


def _write(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def _with(**more: Any) -> Callable[[Path], Any]:
    return lambda folder: write_tagger(folder, **more)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "holds no model.onnx"),
    "no list": (lambda folder: (folder / CSV).unlink(), "neither selected_tags.csv nor"),
    "empty": (_write("model.onnx", b""), "no ONNX model"),
    "cut short": (_half, "no ONNX model that can be loaded"),
    "text": (_write("model.onnx", b"<!doctype html><html>"), "is no ONNX model: this is"),
    "pointer": (_write("model.onnx", POINTER), "is no ONNX model: this is"),
    "bytes": (_write("model.onnx", bytes(range(256)) * 4), "no ONNX model that can be loaded"),
    "operator": (_unknown_operator, "no ONNX model that can be loaded"),
    "inputs": (_two_inputs, "has 2 inputs"),
    "outputs": (_four_axes_out, "answers"),
    "numbers": (_with(kind=2), "ONNX model|takes tensor"),
    "size": (_with(size=8), "takes .*and a tagger takes"),
    "batch": (_with(batch=10**9), "takes .*and a tagger takes"),
    "NaN": (_nan, "answers NaN"),
    "too many tags": (_write(CSV, b"name,category\n" + b"a,0\n" * 11), "10 outputs, and .* 11"),
    "too few tags": (_write(CSV, b"name,category\na,0\n"), "10 outputs, and .* 1 tag"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_tagger_is_refused_before_the_first_picture(
    tmp_path: Path, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_tagger(tmp_path)
    make, told = FAULTS[fault]
    make(tmp_path)
    with pytest.raises((FormatError, DataError), match=told) as raised:
        OnnxTagger(tmp_path)
    assert raised.value.fix
    assert capfd.readouterr() == ("", "")


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = write_tagger(tmp_path) / "model.onnx"
    for place, told in ((file, "is a file"), (tmp_path / "missing", "cannot be read")):
        with pytest.raises(DataError, match=told):
            OnnxTagger(place)


def test_several_models_are_told_by_name(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes((tmp_path / "model.onnx").read_bytes())
    OnnxTagger(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(DataError, match=r"holds no model\.onnx; there are a\.onnx, b\.onnx"):
        OnnxTagger(tmp_path)
    (tmp_path / "b.onnx").unlink()
    OnnxTagger(tmp_path)


def test_missing_onnxruntime_is_told_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tagger(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFault, match="onnxruntime cannot be imported") as told:
        OnnxTagger(tmp_path)
    assert "lycoris-ext[data]" in str(told.value)


def test_changed_bytes_of_a_model_raise_nothing_but_errors_with_words(tmp_path: Path) -> None:
    raw = (write_tagger(tmp_path) / "model.onnx").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(raw)
        for place in random.integers(0, len(raw), 3):
            changed[place] = random.integers(0, 256)
        (tmp_path / "model.onnx").write_bytes(bytes(changed))
        try:
            OnnxTagger(tmp_path)
        except LycorisExtError as error:
            assert error.fix and error.where
