"""Folders of base models whose configs and weights are not what they should be."""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lycoris_ext.errors import DataError, LycorisExtError
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.models.identify import identify
from lycoris_ext.models.outline import load_outline, picture_size_of

CONFIGS = [
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
]
UNET = "diffusion_pytorch_model"


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "model")


def options(folder: Path, **more: Any) -> ModelConfig:
    return ModelConfig(pretrained_model_name_or_path=str(folder), **more)


def told(read: Any, config: ModelConfig) -> LycorisExtError | None:
    """Return what reading a model is refused with; any other error than ours is raised."""
    try:
        read(config)
    except LycorisExtError as error:
        return error
    return None


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return asked


@pytest.mark.parametrize("content", ['"x"', "5", "", "[" * 99_999, "\xff"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_is_no_object_is_told_and_nothing_is_asked_of_the_network(
    folder: Path, no_network: list[object], name: str, content: str
) -> None:
    (folder / name).write_text(content, encoding="latin-1")
    config = options(folder)
    for read in (load_outline, lambda config: load_pipeline(config, "cpu")):
        error = told(read, config)
        assert isinstance(error, DataError) and name.partition("/")[0] in str(error.where)
    told(picture_size_of, config)
    assert not no_network


@pytest.mark.parametrize("name", CONFIGS)
def test_a_wrong_value_in_a_config_ends_in_words_or_does_not_matter(
    folder: Path, name: str
) -> None:
    path = folder / name
    whole = json.loads(path.read_text("utf-8"))
    chance = random.Random(name)
    keys = [key for key in whole if not key.startswith("_")]
    for key in chance.sample(keys, min(6, len(keys))):
        value = chance.choice([None, "x", -1, 0, 3, 1.5, [], {}, True, ["x"]])
        path.write_text(json.dumps(whole | {key: value}), encoding="utf-8")
        config = options(folder)
        outline, loaded = (
            told(read, config)
            for read in (load_outline, lambda config: load_pipeline(config, "cpu"))
        )
        assert loaded or not outline, f"{key} = {value!r}: {outline}"
        told(picture_size_of, config)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (CONFIGS[3], {"prediction_type": "x"}, "prediction_type is 'x', expected one of epsilon, "),
        (CONFIGS[3], {"beta_start": 2.0, "beta_end": 2.0}, "is no noise schedule"),
        (CONFIGS[3], {"num_train_timesteps": 0}, "is no noise schedule"),
        (CONFIGS[4], {"pad_token": "ä"}, "the tokenizer's pad_token has the number "),
    ],
)
def test_a_config_that_would_fail_in_the_first_step_is_refused(
    folder: Path, name: str, change: dict[str, object], said: str
) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), encoding="utf-8")
    for read in (load_outline, lambda config: load_pipeline(config, "cpu")):
        error = told(read, options(folder))
        assert error and said in error.what


@pytest.mark.parametrize("size", [None, [64, 64]])
def test_a_unet_that_does_not_tell_one_size_has_that_of_stable_diffusion_1(
    folder: Path, size: object
) -> None:
    path = folder / "unet" / "config.json"
    changed = json.loads(path.read_text("utf-8")) | {"sample_size": size}
    path.write_text(json.dumps(changed), encoding="utf-8")
    config = options(folder)
    outline = load_outline(config)
    assert picture_size_of(config) == outline.picture_size == 64 * outline.latent_factor


def test_weights_in_several_files_are_read_and_hashed(folder: Path) -> None:
    whole = load_pipeline(options(folder), "cpu")
    whole.base_hash()  # it is kept
    for part, stem in (("unet", UNET), ("text_encoder", "model")):
        split_weights(folder / part, stem)
    config = options(folder)
    pipeline, outline = load_pipeline(config, "cpu"), load_outline(config)
    for name, part in whole.targets().items():
        own = pipeline.targets()[name].state_dict()
        assert all(torch.equal(own[key], tensor) for key, tensor in part.state_dict().items())
    assert outline.base_hash() == pipeline.base_hash() != whole.base_hash()
    second = folder / "unet" / f"{UNET}-00002-of-00002.safetensors"
    save_file({key: t + 1 for key, t in load_file(second).items()}, second)
    assert load_pipeline(config, "cpu").base_hash() != pipeline.base_hash()
    second.unlink()
    for read in (load_outline, lambda config: load_pipeline(config, "cpu")):
        error = told(read, config)
        assert error and f"unet/{second.name}" in error.what


@pytest.mark.parametrize("weight_map", [None, {}, {"a": 5}, {"a": "../b.safetensors"}, {"a": [1]}])
def test_an_index_that_names_no_files_beside_it_is_refused(folder: Path, weight_map: Any) -> None:
    split_weights(folder / "unet", UNET)
    index = folder / "unet" / f"{UNET}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    with pytest.raises(DataError, match=r"index\.json: names no files of weights in this folder"):
        load_outline(options(folder))


def split_weights(folder: Path, stem: str) -> None:
    """Write a part's weights as two files and an index, as diffusers and transformers do."""
    path = folder / f"{stem}.safetensors"
    tensors = load_file(path)
    names = sorted(tensors)
    by_weight = {
        name: f"{stem}-0000{1 + (place % 2)}-of-00002.safetensors"
        for place, name in enumerate(names)
    }
    for file in set(by_weight.values()):
        save_file({name: tensors[name] for name in names if by_weight[name] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": by_weight}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    path.unlink()


@pytest.mark.parametrize("shape", [(), (320,), (320, 4), (320, 0, 3, 3)])
def test_a_single_file_whose_first_layer_is_no_convolution_of_latents_is_refused(
    shape: tuple[int, ...],
) -> None:
    tensors = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(shape),
        "cond_stage_model.transformer.x": torch.zeros(1),
    }
    with pytest.raises(DataError, match=r"a model with other inputs \(0 input channels\)"):
        identify(tensors, Path("model.safetensors"))


def test_an_autoencoder_saved_by_an_old_diffusers_is_read(folder: Path) -> None:
    weights = folder / "vae" / f"{UNET}.safetensors"
    before = load_pipeline(options(folder), "cpu").vae.state_dict()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {
        re.sub(r"\.(to_[qkv]|to_out\.0)\.", lambda found: f".{old[found[1]]}.", key): tensor
        for key, tensor in load_file(weights).items()
    }
    assert any(".proj_attn." in key for key in renamed)
    save_file(renamed, weights)
    after = load_pipeline(options(folder), "cpu").vae.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
