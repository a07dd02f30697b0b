"""JSON files of kohya_ss: texts for numbers, "" for unset, what is computed when it trains."""

from __future__ import annotations

import json

import pytest

from lycoris_ext.config import Reading, read_config
from tests.config.imports.reads import built, refusals, skipped, written
from tests.tiny_pictures import write_pictures

FIELDS = {
    "LoRA_type": "LyCORIS/LoHa",
    "LyCORIS_preset": "attn-mlp",
    "additional_parameters": "",
    "adaptive_noise_scale": 0,
    "ae": "C:/left/over.sft",
    "block_dims": "",
    "cache_latents": True,
    "caption_extension": ".cap",
    "clip_skip": "2",
    "conv_alpha": "1",
    "conv_dim": "4",
    "constrain": 0,
    "decompose_both": True,
    "discrete_flow_shift": 3,
    "down_lr_weight": "",
    "enable_bucket": True,
    "epoch": "3",
    "factor": 6,
    "flux1_checkbox": False,
    "full_bf16": True,
    "gradient_accumulation_steps": 2.0,
    "keep_tokens": "0",
    "learning_rate": "0.0003",
    "lora_network_weights": "",
    "lr_scheduler": "cosine",
    "lr_scheduler_num_cycles": "",
    "lr_warmup": "10",
    "max_grad_norm": 1,
    "max_resolution": "256,320",
    "max_token_length": "75",
    "max_train_epochs": "",
    "max_train_steps": "",
    "min_snr_gamma": 0,
    "mixed_precision": "bf16",
    "model_list": "custom",
    "multi_gpu": False,
    "multires_noise_discount": 0,
    "multires_noise_iterations": 6,
    "network_alpha": 4,
    "network_dim": 8,
    "network_dropout": 0,
    "noise_offset": "0.05",
    "noise_offset_type": "Original",
    "num_processes": 1,
    "optimizer": "AdamW",
    "optimizer_args": '"weight_decay=0.1" "betas=0.9,0.99"',
    "output_name": "mine",
    "pretrained_model_name_or_path": "base.safetensors",
    "sample_every_n_steps": 0,
    "sample_prompts": "a cat --n blurry\n# no\na dog",
    "save_every_n_epochs": 1,
    "save_precision": "bf16",
    "scale_weight_norms": 0,
    "sdxl": True,
    "sdxl_no_half_vae": True,
    "seed": "1234",
    "stop_text_encoder_training": 0,
    "text_encoder_lr": 0.0,
    "train_batch_size": 2,
    "train_norm": False,
    "unet_lr": "0.0002",
    "use_tucker": True,
    "v2": False,
    "vae": "",
    "wandb_run_name": "",
    "weighted_captions": False,
    "xformers": "xformers",
}


def gui(folder, **changed):
    return written(folder, "a.json", json.dumps({**FIELDS, **changed}))


def test_the_fields_of_the_window_are_read_as_it_hands_them_on(tmp_path):
    reading = Reading()
    config = built(gui(tmp_path), reading)
    network, optimizer = config.network, config.optimizer
    assert (network.algo, network.preset, network.use_tucker) == ("loha", "attn-mlp", True)
    assert (network.conv_dim, network.conv_alpha, network.network_dim) == (4, 1, 8)
    assert network.more == () or "factor" not in dict(network.more)  # LoHa reads no factor
    assert (optimizer.weight_decay, optimizer.adam_beta2) == (0.1, 0.99)
    assert (optimizer.learning_rate, optimizer.unet_lr) == (0.0003, 0.0002)
    assert network.network_train_unet_only  # the other rate is 0
    assert (config.data.size, config.model.clip_skip, config.run.seed) == ((256, 320), 2, 1234)
    assert (config.loss.noise_offset, config.loss.multires_noise_iterations) == (0.05, 0)
    assert config.sample.sample_prompts == ("a cat --n blurry", "a dog")
    assert config.run.save_every_n_epochs == 1 and config.sample.sample_every_n_steps is None
    assert (reading.left_out, reading.notes) == ([], [])


def test_epochs_and_percent_become_steps_where_the_pictures_can_be_counted(tmp_path):
    for repeats, number in ((5, 3), (2, 4)):
        write_pictures(tmp_path / "pictures", number, repeats)
    write_pictures(tmp_path / "pictures" / "notes", 2)
    path = gui(tmp_path, train_data_dir=str(tmp_path / "pictures"))
    config = built(path)
    # (5 * 3 + 2 * 4) pictures / batches of 2 / 2 accumulated * 3 epochs, rounded up
    assert config.run.max_train_steps == 18 and config.run.max_train_epochs is None
    assert config.schedule.lr_warmup_steps == 2  # 10 percent, rounded
    path = gui(tmp_path, train_data_dir=str(tmp_path / "pictures"), reg_data_dir="r")
    assert built(path).run.max_train_steps == 35


