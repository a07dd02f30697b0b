"""ai-toolkit: the same layers, data sets and length as it would train."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lycoris_ext.config.imports.ai_toolkit import FORMAT
from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.data.order import EqualEpochs
from lycoris_ext.errors import ConfigError
from tests.config.imports.adapted import adapted, models, wrapped
from tests.config.imports.building import assert_refused, built
from tests.config.imports.samples import AI_TOOLKIT


def job(**tables: Any) -> dict[str, Any]:
    """Return the sample with some settings of the process or of its tables changed."""
    document = copy.deepcopy(AI_TOOLKIT)
    process = document["config"]["process"][0]
    for name, changes in tables.items():
        if isinstance(changes, dict):
            process.setdefault(name, {}).update(changes)
        else:
            process[name] = changes
    return document


def read(**tables: Any) -> Foreign:
    return FORMAT.read(job(**tables), "job.yaml")


def data_set(**changes: Any) -> Foreign:
    row = AI_TOOLKIT["config"]["process"][0]["datasets"][0]
    return read(datasets=[{**row, **changes}])


def test_a_job_gives_the_same_run() -> None:
    config = built(read())
    network, run = config.network, config.run
    assert (network.algo, network.network_dim, network.network_alpha) == ("lora", 32, 16.0)
    assert (network.conv_dim, network.conv_alpha) == (8, 4.0)
    assert network.network_train_unet_only
    optimizer = config.optimizer
    assert (optimizer.optimizer_type, optimizer.learning_rate) == ("AdamW8bit", 1e-4)
    assert (optimizer.weight_decay, optimizer.adam_epsilon) == (1e-4, 1e-6)
    assert (run.max_train_steps, run.mixed_precision, run.save_precision) == (3000, "bf16", "bf16")
    assert (run.output_dir, run.output_name, run.ema_decay) == ("output/me", "me", 0.99)
    assert config.sample.sample_prompts == (
        "me by the sea --w 1024 --h 768 --s 25 --l 6 --d 42",
        "me --w 1024 --h 768 --s 25 --l 6 --d 3",
    )


def test_masks_are_masks() -> None:
    data = built(data_set(mask_path="masks")).data
    assert data.masked_loss
    assert {each.conditioning_data_dir for each in data.own_subsets} == {"masks"}


def test_a_data_set_is_trained_at_each_of_its_resolutions() -> None:
    subsets = built(read()).data.subsets or ()
    assert [subset.resolution for subset in subsets] == [512, 768]
    assert {subset.image_dir for subset in subsets} == {"pictures/me"}
    assert {subset.caption_extension for subset in subsets} == {".txt"}
    assert {(subset.num_repeats, subset.flip_aug) for subset in subsets} == {(2, True)}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("conv", [None, 8])
def test_all_layers_of_the_unet_are_adapted_but_spatial_ones_only_with_conv(
    tmp_path: Path, family: str, conv: int | None
) -> None:
    parts = models(tmp_path, family)
    del parts["text_encoder"]
    expected = {
        name
        for name, layer in wrapped({"unet": parts["unet"]}).items()
        if conv or not isinstance(layer, nn.Conv2d) or layer.kernel_size == (1, 1)
    }
    foreign = read(network={"conv": conv}, model={"arch": family})
    assert adapted(built(foreign), parts).keys() == expected


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"only_if_contains": ["attn2", "ff.net"]}, lambda n: "attn2" in n or "ff.net" in n),
        ({"only_if_contains": ["lora_unet_mid_block"]}, lambda n: "mid_block" in n),
        ({"ignore_if_contains": ["attn1"]}, lambda n: "attn1" not in n),
    ],
)
def test_words_in_names_choose_layers(
    tmp_path: Path, arguments: dict[str, Any], wanted: Any
) -> None:
    parts = models(tmp_path, "sd1")
    foreign = read(network={"network_kwargs": arguments}, model={"arch": "sd1"})
    expected = {name for name in wrapped({"unet": parts["unet"]}) if wanted(name)}
    assert adapted(built(foreign), parts).keys() == expected


def test_one_text_encoder_of_two_can_be_trained(tmp_path: Path) -> None:
    foreign = read(train={"train_text_encoder": True}, model={"use_text_encoder_1": False})
    layers = adapted(built(foreign), models(tmp_path, "sdxl"))
    assert {name.split(".")[0] for name in layers} == {"unet", "text_encoder_2"}


def test_a_lokr_of_whole_matrices_needs_no_rank() -> None:
    network = built(read(network={"type": "lokr", "lokr_factor": 8})).network
    assert (network.algo, network.full_matrix, network.factor) == ("lokr", True, 8)


def test_the_older_accumulation_counts_batches_as_steps() -> None:
    run = built(read(train={"gradient_accumulation_steps": 4})).run
    assert (run.gradient_accumulation_steps, run.max_train_steps) == (4, 750)
    assert run.save_every_n_steps == 62
    run = built(read(train={"gradient_accumulation": 4})).run
    assert (run.gradient_accumulation_steps, run.max_train_steps) == (4, 3000)


@pytest.mark.parametrize(("chosen", "noise"), [("content", 0.75), ("style", 0.25)])
def test_content_is_learnt_at_much_noise_and_style_at_little(chosen: str, noise: float) -> None:
    loss = built(read(train={"content_or_style": chosen})).loss
    table = loss.timestep_chances(1000)
    assert table is not None
    mean = float((table * torch.arange(1000)).sum() / 1000)
    assert mean == pytest.approx(noise, abs=0.002)  # the mean of u^3 is 1/4


def test_denoising_steps_are_counted_from_full_noise() -> None:
    loss = built(read(train={"min_denoising_steps": 200, "max_denoising_steps": 800})).loss
    # It draws indices 201 to 798 of the timesteps 999, 998, ... 0.
    assert (loss.min_timestep, loss.max_timestep) == (999 - 798, 999 - 201 + 1)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"trigger_word": "m3"}, "caption_prefix"),
        ({"train": {"noise_scheduler": "flowmatch"}}, "ddpm"),
        ({"train": {"content_or_style": "other"}}, "balanced"),
        ({"train": {"lr_scheduler": "linear"}}, "constant"),
        ({"train": {"diff_output_preservation": True}}, "without it"),
        ({"train": {"snr_gamma": 5.0}}, "min_snr_gamma"),
        ({"train": {"timestep_type": "four_step"}}, "timesteps"),
        ({"train": {"prompt_saturation_chance": 0.5}}, "without it"),
        ({"model": {"quantize": True}}, "not quantised"),
        ({"network": {"type": "lorm"}}, "lokr"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_the_nearest(
    tables: dict[str, Any], words: str
) -> None:
    assert_refused(read(**tables), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask_path": "masks", "mask_min_value": 0.1}, "grey"),
        ({"flip_y": True}, "copies"),
        ({"loss_multiplier": 2.0}, "num_repeats"),
        ({"control_path": "depth"}, "control"),
        ({"trigger_word": "m3"}, "caption_prefix"),
    ],
)
def test_what_a_data_set_does_otherwise_is_refused_by_its_folder(
    changes: dict[str, Any], words: str
) -> None:
    (error,) = data_set(**changes).unsupported
    assert words in str(error.fix)
    assert "data set pictures/me: " in str(error)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (job(model={"is_flux": True}), "is_flux"),
        (job(model={"arch": "qwen_image"}), "qwen_image"),
        (job(network={}) | {"job": "train"}, ""),
        (job(adapter={"type": "ip"}), "adapter"),
        ({"job": "mod", "config": {"process": [{"type": "rescale_lora"}]}}, "rescale_lora"),
        ({"job": "extension", "config": {"process": [{"type": "slider"}]}}, "slider"),
    ],
)
def test_what_trains_something_else_is_told_in_a_sentence(
    document: dict[str, Any], words: str
) -> None:
    if not words:
        del document["config"]["process"][0]["network"]
        words = "the whole model"
    with pytest.raises(ConfigError, match=words):
        FORMAT.read(document, "job.yaml")


def test_as_many_copies_are_kept_as_the_program_keeps() -> None:
    run = built(read(save={"save_every": 250, "max_step_saves_to_keep": 4})).run
    assert (run.save_every_n_steps, run.save_last_n_steps) == (250, 750)
    saved = range(250, 3001, 250)
    assert sum(run.keeps_checkpoint(step, 3000, EqualEpochs(10)) for step in saved) == 4
