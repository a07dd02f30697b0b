"""sd-scripts' training TOML: what changes nothing is taken, the rest is refused in one list."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from lycoris_ext.config import OptionSource, build_config, dump_toml, read_config, read_toml
from lycoris_ext.config import sd_scripts as translation
from tests.config.imports.reads import built, refusals, skipped, written

#: Every kind of value that says nothing: defaults, empty ones, bookkeeping, speed.
SAYS_NOTHING = """
[model_arguments]
pretrained_model_name_or_path = "base.safetensors"
v2 = false
[network]
network_module = "lycoris.kohya"
network_dim = 8
network_alpha = 4
network_dropout = 0
network_args = ["algo=loha", "preset=attn-mlp", "rank_dropout=0", "use_scalar=False", "unknown="]
resume = false
[optimizer]
optimizer_type = "adamw8bit"
use_lion_optimizer = false
use_8bit_adam = false
optimizer_args = ["betas=[0.9, 0.95]", "weight_decay=0.1"]
lr_scheduler = "cosine"
lr_scheduler_type = ""
lr_scheduler_args = []
lr_scheduler_power = 2.0
unet_lr = 1e-4
text_encoder_lr = [5e-5, 5e-5]
max_grad_norm = "1.0"
[speed]
dynamo_backend = "no"
xformers = true
full_bf16 = true
fp8_base = false
highvram = true
vae_batch_size = 4
blocks_to_swap = 8
cache_latents = false
[files]
output_dir = ""
output_name = "mine.safetensors"
save_last_n_epochs = 3
save_n_epoch_ratio = 0
save_state = true
wandb_api_key = "k"
log_prefix = "a_"
huggingface_repo_id = ""
[noise]
min_snr_gamma = 0
noise_offset_type = "Original"
multires_noise_discount = 0.3
huber_c = 0.5
min_timestep = 0
max_timestep = 1000
guidance_scale = 3.5
[captions]
max_token_length = 75
weighted_captions = false
token_warmup_min = 1
token_warmup_step = 0
debug_dataset = false
dataset_repeats = 1
[window]
epoch = 3
seed = -1
training_comment = "for a friend"
metadata_author = "me"
"""


def test_options_that_change_nothing_are_taken_without_a_word(tmp_path):
    reading = translation.Reading()
    config = built(written(tmp_path, "kohya.toml", SAYS_NOTHING), reading)
    assert (reading.left_out, reading.notes) == ([], [])
    assert (config.network.algo, config.network.preset) == ("loha", "attn-mlp")
    assert (config.optimizer.optimizer_type, config.optimizer.adam_beta2) == ("AdamW8bit", 0.95)
    assert (config.optimizer.text_encoder_lr, config.optimizer.max_grad_norm) == (5e-5, 1.0)
    assert (config.run.output_dir, config.run.output_name) == ("output", "mine")
    assert config.loss.min_snr_gamma is None and config.loss.huber_c == 0.1


def test_what_describes_the_adapter_is_kept_for_its_metadata(tmp_path):
    config = built(written(tmp_path, "kohya.toml", SAYS_NOTHING))
    assert config.description.training_comment == "for a friend"
    assert config.description.metadata_author == "me"
    assert 'training_comment = "for a friend"' in dump_toml(config, for_sharing=True)


MATTERS = {
    "fp8_base": True,
    "save_model_as": "ckpt",
    "resume": "state",
    "huggingface_repo_id": "me/mine",
    "dataset_class": "mine.Data",
}


def test_all_that_matters_is_refused_in_one_list_with_what_works_instead(tmp_path):
    lines = [f"{name} = {str(v).lower() if v is True else repr(v)}" for name, v in MATTERS.items()]
    path = written(tmp_path, "a.toml", 'network_module = "networks.lora"\n' + "\n".join(lines))
    said = refusals(path)
    assert len(said) == len(MATTERS)
    for name, text in zip(MATTERS, said, strict=True):
        assert f"a.toml: {name} = " in text and "is not supported\n  -> " in text
    config, reading = skipped(path)
    assert len(reading.left_out) == len(MATTERS) == len(config.run.left_out)
    assert "fp8_base = true is not supported" in dump_toml(config, for_sharing=True)


def test_what_is_drawn_anew_is_read(tmp_path):
    text = 'network_module = "networks.lora"\nimage_dir = "a"\ncolor_aug = true\n'
    text += 'random_crop = true\nface_crop_aug_range = "1.0,2.0"\ncache_latents = true\n'
    data = built(written(tmp_path, "a.toml", text)).data
    assert (data.color_aug, data.random_crop, data.face_crop_aug_range) == (True, True, "1.0,2.0")


def test_a_scheduler_class_is_kept_with_its_arguments(tmp_path):
    text = (
        'network_module = "networks.lora"\nlr_scheduler_type = "StepLR"\n'
        'lr_scheduler_args = ["step_size=3"]\n'
    )
    schedule = built(written(tmp_path, "a.toml", text)).schedule
    assert (schedule.lr_scheduler_type, schedule.lr_scheduler_args) == ("StepLR", ("step_size=3",))


@pytest.mark.parametrize(
    ("name", "nearest", "rate"),
    [("Tiger8bit", "AdamW8bit", 3.0), ("Tiger", "AdamW", 3.0), ("ProdigyX", "AdamW", 1e-4),
     ("DAdaptRMS", "AdamW", 1e-4)],
)  # fmt: skip
def test_an_optimizer_that_is_missing_is_refused_with_its_arguments_and_the_nearest(
    tmp_path, name, nearest, rate
):
    path = written(
        tmp_path,
        "a.toml",
        f'network_module = "networks.lora"\noptimizer_type = "{name}"\nlearning_rate = 3.0\n'
        'unet_lr = 0\noptimizer_args = ["decouple=True", "d_coef=2"]\n',
    )
    (said,) = refusals(path)
    assert f'"{name}" with its optimizer_args' in said and f'the nearest is "{nearest}"' in said
    config, reading = skipped(path)
    assert config.optimizer.optimizer_type == nearest
    assert (config.optimizer.learning_rate, config.optimizer.unet_lr) == (rate, 0)
    assert len(reading.left_out) == 1


@pytest.mark.parametrize("name", ["PagedAdamW8bit", "Lion8bit", "Prodigy", "Adafactor"])
def test_an_optimizer_keeps_its_name_and_its_arguments(tmp_path, name):
    text = f'network_module = "networks.lora"\noptimizer_type = "{name.lower()}"\n'
    more = 'optimizer_args = ["weight_decay=0.02"]\n'
    optimizer = built(written(tmp_path, "a.toml", text + more)).optimizer
    assert optimizer.optimizer_type == name
    assert "weight_decay=0.02" in optimizer.kind.metadata_text(optimizer.values())


def test_of_an_option_in_two_tables_the_last_holds_as_in_sd_scripts(tmp_path):
    text = '[a]\nnetwork_module = "networks.lora"\nseed = 1\n[b]\nseed = 2\n'
    assert built(written(tmp_path, "a.toml", text)).run.seed == 2


def test_options_that_are_unset_have_the_defaults_of_sd_scripts(tmp_path):
    path = written(tmp_path, "a.toml", 'network_module = "networks.lora"\n')
    config = built(path)
    assert (config.optimizer.optimizer_type, config.optimizer.learning_rate) == ("AdamW", 2e-6)
    assert (config.network.network_dim, config.data.caption_extension) == (4, ".caption")
    assert (config.data.enable_bucket, config.run.save_precision) == (False, "float")
    flags = OptionSource("command line", {"preset": ("seed-default",), "network_dim": 6,
                                          "pretrained_model_name_or_path": "mini"})  # fmt: skip
    config = build_config([read_config(path), flags])
    assert (config.optimizer.learning_rate, config.network.network_dim) == (2e-4, 6)
    assert config.data.enable_bucket is False


def test_a_config_of_ours_keeps_its_defaults_and_its_strictness(tmp_path):
    path = written(tmp_path, "a.toml", "[run]\nseed = 3\n[data]\nflip_aug = true\n")
    assert read_config(path) == read_toml(path)
    assert built(path).optimizer.learning_rate == 2e-4
    wrong = written(tmp_path, "b.toml", '[run]\nseed = "3"\n')
    assert "write it without quotes" in refusals(wrong)[0]
    twice = written(tmp_path, "c.toml", "[run]\nseed = 3\n[x]\nseed = 4\n")
    assert "seed is set twice" in refusals(twice)[0]


def test_a_name_that_nobody_knows_is_told_and_a_misspelt_one_refused(tmp_path):
    head = 'network_module = "networks.lora"\n'
    reading = translation.Reading()
    built(written(tmp_path, "a.toml", head + 'callback_url = "x"\n'), reading)
    assert "callback_url was left out" in reading.notes[0]
    (said,) = refusals(written(tmp_path, "b.toml", head + "lerning_rate = 1\n"))
    assert "unknown option lerning_rate" in said and "did you mean learning_rate?" in said


@pytest.mark.parametrize(
    ("setting", "family"),
    [('network_module = "networks.lora_flux"', "FLUX"),
     ('network_module = "networks.lora_sd3"', "Stable Diffusion 3"),
     ('network_module = "networks.lora_hunyuan_image"', "HunyuanImage"),
     ('network_module = "networks.lora_wan"', "Wan"),
     ('network_module = "musubi_tuner.networks.lora"\ndit = "dit.safetensors"', "another family"),
     ('network_module = "networks.oft_flux"', "FLUX"),
     ('network_module = "lycoris.kohya"\nt5xxl = "t5.safetensors"', "another family"),
     ('network_module = "networks.lora"\nmodel_train_type = "flux-lora"', "FLUX")],
)  # fmt: skip
def test_a_config_for_another_family_is_named_in_one_sentence(tmp_path, setting, family):
    text = f'{setting}\nae = "ae.safetensors"\nguidance_scale = 1.0\ndiscrete_flow_shift = 3.1\n'
    (said,) = refusals(written(tmp_path, "a.toml", text))
    assert f"trains a model of {family} (" in said and "ae is set" in said
    assert "Stable Diffusion 1.x, 2.x or XL" in said


def test_a_folder_for_logs_means_tensorboard_where_that_is_installed(tmp_path, monkeypatch):
    path = written(tmp_path, "a.toml", 'network_module = "networks.lora"\nlogging_dir = "logs"\n')
    monkeypatch.setattr(translation, "find_spec", lambda name: object())
    assert built(path).run.log_with == "tensorboard"
    monkeypatch.setattr(translation, "find_spec", lambda name: None)
    reading = translation.Reading()
    assert built(path, reading).run.logging_dir is None
    assert "tensorboard is not installed" in reading.notes[0]
    monkeypatch.setattr(translation, "find_spec", find_spec)
    path = written(tmp_path, "b.toml", 'network_module = "networks.lora"\nlog_with = "wandb"\n')
    reading = translation.Reading()
    assert built(path, reading).run.log_with is None and "wandb" in reading.notes[0]


def test_network_args_that_the_algorithm_does_not_read_change_nothing(tmp_path):
    text = (
        'network_module = "lycoris.kohya"\n'
        'network_args = ["algo=loha", "factor=8", "decompose_both=True", "conv_dim=4.0", "unit=0"]'
    )
    network = built(written(tmp_path, "a.toml", text)).network
    assert (network.conv_dim, network.more) == (4, ())


def test_a_network_arg_that_is_missing_names_the_nearest(tmp_path):
    text = 'network_module = "lycoris.kohya"\nnetwork_args = ["use_dora=True", "rank_dropot=0.1"]'
    first, second = refusals(written(tmp_path, "a.toml", text))
    assert "did you mean dora_wd?" in first and "did you mean rank_dropout?" in second


def test_a_number_of_copies_becomes_the_epochs_between_them(tmp_path):
    text = 'network_module = "networks.lora"\nmax_train_epochs = 10\nsave_n_epoch_ratio = {}\n'
    for copies, epochs in ((3, 3), (20, 1), (0, None)):
        config = built(written(tmp_path, "a.toml", text.format(copies)))
        assert config.run.save_every_n_epochs == epochs


def test_what_has_no_effect_without_another_option_is_no_mistake_there(tmp_path):
    text = 'network_module = "networks.lora"\nnoise_offset_random_strength = true\n'
    assert not built(written(tmp_path, "a.toml", text)).loss.noise_offset_random_strength
    text += 'noise_offset = "0.1"\n'
    assert built(written(tmp_path, "a.toml", text)).loss.noise_offset_random_strength


def test_options_that_contradict_others_are_left_out_if_the_rest_is_wanted(tmp_path):
    text = 'network_module = "networks.lora"\nresolution = 256\nmin_bucket_reso = 512\n'
    path = written(tmp_path, "a.toml", text + "enable_bucket = true\n")
    assert "above the resolution" in refusals(path)[0]
    config, reading = skipped(path)
    assert config.data.min_bucket_reso is None and len(reading.left_out) == 1
    assert "min_bucket_reso" in config.run.left_out[0]


@pytest.mark.parametrize(
    ("name", "kept", "noted"),
    [("mine.safetensors", "mine", False), ("a/b: c", "a_b_ c", True), ("...", "last", True),
     ("<name>", "name", True), ("", "last", False)],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_told_and_changed(tmp_path, name, kept, noted):
    text = f'network_module = "networks.lora"\noutput_name = "{name}"\n'
    reading = translation.Reading()
    assert built(written(tmp_path, "a.toml", text), reading).run.output_name == kept
    assert bool(reading.notes) == noted


def test_options_that_contradict_each_other_are_left_out_across_sections(tmp_path):
    text = (
        'network_module = "networks.lora"\ncache_text_encoder_outputs = true\n'
        "cache_text_encoder_outputs_to_disk = true\n"
    )
    path = written(tmp_path, "flux.toml", text)
    (said,) = refusals(path)
    assert "one encoding of each caption" in said
    config, reading = skipped(path)
    assert reading.left_out and not config.data.caches_text
    assert not config.network.network_train_unet_only
    assert "one encoding of each caption" in config.run.left_out[0]


def test_options_of_another_schedule_do_not_contradict_one_that_needs_its_own(tmp_path):
    text = (
        'network_module = "networks.lora"\nlr_scheduler = "cosine_with_min_lr"\n'
        "lr_scheduler_min_lr_ratio = 0.1\nlr_decay_steps = 0.5\nlr_scheduler_power = 2\n"
    )
    config = built(written(tmp_path, "a.toml", text))
    assert config.schedule.lr_scheduler_min_lr_ratio == 0.1


@pytest.mark.parametrize(("asked", "read"), [(255, 225), (225, 225), (200, 150), (77, 75)])
def test_captions_are_read_in_as_many_whole_pieces_as_sd_scripts_makes(tmp_path, asked, read):
    text = f'network_module = "networks.lora"\nmax_token_length = {asked}\n'
    assert built(written(tmp_path, "a.toml", text)).model.max_token_length == read


def test_captions_longer_than_sd_scripts_allows_are_refused(tmp_path):
    text = 'network_module = "networks.lora"\nmax_token_length = 300\n'
    (said,) = refusals(written(tmp_path, "a.toml", text))
    assert "max_token_length is 300" in said


@pytest.mark.parametrize("option", ["dataset_config", "config_file"])
@pytest.mark.parametrize("name", ["~nobody-of-this-name/x.toml", "x" * 5000, "a\\u0000b"])
def test_a_file_that_cannot_be_there_is_not_there(tmp_path, option, name):
    text = f'network_module = "networks.lora"\n{option} = "{name}"\n'
    (told,) = refusals(written(tmp_path, "a.toml", text))
    assert f"{option} names" in told and "no such file" in told and len(told) < 500


def test_a_config_file_that_names_itself_is_read_once(tmp_path):
    text = 'network_module = "networks.lora"\nconfig_file = "a.toml"\nnetwork_dim = 5\n'
    assert built(written(tmp_path, "a.toml", text)).network.network_dim == 5


def test_a_dataset_config_without_data_sets_is_named(tmp_path):
    written(tmp_path, "data.toml", "[general]\nresolution = 512\n")
    text = 'network_module = "networks.lora"\ndataset_config = "data.toml"\n'
    (told,) = refusals(written(tmp_path, "a.toml", text))
    assert "data.toml" in told and "lists no data sets" in told
