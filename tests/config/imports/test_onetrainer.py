"""OneTrainer: the same layers, rates and pictures as it would train."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.config.imports.onetrainer import FORMAT
from lycoris_ext.data import DataConfig
from lycoris_ext.data.subset import Subset
from lycoris_ext.errors import ConfigError
from lycoris_ext.training.schedules import learning_rate_factor
from tests.config.imports.adapted import adapted, models, wrapped
from tests.config.imports.building import assert_refused, built
from tests.config.imports.samples import ONETRAINER

SD1 = "STABLE_DIFFUSION_15"
SDXL = "STABLE_DIFFUSION_XL_10_BASE"
NOT_TRAINED = {"train": False}


def read(where: str = "config.json", **changes: Any) -> Foreign:
    return FORMAT.read({**copy.deepcopy(ONETRAINER), **changes}, where)


def test_a_config_gives_the_same_run() -> None:
    config = built(read())
    network, run = config.network, config.run
    assert (network.algo, network.network_dim, network.network_alpha) == ("locon", 16, 8.0)
    assert (config.optimizer.optimizer_type, config.optimizer.adam_beta2) == ("AdamW", 0.99)
    assert (config.optimizer.learning_rate, config.optimizer.text_encoder_lr) == (3e-4, 1e-4)
    assert (run.max_train_epochs, run.mixed_precision, run.save_precision) == (10, "bf16", "fp16")
    assert (run.output_dir, run.output_name) == ("C:/models", "me")
    assert run.save_every_n_epochs == 5
    assert run.ema_decay**5 == pytest.approx(0.999, rel=1e-5)
    assert (config.loss.min_snr_gamma, config.loss.noise_offset) == (5.0, 0.05)
    assert (config.loss.min_timestep, config.loss.max_timestep) == (100, None)
    assert config.sample.sample_every_n_epochs == 2
    assert config.sample.sample_prompts == (
        "me by the sea --w 1024 --h 768 --d 3 --s 20 --l 7.0 --ss Euler a",
    )


def test_the_distribution_of_timesteps_is_the_same() -> None:
    chosen = {"noising_weight": 7.5, "noising_bias": 0.1, "timestep_shift": 3.0}
    loss = built(read(timestep_distribution="INVERTED_PARABOLA", **chosen)).loss
    assert loss.timestep_distribution == "inverted_parabola"
    assert {name: getattr(loss, name) for name in chosen} == chosen
    unread = built(read(timestep_distribution="COS_MAP", noising_weight=7.5, noising_bias=1.0)).loss
    assert (unread.noising_weight, unread.noising_bias) == (0.0, 0.0)
    assert built(read(noising_weight=1.0)).loss.timestep_distribution == "uniform"


def test_the_loss_of_a_concept_weighs_as_much() -> None:
    concepts = [{"path": "a", "loss_weight": 0.5}, {"path": "b"}]
    subsets = built(read(concepts=concepts)).data.subsets or ()
    weights = [Subset.of(DataConfig(), **one.changed()).loss_weight for one in subsets]
    assert weights == [0.5, 1.0]


def test_only_concepts_that_are_on_and_trained_become_subsets() -> None:
    data = built(read()).data
    (subset,) = data.subsets or ()
    assert (subset.image_dir, subset.num_repeats, data.resolution) == ("pictures/me", 3, 1024)
    assert (subset.flip_aug, subset.shuffle_caption, subset.keep_tokens) == (True, True, 2)


@pytest.mark.parametrize(
    ("unit", "every"), [("EPOCH", (None, 2)), ("STEP", (2, None)), ("MINUTE", (None, None))]
)
def test_concepts_for_validation_are_held_out_if_validation_is_on(unit, every) -> None:
    config = built(read(validation=True, validate_after=2.0, validate_after_unit=unit))
    _, held = config.data.subsets or ()
    assert (held.image_dir, held.validation_split) == ("pictures/held", 1.0)
    options = config.validation
    assert (options.validate_every_n_steps, options.validate_every_n_epochs) == every
    assert len(built(read(validation=True, validate_after_unit="NEVER")).data.subsets or ()) == 1


def test_the_first_tag_stays_first_where_a_concept_shuffles_the_others() -> None:
    (subset,) = (
        built(read(concepts=[{"path": "a", "text": {"enable_tag_shuffling": True}}])).data.subsets
        or ()
    )
    assert (subset.shuffle_caption, subset.keep_tokens) == (True, 1)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize(
    ("preset", "layer_filter", "is_regex"),
    [
        ("full", "", False),
        ("attn-mlp", "attentions", False),
        ("attn-only", "attn", False),
        ("custom", "attn2, ff.net", False),
        ("full", "attn2", False),
        ("custom", r"up_bl..ks.*resnets.[01].conv, ^mid_block.*attn1", True),
    ],
)
def test_the_same_layers_are_adapted(
    tmp_path: Path, family: str, preset: str, layer_filter: str, is_regex: bool
) -> None:
    parts = models(tmp_path, family)
    patterns = [part.strip() for part in layer_filter.split(",")]
    expected = {
        name
        for name in wrapped(parts)
        if not name.startswith("unet.")
        or any(
            re.search(pattern, name[5:]) if is_regex else pattern in name[5:]
            for pattern in patterns
        )
    }
    foreign = read(
        model_type=SD1 if family == "sd1" else SDXL,
        layer_filter_preset=preset,
        layer_filter=layer_filter,
        layer_filter_regex=is_regex,
    )
    assert foreign.unsupported == ()
    layers = adapted(built(foreign), parts)
    assert layers.keys() == expected
    assert {(layer.rank, layer.alpha) for layer in layers.values()} == {(16, 8.0)}


def test_a_preset_stands_for_its_filter() -> None:
    for preset, layer_filter in (("attn-mlp", "attentions"), ("attn-only", "attn")):
        named = read(layer_filter_preset=preset, layer_filter="").values
        assert named == read(layer_filter_preset="custom", layer_filter=layer_filter).values


def test_one_text_encoder_of_two_can_be_trained(tmp_path: Path) -> None:
    foreign = read(text_encoder_2=NOT_TRAINED, layer_filter_preset="full")
    layers = adapted(built(foreign), models(tmp_path, "sdxl"))
    assert {name.split(".")[0] for name in layers} == {"unet", "text_encoder"}


def test_no_text_encoder_is_trained() -> None:
    config = built(read(text_encoder=NOT_TRAINED, text_encoder_2=NOT_TRAINED))
    assert config.network.network_train_unet_only


THEIR_RATES = {
    "LINEAR": lambda done: 1 - done,
    "COSINE": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "COSINE_WITH_HARD_RESTARTS": lambda done: 0.5 * (1 + math.cos(math.pi * ((3 * done) % 1.0))),
    "CONSTANT": lambda done: 1.0,
}


@pytest.mark.parametrize("kind", THEIR_RATES)
@pytest.mark.parametrize("warmup", [0, 20, 0.1])
def test_the_rates_of_a_schedule_are_the_same(kind: str, warmup: float) -> None:
    foreign = read(
        learning_rate_scheduler=kind,
        learning_rate_warmup_steps=warmup,
        learning_rate_cycles=3.0,
        learning_rate_min_factor=0.0,
    )
    assert foreign.unsupported == ()
    schedule = built(foreign).schedule
    steps = 200
    first = int(warmup * steps) if 0 < warmup < 1 else int(warmup)
    for step in (0, 5, 19, 20, 77, 150, 199):
        done = (step - first) / (steps - first)
        theirs = step / first if step < first else THEIR_RATES[kind](done)
        assert learning_rate_factor(schedule, step, steps) == pytest.approx(theirs, abs=1e-9)


def test_a_lowest_rate_is_kept_by_the_cosine_and_refused_for_others() -> None:
    schedule = built(read()).schedule
    assert learning_rate_factor(schedule, 200, 200) == pytest.approx(0.1)
    (error,) = read(learning_rate_scheduler="LINEAR").unsupported
    assert "learning_rate_min_factor = 0.1" in str(error)


def test_a_warm_up_counts_batches_there_and_steps_here() -> None:
    schedule = built(read(gradient_accumulation_steps=4)).schedule
    assert schedule.lr_warmup_steps == 25


def test_rates_are_scaled_by_the_root_of_the_batch() -> None:
    optimizer = built(read(learning_rate_scaler="BATCH", batch_size=4)).optimizer
    assert optimizer.learning_rate == pytest.approx(6e-4)
    assert optimizer.text_encoder_lr == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masked_training": True}, "conditioning_data_dir"),
        ({"learning_rate_scheduler": "REX", "learning_rate_min_factor": 0}, "rex"),
        ({"timestep_distribution": "ANOTHER"}, "LOGIT_NORMAL"),
        ({"timestep_distribution": "HEAVY_TAIL", "noising_weight": 2.0}, "-1 to 1.75"),
        ({"timestep_distribution": "SIGMOID", "timestep_shift": 2.0}, "timestep_shift = 2"),
        ({"timestep_shift": 2.0}, "timestep_shift = 2"),
        ({"peft_type": "OFT_2"}, "diag-oft"),
        ({"loss_weight_fn": "P2"}, "min_snr_gamma"),
        ({"mse_strength": 0.5, "mae_strength": 0.5}, "loss_type"),
        ({"resolution": "512,1024", "concepts": None}, "[[data.subsets]]"),
        ({"resolution": "512,768,1024", "epochs": 20}, "use a multiple of 3"),
        ({"perturbation_noise_weight": 0.1}, "ip_noise_gamma"),
        ({"unet": {"weight_dtype": "NFLOAT_4"}}, "not quantised"),
        ({"text_encoder": {"learning_rate": 1e-4, "stop_training_after": 3}}, "text_encoder_lr"),
        ({"additional_embeddings": [{"placeholder": "<me>"}]}, "plain words"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_the_nearest(
    changes: dict[str, Any], words: str
) -> None:
    assert_refused(read(**changes), words)


def test_each_text_encoder_keeps_its_rate() -> None:
    rates = built(read(text_encoder_2={"learning_rate": 5e-5})).optimizer.text_encoder_rates
    assert rates == (1e-4, 5e-5)


def test_a_fraction_of_repeats_shows_a_part_of_the_pictures() -> None:
    (subset,) = built(
        read(concepts=[{"name": "me", "path": "a", "balancing": 2.5}])
    ).data.own_subsets
    assert subset.repeats == 2.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": {"prompt_source": "filename"}}, ".txt"),
        ({"balancing": 0}, "above 0"),
        ({"balancing_strategy": "SAMPLES"}, "REPEATS"),
        ({"include_subdirectories": True}, "sub-folder"),
        ({"type": "PRIOR_PREDICTION"}, "is_reg"),
        ({"image": {"enable_random_rotate": True}}, "copies"),
        ({"text": {"tag_dropout_enable": True, "tag_dropout_probability": 0.1}}, "caption_dropout"),
    ],
)
def test_what_a_concept_does_otherwise_is_refused_by_its_name(
    changes: dict[str, Any], words: str
) -> None:
    (error,) = read(concepts=[{"name": "me", "path": "a", **changes}]).unsupported
    assert words in str(error.fix)
    assert "concept me: " in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_method": "EMBEDDING"}, "EMBEDDING"),
        ({"training_method": "FINE_TUNE"}, "FINE_TUNE"),
        ({"model_type": "FLUX_DEV_1"}, "FLUX_DEV_1"),
        ({"model_type": "STABLE_DIFFUSION_15_INPAINTING"}, "INPAINTING"),
    ],
)
def test_what_trains_something_else_is_told_in_a_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read(**changes)


def test_concepts_in_a_file_of_their_own_are_found_from_its_folder_up(tmp_path: Path) -> None:
    (tmp_path / "training_concepts").mkdir()
    (tmp_path / "training_presets").mkdir()
    concepts = [{"name": "me", "path": "pictures"}]
    (tmp_path / "training_concepts" / "concepts.json").write_text(json.dumps(concepts))
    where = str(tmp_path / "training_presets" / "mine.json")
    foreign = read(where, concepts=None, concept_file_name="training_concepts/concepts.json")
    assert foreign.unsupported == ()
    assert [subset.image_dir for subset in built(foreign).data.subsets or ()] == ["pictures"]


def test_concepts_in_a_file_that_is_not_there_are_missed() -> None:
    (error,) = read(concepts=None, concept_file_name="no/concepts.json").unsupported
    assert "no/concepts.json" in str(error)
    assert "beside the config" in str(error.fix)


def test_settings_of_older_versions_have_their_present_meaning() -> None:
    old = {name: value for name, value in ONETRAINER.items() if name in ("concepts", "vae")}
    foreign = FORMAT.read(
        old
        | {
            "training_method": "LORA",
            "model_type": SD1,
            "base_model_name": "sd15",
            "optimizer": "ADAMW",
            "optimizer_weight_decay": 0.2,
            "train_text_encoder": False,
            "unet_learning_rate": 1e-4,
            "min_snr_gamma": 4,
            "lora_layer_preset": "attn-mlp",
            "gradient_checkpointing": "OFF",
        },
        "old.json",
    )
    assert foreign.unsupported == ()
    config = built(foreign)
    assert config.optimizer.weight_decay == 0.2
    assert config.optimizer.unet_lr == 1e-4
    assert config.loss.min_snr_gamma == 4
    assert config.network.preset == "attn-mlp"
    assert config.network.network_train_unet_only
    assert not config.run.gradient_checkpointing
    assert config.schedule.lr_warmup_steps == 200  # its default


def test_pictures_are_trained_at_each_of_several_resolutions_as_often_as_there() -> None:
    concepts = [
        {"path": "a", "balancing": 2},
        {
            "path": "b",
            "image": {"enable_resolution_override": True, "resolution_override": "640x512"},
        },
    ]
    foreign = read(resolution="512, 768", concepts=concepts, epochs=20, save_every=4)
    assert foreign.unsupported == ()
    config = built(foreign)
    seen = [(s.image_dir, str(s.resolution), s.num_repeats) for s in config.data.subsets or ()]
    # In 2 epochs there "a" is shown 2 * 2 times, about half of them at each size, and "b" 2 times.
    assert seen == [("a", "512", 2), ("a", "768", 2), ("b", "640,512", 2)]
    assert (config.run.max_train_epochs, config.run.save_every_n_epochs) == (10, 2)
