"""The node that loads and applies in one, and what reaches the grid from a training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from comfy_nodes.apply import Apply
from comfy_nodes.compare_grid import CompareGrid
from comfy_nodes.host.adapter import Adapter
from comfy_nodes.inspect_file import Inspect
from comfy_nodes.load import Load
from comfy_nodes.load_lora import LoadLora
from comfy_nodes.train import Train, TrainMetadata, TrainPreviews, TrainSaving, known_widgets
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import load_adapter, save_adapter
from tests.comfy_nodes.models import load_models
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.test_files import HOW, compare, written
from tests.comfy_nodes.test_train import dataset, steps, train


def test_loading_in_one_node_is_reading_and_applying_with_both_strengths(host: Host) -> None:
    models = load_models()
    written(host, models)
    path = host.loras / "a.safetensors"
    state = load_adapter(path)
    save_adapter(path, replace(state, metadata={"modelspec.trigger_phrase": "my cat , hat"}))
    model, clip, words, report, lora = LoadLora().load(
        models[0], "a.safetensors", 0.5, models[1], 0.25, "", "3"
    )
    both = Apply().apply(models[0], Load().read("a.safetensors")[0], 0.5, models[1], 0.25)
    assert report == both[2] and words == "my cat, hat" and lora.name == "a"
    for ours, theirs in ((model, both[0]), (clip.patcher, both[1].patcher)):
        assert ours.patches.keys() == theirs.patches.keys() and ours.patches
        assert all(torch.equal(ours.patched(key), theirs.patched(key)) for key in ours.patches)
    assert any("trigger words: my cat, hat" in text for node, text in host.shown if node == "3")


def test_a_file_without_trigger_words_gives_an_empty_text(host: Host) -> None:
    models = load_models()
    written(host, models)
    path = host.loras / "a.safetensors"
    save_adapter(path, replace(load_adapter(path), metadata={}))
    assert LoadLora().load(models[0], "a.safetensors", 1.0)[2] == ""
    assert LoadLora.IS_CHANGED("gone.safetensors") == LoadLora.IS_CHANGED() == ""
    before = LoadLora.IS_CHANGED("a.safetensors")
    written(host, models, "a", algo="lora")
    assert LoadLora.IS_CHANGED("a.safetensors") != before


def test_nodes_that_read_a_file_run_again_when_it_is_written(host: Host) -> None:
    models = load_models()
    written(host, models)
    asked: dict[Any, dict[str, Any]] = {
        Inspect: {"file": "a.safetensors", "path": None},
        Load: {"file": "a.safetensors"},
        LoadLora: {"lora_name": "a.safetensors"},
        Train: {"network_weights": "a.safetensors", "seed": 1},
    }
    before = [node.IS_CHANGED(**given) for node, given in asked.items()]
    written(host, models, "a", algo="lora")
    for (node, given), once in zip(asked.items(), before, strict=True):
        assert node.IS_CHANGED(**given) != once, node
        unknown = dict.fromkeys(given)  # as ComfyUI hands what comes from another node
        assert node.IS_CHANGED(**unknown) == "", node
    assert (
        Train.IS_CHANGED(network_weights="(none)") == Inspect.IS_CHANGED("(connected path)") == ""
    )


def test_an_empty_adapter_is_refused_by_the_grid_in_a_sentence(host: Host) -> None:
    given = {
        "prompts": "",
        "seeds": "1",
        "strengths": "1",
        **HOW,
        "adapter": Adapter({}, {}, "bare"),
    }
    with pytest.raises(FormatError, match="none of the 0 tensors fits"):
        compare(load_models(), **given)


def test_training_for_epochs_gives_its_own_checkpoints_to_the_grid(host: Host) -> None:
    """A run of the same name that was trained before does not get into the grid."""
    written(host, load_models(), "mine-2-step-1")
    models = load_models()
    answer = train(models, dataset(), max_train_epochs=2, save_every_n_epochs=1)
    # 6 pictures, each twice an epoch, in batches of 2
    assert len(steps(host)) == 12
    *_, checkpoints = answer["result"]
    assert [path.stem for path in checkpoints] == ["mine-step-6", "mine"]
    _, pictures = CompareGrid().compare(
        *models, "a cat", "1", "1", 32, 32, checkpoints=checkpoints, sampling={"steps": 1}
    )
    assert pictures.shape[0] == 3, "without an adapter, after the first epoch, at the end"


def test_advanced_nodes_of_training_say_what_the_old_node_said(host: Host) -> None:
    (metadata,) = TrainMetadata().collect(training_comment="hello")
    (saving,) = TrainSaving().collect(metadata, save_precision="bf16")
    (advanced,) = TrainPreviews().collect(
        saving, {"steps": 1, "cfg": 1.0}, sample_every_n_steps=2, sample_prompts="a cat"
    )
    adapter = train(load_models(), dataset(), advanced=advanced)["result"][0]
    assert adapter.metadata["ss_training_comment"] == "hello"
    assert {t.dtype for t in adapter.values()} >= {torch.bfloat16}
    drawn = {path.name for path in (host.loras / "sample").iterdir()}
    assert drawn == {"mine-step-2-00.png", "mine-step-4-00.png"}
    shown = {*Train.INPUT_TYPES()["required"], *Train.INPUT_TYPES()["optional"]}
    others = {
        name for node in (TrainSaving, TrainPreviews) for name in node.INPUT_TYPES()["required"]
    }
    assert not shown & others
    assert {name for name in known_widgets() if name.startswith("sample_")} > {"sample_prompts"}


def test_the_curve_of_the_loss_is_shown_while_the_run_goes_on(host: Host) -> None:
    (advanced,) = TrainPreviews().collect(
        None, {"steps": 1, "cfg": 1.0}, sample_every_n_steps=2, sample_prompts="a cat"
    )
    train(load_models(), dataset(), advanced=advanced)
    shown = [preview[1] for _, total, preview in host.progress if total == 4 and preview]
    assert len(shown) >= 3, "the first step, and those with samples"
    assert shown[0].size == (720, 405), "the curve alone"
    assert shown[-1].width == 720 and shown[-1].height > 405, "samples below the curve"


def test_a_picture_that_became_nan_is_crossed_out_and_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = load_models()
    written(host, models, "run-step-1")
    decode = type(models[2]).decode
    monkeypatch.setattr(type(models[2]), "decode", lambda *given: decode(*given) * torch.nan)
    given = {"prompts": "a cat", "seeds": "1", "strengths": "1", **HOW}
    grid, _ = compare(models, files="run-step-1", **given)
    assert "run-step-1, 1 picture: it was denoised well, and the VAE" in caplog.text
    red = (grid[..., 0] > 0.6) & (grid[..., 1] < 0.4) & (grid[..., 2] < 0.4)
    assert bool(red.any())


def test_what_is_strange_about_a_file_is_in_the_report(host: Host) -> None:
    models = load_models()
    written(host, models)
    path = host.loras / "a.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    report = LoadLora().load(models[0], "a.safetensors", 1.0, models[1])[3]
    assert "note: its tensors do not fit the hash" in report