def test_epochs_and_percent_stay_what_they_are_where_they_cannot(tmp_path):
    config = built(gui(tmp_path, train_data_dir="/none/there"))
    assert (config.run.max_train_epochs, config.schedule.lr_warmup_steps) == (3, 0.1)
    config = built(gui(tmp_path, max_train_steps="500"))
    assert (config.run.max_train_steps, config.schedule.lr_warmup_steps) == (500, 50)
    config = built(gui(tmp_path, max_train_epochs="7", lr_warmup_steps=20))
    assert (config.run.max_train_epochs, config.schedule.lr_warmup_steps) == (7, 20)


@pytest.mark.parametrize(
    ("kind", "algo"),
    [("Standard", "lora"), ("Kohya LoCon", "lora"), ("LoCon", "locon"), ("LyCORIS/LoCon", "locon"),
     ("LyCORIS/LoKr", "lokr"), ("LyCORIS/GLoRA", "glora"), ("LyCORIS/iA3", "ia3"),
     ("LyCORIS/Diag-OFT", "diag-oft"), ("LyCORIS/BOFT", "boft"),
     ("LyCORIS/Native Fine-Tuning", "full")],
)  # fmt: skip
def test_each_type_of_lora_is_its_algorithm(tmp_path, kind, algo):
    network = built(gui(tmp_path, LoRA_type=kind, LyCORIS_preset="full", conv_alpha=2)).network
    assert network.algo == algo
    assert dict(network.more).get("factor", -1) == (6 if algo == "lokr" else -1)
    if kind == "Standard":
        assert network.conv_dim is None  # the field is not handed on


def test_multires_noise_takes_the_place_of_the_offset(tmp_path):
    loss = built(gui(tmp_path, noise_offset_type="Multires", multires_noise_discount=0.2)).loss
    assert (loss.noise_offset, loss.multires_noise_iterations) == (0, 6)
    assert loss.multires_noise_discount == 0.2


def test_additional_parameters_override_the_fields(tmp_path):
    flags = '--min_bucket_reso 128 --lr_scheduler_type "CosineAnnealingLR" --seed=9'
    config = built(gui(tmp_path, additional_parameters=flags))
    assert config.schedule.lr_scheduler_type == "CosineAnnealingLR"
    assert (config.data.min_bucket_reso, config.run.seed) == (128, 9)


def test_a_short_file_has_what_the_window_shows(tmp_path):
    text = '{"LoRA_type": "Standard", "lr_warmup": 0, "use_8bit_adam": true, "epoch": 2,}'
    config = built(written(tmp_path, "a.json", text))
    assert config.optimizer.optimizer_type == "AdamW8bit"
    assert (config.data.enable_bucket, config.data.caption_extension) == (True, ".txt")
    assert (config.network.network_dim, config.run.max_train_epochs) == (8, 2)


def test_files_of_the_other_tabs_are_named(tmp_path):
    text = '{"max_resolution": "512,512", "lr_warmup": 0, "num_vectors_per_token": 1}'
    assert "trains a textual inversion" in refusals(written(tmp_path, "a.json", text))[0]
    text = '{"max_resolution": "512,512", "lr_warmup": 0, "batch_size": 4, "full_path": true}'
    (said,) = refusals(path := written(tmp_path, "a.json", text))
    assert "trains a whole model" in said
    assert not skipped(path)[1].notes


def test_a_config_for_flux_is_named_and_left_over_paths_are_not_one(tmp_path):
    path = gui(tmp_path, flux1_checkbox=True, LoRA_type="Flux1", t5xxl="t.safetensors")
    (said,) = refusals(path)
    assert "trains a model of FLUX" in said


def test_several_gpus_are_refused_because_they_make_the_batch_larger(tmp_path):
    assert "num_processes = 2 is not supported" in refusals(gui(tmp_path, num_processes=2))[0]


def test_names_and_paths_of_digits_stay_as_they_are_written(tmp_path):
    named = {
        "output_name": "2024_05",
        "output_dir": "1e3",
        "train_data_dir": "007",
        "vae": "1_000",
        "training_comment": "0.10",
        "sample_prompts": "1_2",
    }
    config = built(gui(tmp_path, **named))
    assert {name: config.flat()[name] for name in named if name != "sample_prompts"} == {
        name: text for name, text in named.items() if name != "sample_prompts"
    }
    assert config.sample.sample_prompts == ("1_2",)
    assert config.network.conv_alpha == 1  # a number in quotes is one


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/x", "x" * 5000, "a\0b"])
def test_a_folder_that_cannot_be_looked_into_is_no_traceback(tmp_path, folder):
    read_config(gui(tmp_path, train_data_dir=folder))
