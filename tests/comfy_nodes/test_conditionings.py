"""Datasets whose captions other nodes have encoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comfy_nodes.dataset import Dataset, DatasetImages
from lycoris_ext.errors import ConfigError
from tests.comfy_nodes.models import load_models
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.test_train import train

IMAGES = torch.rand(3, 32, 32, 3, generator=torch.Generator().manual_seed(1))
CUT = {"resolution": [32], "train_batch_size": [1], "enable_bucket": [False]}


def conditioning(seed: int, width: int = 16) -> Any:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(1, 3, width, generator=generator)
    return [[states, {"pooled_output": states.mean(dim=1)}]]


def images(*encoded: Any, **more: Any) -> Dataset:
    values = {name: [value] for name, value in more.items() if name != "empty_conditioning"}
    empty = {name: [v] for name, v in more.items() if name == "empty_conditioning"}
    return DatasetImages().read([IMAGES], [""], list(encoded), **empty, **CUT, **values)[0]


def test_text_options_beside_conditionings_are_refused_all_at_once(host: Host) -> None:
    with pytest.raises(ConfigError) as told:
        images(conditioning(1), caption_prefix="my", caption_suffix="x", shuffle_caption=True,
               caption_tag_dropout_rate=0.1)  # fmt: skip
    for name in ("caption_prefix", "caption_suffix", "shuffle_caption", "caption_tag_dropout_rate"):
        assert f"{name} changes texts, and the captions are encoded already" in str(told.value)


def test_clip_reads_no_name_of_a_conditioning(host: Host) -> None:
    models = load_models()
    train(models, images(conditioning(1)), sample_every_n_steps=2)
    assert set(models[1].read) <= {""}
    assert any("the captions are conditionings" in text for _, text in host.shown)


def test_names_of_conditionings_are_no_tags_of_the_file(host: Host) -> None:
    metadata = train(load_models(), images(conditioning(1)))["result"][0].metadata
    assert json.loads(metadata["ss_tag_frequency"]) == {}
    assert "modelspec.trigger_phrase" not in metadata


@pytest.mark.parametrize(
    "dropped", [{"caption_dropout_rate": 0.5}, {"caption_dropout_every_n_epochs": 1}], ids=str
)
def test_caption_dropout_needs_a_clip_or_the_conditioning_of_an_empty_text(
    host: Host, dropped: dict[str, Any]
) -> None:
    models = load_models()
    encode, models[2].encode = models[2].encode, None
    with pytest.raises(ConfigError, match="caption dropout shows the model an empty text"):
        train(models, images(conditioning(1), **dropped), clip=None)
    models[2].encode = encode
    read = images(conditioning(1), **dropped, empty_conditioning=conditioning(2))
    assert train(models, read, clip=None)["result"][1].endswith("mine.safetensors")
    assert models[1].read == []
    train(models, images(conditioning(1), **dropped), output_name="by_clip")
    assert set(models[1].read) == {""}


def test_no_text_encoder_is_trained_on_conditionings(host: Host) -> None:
    """None reads anything then, so its layers would be stored as they were made."""
    models, data = load_models(), images(conditioning(1))
    lora = train(models, data, network={"train": "model and text encoder"})["result"][0]
    assert lora and all(key.startswith("lora_unet_") for key in lora)
    assert any("so the model alone gets an adapter" in text for _, text in host.shown)
    with pytest.raises(ConfigError, match="encoded already, and the text encoder alone"):
        train(models, data, network={"train": "text encoder"})


def test_another_conditioning_is_another_run(host: Host) -> None:
    def name(*seeds: int) -> str:
        data = images(*(conditioning(seed) for seed in seeds))
        return Path(train(load_models(), data, clip=None)["result"][1]).stem

    assert [name(1), name(1), name(2), name(1, 2, 3), name(1)] == [
        "mine", "mine", "mine-2", "mine-3", "mine",
    ]  # fmt: skip


def test_conditionings_in_lists_of_lists_are_taken_one_by_one(host: Host) -> None:
    """ComfyUI's Resolution Bucket gives a list of conditionings for each bucket."""
    data = images([conditioning(1), conditioning(2)], [conditioning(3)])
    flat = images(conditioning(1), conditioning(2), conditioning(3))
    assert list(data.conditionings) == list(flat.conditionings) and len(data.conditionings) == 3


def test_conditionings_of_another_width_are_refused(host: Host) -> None:
    with pytest.raises(ConfigError, match="conditionings have 24 numbers for each token"):
        train(load_models(), images(conditioning(1, width=24)), clip=None)


def test_texts_that_conditionings_replace_are_told(host: Host) -> None:
    _, summary = DatasetImages().read([IMAGES], ["a cat"], [conditioning(1)], **CUT)
    assert "captions are not used" in summary


def test_an_empty_list_in_place_of_the_empty_text_is_told(host: Host) -> None:
    with pytest.raises(ConfigError, match="holds no conditioning") as told:
        images(conditioning(1), empty_conditioning=[])
    assert told.value.where == "empty_conditioning"
