"""LoRA_Easy_Training_Scripts: its JSON of 2023 and the TOML of its window."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from lycoris_ext.config import TrainConfig
from lycoris_ext.config.imports.easy_scripts import FORMAT
from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.errors import ConfigError
from lycoris_ext.training.schedules import learning_rate_factor
from tests.config.imports.building import built
from tests.config.imports.samples import EASY_JSON, EASY_TOML


def read_json(**changes: Any) -> Foreign:
    return FORMAT.read({**EASY_JSON, **changes}, "config.json")


def config_of_json(**changes: Any) -> TrainConfig:
    foreign = read_json(**changes)
    assert foreign.unsupported == ()
    return built(foreign)


def toml(**tables: dict[str, Any]) -> dict[str, Any]:
    """Return the TOML sample with some settings of its tables changed."""
    document = copy.deepcopy(EASY_TOML)
    for name, changes in tables.items():
        document.setdefault(name, {}).setdefault("args", {}).update(changes)
    return document


def test_the_json_of_2023_gives_the_run_that_the_program_started() -> None:
    config = config_of_json()
    network, data, run = config.network, config.data, config.run
    assert (network.algo, network.network_dim, network.network_alpha) == ("loha", 8, 1.0)
    assert (network.conv_dim, network.conv_alpha) == (4, 1.0)
    assert (data.train_data_dir, data.resolution, data.train_batch_size) == ("pictures", 512, 4)
    assert (data.min_bucket_reso, data.max_bucket_reso, data.enable_bucket) == (320, 960, True)
    assert (data.shuffle_caption, data.keep_tokens) == (True, 1)
    assert (config.optimizer.learning_rate, config.optimizer.text_encoder_lr) == (2e-4, 1e-4)
    assert (config.optimizer.weight_decay, config.optimizer.adam_beta2) == (0.1, 0.99)
    assert (run.max_train_epochs, run.seed, run.output_name) == (3, 23, "style")
    assert config.model.clip_skip == 1


def test_convolutions_are_decomposed_as_in_the_lycoris_of_that_time() -> None:
    assert config_of_json().network.use_tucker
    arguments = {**EASY_JSON["network_args"], "disable_conv_cp": "True"}
    assert not config_of_json(network_args=arguments).network.use_tucker


def test_settings_that_an_old_file_lacks_have_the_defaults_of_the_program() -> None:
    foreign = FORMAT.read({"base_model": "a.safetensors", "img_folder": "b"}, "old.json")
    values = foreign.values
    assert (values["network_dim"], values["network_alpha"]) == (32, 16)
    assert (values["learning_rate"], values["lr_scheduler"]) == (1e-4, "cosine")
    assert values["optimizer_args"] == ["weight_decay=0.1", "betas=0.9,0.99"]
    assert (values["clip_skip"], values["max_token_length"], values["seed"]) == (2, 150, 23)
    assert (values["mixed_precision"], values["max_train_epochs"]) == ("fp16", 1)
    assert values["network_module"] == "networks.lora"


def test_none_in_a_json_file_is_not_set() -> None:
    values = read_json().values
    assert not [name for name, value in values.items() if value is None]


def test_steps_take_the_place_of_epochs() -> None:
    run = config_of_json(max_steps=500).run
    assert (run.max_train_steps, run.max_train_epochs) == (500, None)


@pytest.mark.parametrize(("scheduler", "expected"), [("cosine", 0.1), ("constant", 0)])
def test_a_warm_up_in_percent_is_a_share_of_all_steps(scheduler: str, expected: float) -> None:
    schedule = config_of_json(scheduler=scheduler, warmup_lr_ratio=0.1).schedule
    assert schedule.lr_warmup_steps == expected


def test_a_file_without_buckets_trains_without_them() -> None:
    assert not config_of_json(buckets=False).data.enable_bucket


def test_kohyas_own_lora_does_not_get_the_algorithm_of_lycoris() -> None:
    network = config_of_json(lyco=False, network_args=None, locon_dim=2, locon_alpha=1).network
    assert (network.algo, network.conv_dim, network.conv_alpha) == ("lora", 2, 1.0)


@pytest.mark.parametrize(
    ("old", "option", "value"),
    [
        ({"use_8bit_adam": True, "optimizer_type": "AdamW"}, "optimizer_type", "AdamW8bit"),
        ({"use_lion": True}, "optimizer_type", "Lion"),
        ({"height_resolution": 768}, "resolution", "512,768"),
        ({"epoch": 7}, "max_train_epochs", 7),
        ({"load_previous_save_state": "state"}, "resume", "state"),
    ],
)
def test_names_and_switches_of_older_versions(
    old: dict[str, Any], option: str, value: object
) -> None:
    assert read_json(**old).values[option] == value


def test_the_toml_gives_subsets_with_the_options_of_its_data_set() -> None:
    values = FORMAT.read(EASY_TOML, "config.toml").values
    (dataset,) = values["datasets"]  # type: ignore[misc]
    (subset,) = dataset["subsets"]
    assert (dataset["resolution"], dataset["batch_size"]) == ([512, 768], 2)
    assert dataset["enable_bucket"] is False  # sd-scripts' default
    assert subset["image_dir"] == "pictures/10_me"
    assert "name" not in subset and "is_reg" not in subset


def test_the_easy_name_is_put_into_the_names_that_refer_to_it() -> None:
    run = built(FORMAT.read(EASY_TOML, "config.toml")).run
    assert (run.output_dir, run.output_name) == ("runs/mine", "mine_v1")


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        ({"algo": "lokr"}, "lycoris.kohya"),
        ({"unit": 4}, "networks.dylora"),
        ({"conv_dim": 4}, "networks.lora"),
    ],
)
def test_the_network_of_the_toml_follows_from_its_arguments(
    arguments: dict[str, Any], module: str
) -> None:
    document = toml(network_args={"network_args": arguments})
    assert FORMAT.read(document, "config.toml").values["network_module"] == module


def own_scheduler(kind: str, cycles: int = 1, **arguments: float) -> Foreign:
    changes: dict[str, Any] = {
        "lr_scheduler_type": f"LoraEasyCustomOptimizer.{kind}.{kind}",
        "lr_scheduler_args": arguments,
        "lr_scheduler_num_cycles": cycles,
        "lr_scheduler": "constant",
    }
    return FORMAT.read(toml(optimizer_args=changes), "config.toml")


def test_its_cosine_with_a_lowest_rate_has_the_same_rates_here() -> None:
    lowest, steps, warmup = 2e-5, 200, 10
    foreign = own_scheduler("CosineAnnealingWarmRestarts", gamma=0.9, min_lr=lowest)
    assert foreign.unsupported == ()
    config = built(foreign)
    for step in (warmup, 50, 100, steps - 1):
        done = (step - warmup) / (steps - warmup)
        theirs = lowest + (1e-4 - lowest) * 0.5 * (1 + math.cos(math.pi * done))
        ours = 1e-4 * learning_rate_factor(config.schedule, step, steps)
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "cycles", "nearest"),
    [
        ("RexAnnealingWarmRestarts", 1, "rex"),
        ("CosineAnnealingWarmRestarts", 3, "cosine_with_restarts"),
    ],
)
def test_other_schedulers_of_its_own_are_refused_with_the_nearest(
    kind: str, cycles: int, nearest: str
) -> None:
    foreign = own_scheduler(kind, cycles, gamma=0.9)
    (error,) = foreign.unsupported
    assert nearest in str(error.fix)
    assert built(foreign).schedule.lr_scheduler == nearest


@pytest.mark.parametrize(
    ("table", "changes", "words"),
    [
        ("flux_args", {"ae": "ae.safetensors"}, "FLUX"),
        ("anima_args", {"qwen3": "q.safetensors"}, "Anima"),
        ("train_mode", {}, "textual_inversion"),
    ],
)
def test_what_trains_something_else_is_told_in_a_sentence(
    table: str, changes: dict[str, Any], words: str
) -> None:
    document = toml(**({table: changes} if changes else {}))
    if not changes:
        document["train_mode"] = {"train_mode": "textual_inversion"}
    with pytest.raises(ConfigError, match=words):
        FORMAT.read(document, "config.toml")
