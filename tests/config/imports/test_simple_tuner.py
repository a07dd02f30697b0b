"""SimpleTuner: config.json, its data sets, LyCORIS' file and the former config.env."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.config.imports.simple_tuner import FORMAT
from lycoris_ext.data.order import EqualEpochs
from lycoris_ext.errors import ConfigError
from tests.config.imports.adapted import adapted, models, wrapped
from tests.config.imports.building import assert_refused, built
from tests.config.imports.samples import SIMPLE_TUNER

DATASETS = [
    {
        "id": "me",
        "type": "local",
        "instance_data_dir": "pictures/me",
        "crop": False,
        "resolution": 0.5,
        "resolution_type": "area",
        "minimum_image_size": 0,
        "repeats": 9,
        "caption_strategy": "textfile",
        "metadata_backend": "discovery",
        "cache_dir_vae": "cache/vae",
    },
    {"id": "off", "type": "local", "instance_data_dir": "pictures/off", "disabled": True},
    {"id": "text", "type": "local", "dataset_type": "text_embeds", "cache_dir": "cache/text"},
]
LYCORIS = {
    "algo": "lokr",
    "multiplier": 1.0,
    "linear_dim": 8,
    "linear_alpha": 4,
    "factor": 4,
    "apply_preset": {
        "target_module": ["Attention", "FeedForward"],
        "module_algo_map": {"FeedForward": {"factor": 2, "dim": 3}, "ResnetBlock2D": {"dim": 1}},
    },
}


def read(where: str = "config.json", **changes: Any) -> Foreign:
    return FORMAT.read({**SIMPLE_TUNER, **changes}, where)


def read_beside(folder: Path, name: str, content: object, **changes: Any) -> Foreign:
    """Read a config in a folder beside a JSON file that it names."""
    (folder / "config").mkdir()
    (folder / "config" / "other.json").write_text(json.dumps(content), encoding="utf-8")
    where = str(folder / "config" / "config.json")
    return read(where, **{name: "config/other.json", **changes})


def test_a_config_gives_the_same_run() -> None:
    config = built(read())
    network, run = config.network, config.run
    assert (network.algo, network.network_dim, network.network_alpha) == ("lora", 16, 8.0)
    assert (network.conv_dim, network.dropout) == (0, 0.0)
    assert config.optimizer.learning_rate == 1e-4
    assert (run.max_train_steps, run.max_train_epochs, run.seed) == (2000, None, 42)
    assert (run.output_dir, run.output_name) == ("output/me", "pytorch_lora_weights")
    assert (config.loss.min_snr_gamma, config.loss.noise_offset) == (5.0, 0.0)
    assert config.data.caption_dropout_rate == 0.1
    assert config.schedule.lr_warmup_steps == 100
    assert config.sample.sample_prompts == ("me by the sea --w 1024 --h 768 --s 20",)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_its_lora_adapts_the_attention_of_the_unet(tmp_path: Path, family: str) -> None:
    parts = models(tmp_path, family)
    ends = (".to_q", ".to_k", ".to_v", ".to_out.0")
    expected = {name for name in wrapped({"unet": parts["unet"]}) if name.endswith(ends)}
    assert adapted(built(read()), parts).keys() == expected


def test_layers_of_its_lora_can_be_named(tmp_path: Path) -> None:
    foreign = read(peft_lora_target_modules=["to_q", "proj_in"])
    parts = models(tmp_path, "sd1")
    expected = {n for n in wrapped({"unet": parts["unet"]}) if n.endswith((".to_q", ".proj_in"))}
    assert adapted(built(foreign), parts).keys() == expected


def test_lycoris_adapts_the_layers_in_classes_each_with_its_own_settings(tmp_path: Path) -> None:
    foreign = read_beside(tmp_path, "lycoris_config", LYCORIS, **{"--lora_type": "lycoris"})
    # Both names of the setting are in the file; the later counts.
    assert foreign.unsupported == ()
    parts = models(tmp_path / "model", "sd1")
    unet = parts["unet"]
    inside: dict[str, str] = {}
    for path, module in unet.named_modules():
        kind = type(module).__name__
        if kind in ("Attention", "FeedForward"):
            inside |= {f"unet.{path}.{name}": kind for name, _ in module.named_modules()}
    layers = adapted(built(foreign), parts)
    assert layers.keys() == {name for name in wrapped({"unet": unet}) if name in inside}
    sizes = {(inside[n], layer.rank, layer.options.factor) for n, layer in layers.items()}
    assert sizes == {("Attention", 8, 4), ("FeedForward", 3, 2)}


def test_a_data_set_for_evaluation_is_held_out(tmp_path: Path) -> None:
    held = {"id": "e", "type": "local", "dataset_type": "eval", "instance_data_dir": "held",
            "caption_strategy": "textfile"}  # fmt: skip
    own = {"--eval_steps_interval": 10, "--eval_epoch_interval": 0.5}
    foreign = read_beside(tmp_path, "--data_backend_config", [*DATASETS, held], **own)
    assert foreign.unsupported == ()
    config = built(foreign)
    splits = {each.image_dir: each.validation_split for each in config.data.own_subsets}
    assert splits.pop("held") == 1.0 and not any(splits.values())
    options = config.validation
    assert (options.validate_every_n_steps, options.validate_every_n_epochs) == (10, None)


def test_data_sets_are_read_from_their_file(tmp_path: Path) -> None:
    foreign = read_beside(tmp_path, "--data_backend_config", DATASETS)
    assert foreign.unsupported == ()
    data = built(foreign).data
    (subset,) = data.subsets or ()
    assert subset.image_dir == "pictures/me"
    assert subset.num_repeats == 10  # it counts the repeats after the first time
    assert data.resolution == 704  # half a megapixel
    assert data.enable_bucket


def test_a_data_set_of_masks_belongs_to_the_pictures_that_name_it(tmp_path: Path) -> None:
    masks = {
        "id": "me-masks",
        "dataset_type": "conditioning",
        "conditioning_type": "mask",
        "instance_data_dir": "masks/me",
    }
    rows = [{**DATASETS[0], "conditioning_data": "me-masks"}, *DATASETS[1:], masks]
    foreign = read_beside(tmp_path, "--data_backend_config", rows)
    assert foreign.unsupported == ()
    data = built(foreign).data
    assert data.masked_loss
    assert [each.conditioning_data_dir for each in data.own_subsets] == ["masks/me"]


def test_data_sets_take_the_captions_setting_of_the_config(tmp_path: Path) -> None:
    row = {name: value for name, value in DATASETS[0].items() if name != "caption_strategy"}
    changes = {
        "caption_strategy": "textfile",
        "instance_prompt": "me,",
        "prepend_instance_prompt": True,
    }
    foreign = read_beside(tmp_path, "--data_backend_config", [row], **changes)
    assert foreign.unsupported == ()
    (subset,) = built(foreign).data.subsets or ()
    assert subset.caption_prefix == "me,"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"caption_strategy": "filename"}, ".txt"),
        ({"caption_strategy": "instanceprompt", "instance_prompt": "me"}, "class_tokens"),
        ({"minimum_image_size": 512}, "another folder"),
        ({"type": "aws"}, "copy the pictures"),
        ({"is_regularisation_data": True}, "is_reg"),
        ({"conditioning_data": "depth"}, "conditioning"),
        ({"resolution_type": "pixel", "resolution": 512}, "pixel_area"),
    ],
)
def test_what_a_data_set_does_otherwise_is_refused_by_its_id(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    rows = [{**DATASETS[0], **changes}]
    (error,) = read_beside(tmp_path, "--data_backend_config", rows).unsupported
    assert words in str(error.fix)
    assert "data set me: " in str(error)


def test_a_file_of_data_sets_that_is_not_there_is_missed() -> None:
    (error,) = read(data_backend_config="config/none.json").unsupported
    assert "config/none.json" in str(error)
    assert "the folders of pictures" in str(error.fix)


def test_a_file_of_data_sets_that_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("[{", encoding="utf-8")
    foreign = read(str(tmp_path / "config.json"), data_backend_config="data.json")
    (error,) = foreign.unsupported
    assert "cannot be read" in error.what


def test_the_former_config_env_has_the_same_meaning() -> None:
    foreign = FORMAT.read(
        {
            "MODEL_TYPE": "lora",
            "MODEL_FAMILY": "sdxl",
            "MODEL_NAME": "sdxl",
            "MAX_NUM_STEPS": "300",
            "NUM_EPOCHS": "0",
            "CHECKPOINTING_STEPS": "150",
            "LEARNING_RATE": "8e-5",
            "LR_SCHEDULE": "constant",
            "OPTIMIZER": "adamw_bf16",
            "TRAIN_BATCH_SIZE": "3",
            "USE_GRADIENT_CHECKPOINTING": "true",
            "OUTPUT_DIR": "output/models",
            "TRAINING_NUM_PROCESSES": "1",
            "USE_EMA": "false",
            "TRAINER_EXTRA_ARGS": "--lora_rank=32 --snr_gamma 5 --rescale_betas_zero_snr",
        },
        "config.env",
    )
    assert foreign.unsupported == ()
    config = built(foreign)
    assert (config.run.max_train_steps, config.run.save_every_n_steps) == (300, 150)
    assert (config.optimizer.learning_rate, config.data.train_batch_size) == (8e-5, 3)
    assert (config.network.network_dim, config.loss.min_snr_gamma) == (32, 5.0)
    assert config.loss.zero_terminal_snr


def test_the_rate_is_scaled_by_the_batch() -> None:
    changes = {"--lr_scale": True, "--gradient_accumulation_steps": 2}
    assert built(read(**changes)).optimizer.learning_rate == pytest.approx(4e-4)
    changes["--lr_scale_sqrt"] = True
    assert built(read(**changes)).optimizer.learning_rate == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--lr_scheduler": "sine"}, "cosine_with_restarts"),
        ({"--offset_noise": "true"}, "offset"),
        ({"--timestep_bias_strategy": "later"}, "min_timestep"),
        ({"--base_model_precision": "int8-quanto"}, "not quantised"),
        ({"--crepa_enabled": True}, "without it"),
        ({"--num_processes": 4}, "gradient_accumulation_steps"),
        ({"--use_soft_min_snr": True}, "min_snr_gamma"),
        ({"--lora_type": "other"}, "lycoris"),
        ({"--resolution_type": "edge"}, "pixel_area"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_the_nearest(
    changes: dict[str, Any], words: str
) -> None:
    assert_refused(read(**changes), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--model_family": "flux"}, "flux"),
        ({"--model_type": "full"}, "full"),
        ({"--controlnet": "true"}, "ControlNet"),
    ],
)
def test_what_trains_something_else_is_told_in_a_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read(**changes)


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_copies_are_kept_as_the_program_keeps(limit: int) -> None:
    run = built(read(checkpoint_step_interval=100, checkpoints_total_limit=limit)).run
    kept = [
        step for step in range(100, 1001, 100) if run.keeps_checkpoint(step, 1000, EqualEpochs(10))
    ]
    assert len(kept) == limit and run.save_last_n_epochs is None
    run = built(read(checkpoint_epoch_interval=1, checkpoints_total_limit=limit)).run
    assert run.save_last_n_epochs == limit
