"""`lycoris-ext config`: our own files give back their whole config, others as much as they tell."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lycoris_ext.cli import config as command
from lycoris_ext.cli.train import config_from_arguments
from lycoris_ext.config import TrainConfig, build_config, dump_toml, read_toml
from lycoris_ext.config.from_adapter import write_config
from lycoris_ext.config.resolve import OptionSource
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats import save_adapter
from lycoris_ext.network import NetworkConfig, build_network
from tests.stand_ins import stand_in

#: What sd-scripts writes beside the tensors of a LoHa; shortened to what differs in kind.
SD_SCRIPTS = {
    "ss_session_id": "123",
    "ss_training_started_at": "1679706673.4",
    "ss_output_name": "my style",
    "ss_learning_rate": "0.0002",
    "ss_text_encoder_lr": "[0.0001, 0.0001]",
    "ss_unet_lr": "None",
    "ss_num_train_images": "120",
    "ss_gradient_checkpointing": "False",
    "ss_gradient_accumulation_steps": "2",
    "ss_max_train_steps": "1600",
    "ss_lr_warmup_steps": "100",
    "ss_lr_scheduler": "cosine",
    "ss_network_module": "lycoris.kohya",
    "ss_network_dim": "2",
    "ss_network_alpha": "1.0",
    "ss_network_dropout": "None",
    "ss_mixed_precision": "fp16",
    "ss_full_fp16": "False",
    "ss_v2": "False",
    "ss_base_model_version": "sd_v1",
    "ss_clip_skip": "2",
    "ss_cache_latents": "True",
    "ss_seed": "0",
    "ss_noise_offset": "None",
    "ss_training_comment": "a = 'quoted' \\ text",
    "ss_sd_scripts_commit_hash": "48d368f",
    "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))",
    "ss_max_grad_norm": "1.0",
    "ss_min_snr_gamma": "5.0",
    "ss_caption_tag_dropout_rate": "0.0",
    "ss_face_crop_aug_range": "None",
    "ss_prior_loss_weight": "1.0",
    "ss_batch_size_per_device": "3",
    "ss_total_batch_size": "3",
    "ss_resolution": "(512, 768)",
    "ss_enable_bucket": "False",
    "ss_keep_tokens": "1",
    "ss_shuffle_caption": "True",
    "ss_bucket_info": "null",
    "ss_dataset_dirs": '{"10_cats": {"n_repeats": 10, "img_count": 12}}',
    "ss_tag_frequency": "{}",
    "ss_network_args": '{"algo": "loha", "conv_dim": "2", "conv_alpha": "1", "dropout": null, '
    '"train_t5xxl": "1"}',
    "ss_sd_model_hash": "abcd1234",
    "ss_sd_model_name": "nai.ckpt",
    "sshs_model_hash": "00",
    "modelspec.title": "my style",
}


def adapter(path: Path, metadata: dict[str, str], **options: object) -> Path:
    config = NetworkConfig(**{"network_dim": 3, "conv_dim": 2, "include": ("unet",), **options})  # type: ignore[arg-type]
    unet = {"unet": stand_in("sd")["unet"]}
    save_adapter(path, build_network(unet, config).adapter_state(metadata))
    return path


def told(path: Path, tmp_path: Path) -> tuple[TrainConfig, str]:
    """Run the command on an adapter; return the config that it wrote, and its text."""
    output = tmp_path / "again.toml"
    assert command.main([str(path), "--output", str(output)]) == 0
    assert config_from_arguments([str(output)]) == build_config([read_toml(output)])
    return build_config([read_toml(output)]), output.read_text("utf-8")


def test_the_config_stored_in_our_file_comes_back(tmp_path: Path) -> None:
    values = {"preset": ["seed-default"], "train_data_dir": "/home/me/pictures", "seed": 7,
              "sample_prompts": ["a --n b"], "output_name": "ü"}  # fmt: skip
    config = build_config([OptionSource("test", values)])
    metadata = {"lycoris_ext_config": dump_toml(config, for_sharing=True)}
    file = adapter(tmp_path / "a.safetensors", metadata, network_dim=8, conv_dim=4)
    again, text = told(file, tmp_path)
    # Folders are stored by name alone, and where the output went not at all.
    assert again.data.train_data_dir == "pictures"
    data = replace(again.data, train_data_dir=config.data.train_data_dir)
    assert replace(again, data=data) == config
    assert "only the last part of paths: complete them" in text


def test_an_unknown_option_stored_in_a_file_becomes_a_comment(tmp_path: Path) -> None:
    metadata = {"lycoris_ext_config": "[run]\nseed = 5\nwarp_speed = 9\n"}
    config, text = told(adapter(tmp_path / "a.safetensors", metadata), tmp_path)
    assert config.run.seed == 5
    assert "# warp_speed = 9  # unknown option warp_speed" in text


def test_metadata_of_sd_scripts_become_options(tmp_path: Path) -> None:
    config, text = told(adapter(tmp_path / "a.safetensors", SD_SCRIPTS, network_dim=2), tmp_path)
    network, optimizer, data = config.network, config.optimizer, config.data
    assert (network.algo, network.network_dim, network.conv_dim) == ("loha", 2, 2)
    assert (network.network_alpha, network.conv_alpha) == (1.0, 1)
    assert optimizer.optimizer_type == "AdamW8bit"
    assert (optimizer.weight_decay, optimizer.adam_beta2) == (0.1, 0.99)
    assert (optimizer.learning_rate, optimizer.text_encoder_lr) == (2e-4, 1e-4)
    assert (config.schedule.lr_scheduler, config.schedule.lr_warmup_steps) == ("cosine", 100)
    assert (data.size, data.enable_bucket, data.keep_tokens) == ((512, 768), False, 1)
    assert (data.train_batch_size, data.shuffle_caption) == (3, True)
    assert (config.run.seed, config.run.max_train_steps) == (0, 1600)
    assert (config.model.pretrained_model_name_or_path, config.model.clip_skip) == ("nai.ckpt", 2)
    assert (config.run.output_name, config.loss.min_snr_gamma) == ("my style", 5.0)
    assert '# network_args = ["train_t5xxl=1"]  # network_args has train_t5xxl=1' in text
    assert '# train_data_dir = "..."  # it held 10_cats {"n_repeats": 10, "img_count": 12}' in text
    for fact in ("session_id", "num_train_images", "commit", "started"):
        assert fact not in text


def test_only_values_common_to_all_subsets_of_a_dataset_config_are_taken(tmp_path: Path) -> None:
    subset = {"shuffle_caption": True, "keep_tokens": 2, "flip_aug": True}
    dataset = {"batch_size_per_device": 4, "resolution": [640, 640], "enable_bucket": True}
    datasets = [{**dataset, "subsets": [subset, {**subset, "keep_tokens": 3}]}, dataset]
    metadata = {"ss_datasets": json.dumps(datasets)}
    config, _ = told(adapter(tmp_path / "a.safetensors", metadata), tmp_path)
    data = config.data
    assert (data.train_batch_size, data.size, data.flip_aug) == (4, (640, 640), True)
    assert data.keep_tokens == 0  # the subsets disagree


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"algo": "loha"}, ("loha", 3, 2, False)),
        ({"algo": "locon", "use_tucker": True}, ("locon", 3, 2, True)),
        ({"algo": "lora", "conv_dim": None, "include": ("unet.*attn",)}, ("lora", 3, 0, False)),
    ],
)
def test_algorithm_and_ranks_are_read_from_the_tensors_alone(
    tmp_path: Path, options: dict[str, object], expected: tuple[object, ...]
) -> None:
    config, text = told(adapter(tmp_path / "a.safetensors", {}, **options), tmp_path)
    network = config.network
    found = (network.algo, network.network_dim, network.conv_dim, network.use_tucker)
    assert found == expected
    assert network.network_train_unet_only
    assert '# pretrained_model_name_or_path = "..."' in text


FORMS: dict[str, dict[str, object]] = {
    "dora": {"algo": "loha", "dora_wd": True},
    "dora on output, Tucker": {
        "algo": "locon", "conv_dim": 2, "dora_wd": True, "wd_on_output": True, "use_tucker": True,
    },
    "ia3": {"algo": "ia3"},
    "ia3 on input": {"algo": "ia3", "train_on_input": True},
    "diag-oft": {"algo": "diag-oft", "network_dim": 4, "constraint": 0.05},
    "boft": {"algo": "boft", "network_dim": 8, "constraint": 0.012, "rescaled": True},
    "lokr": {"algo": "lokr", "network_dim": 1, "conv_dim": 1, "factor": 4, "decompose_both": True},
    "lokr, whole": {"algo": "lokr", "full_matrix": True, "unbalanced_factorization": True},
    "glora": {"algo": "glora", "use_tucker": True},
    "full": {"algo": "full"},
    "with norms": {"algo": "lora", "train_norm": True},
    "norms": {"algo": "norm"},
    "tlora": {"algo": "tlora"},
}  # fmt: skip


def small() -> dict[str, nn.Module]:
    layers = {"conv1": nn.Conv2d(6, 24, 3), "proj": nn.Linear(12, 16), "norm": nn.LayerNorm(16)}
    return {"model": nn.Sequential(OrderedDict(layers))}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_options_of_the_algorithm_are_read_from_the_tensors_alone(
    tmp_path: Path, form: str, dtype: torch.dtype
) -> None:
    """The config builds a network of the same shapes, scales and constraints."""
    config = NetworkConfig(**{"network_dim": 3, **FORMS[form]})  # type: ignore[arg-type]
    network = build_network(small(), config)
    save_adapter(tmp_path / "a.safetensors", network.adapter_state(dtype=dtype))
    found, _ = told(tmp_path / "a.safetensors", tmp_path)
    again = build_network(small(), found.network)
    assert {key: layer.plan.shapes() for key, layer in again.layers.items()} == {
        key: layer.plan.shapes() for key, layer in network.layers.items()
    }
    for key, layer in again.layers.items():
        assert layer.plan.shown_options() == network.layers[key].plan.shown_options()
        assert layer.plan.scale == network.layers[key].plan.scale


def test_dylora_is_recognised_by_the_metadata_alone(tmp_path: Path) -> None:
    metadata = {"ss_network_args": json.dumps({"algo": "dylora", "block_size": "3"})}
    network = build_network(small(), NetworkConfig(algo="dylora", network_dim=3, block_size=3))
    save_adapter(tmp_path / "a.safetensors", network.adapter_state(metadata))
    again = told(tmp_path / "a.safetensors", tmp_path)[0].network
    assert (again.algo, again.network_dim, again.block_size) == ("dylora", 3, 3)


def test_an_existing_config_is_not_overwritten(tmp_path: Path) -> None:
    path = adapter(tmp_path / "a.safetensors", {})
    (tmp_path / "mine.toml").write_text("mine")
    with pytest.raises(ConfigError, match="not overwritten"):
        command.main([str(path), "--output", str(tmp_path / "mine.toml")])
    assert (tmp_path / "mine.toml").read_text() == "mine"


def test_the_config_is_written_to_the_current_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"model": nn.Sequential(nn.Linear(9, 8))}
    save_adapter(
        tmp_path / "plain.safetensors", build_network(model, NetworkConfig()).adapter_state()
    )
    monkeypatch.chdir(tmp_path)
    assert command.main(["plain.safetensors"]) == 0
    assert "written: plain.toml" in capsys.readouterr().out
    assert build_config([read_toml(tmp_path / "plain.toml")]).network.network_dim == 8


@pytest.mark.parametrize("field", ["ss_datasets", "ss_network_args", "ss_resolution", "ss_seed"])
@pytest.mark.parametrize(
    "text",
    [
        *(
            "[" * 5000,
            "{",
            "[1]",
            '{"a": [1',
            "x\ny",
            "(" * 3000,
            "1e999",
            "{[]: 1}",
            '["{[]: 1}"]',
        ),
        *('[{"subsets": 1}]', '[{"subsets": null}]', '[{"subsets": {"a": 1}}]'),
        *('{"conv_dim": "{[]: 1}"}', '{"algo": "dylora", "block_size": "' + "9" * 5000 + '"}'),
        *('{"algo": []}', '{"unit": {}}', '{"algo": "dylora", "block_size": "\u0663"}'),
    ],
)
def test_malformed_metadata_still_give_a_valid_config(
    tmp_path: Path, field: str, text: str
) -> None:
    told(adapter(tmp_path / "a.safetensors", {field: text}), tmp_path)


def test_a_damaged_config_in_a_file_is_told_and_its_tensors_are_read(tmp_path: Path) -> None:
    metadata = {"lycoris_ext_config": "network_dim = [", **SD_SCRIPTS}
    file = adapter(tmp_path / "a.safetensors", metadata)
    config, text = told(file, tmp_path)
    assert "# The config in the file is damaged (no valid TOML" in text
    assert (config.network.network_dim, config.optimizer.learning_rate) == (3, 2e-4)


def test_layers_whose_inputs_are_not_known_may_stand_beside_others() -> None:
    layers = {
        "lora_unet_blocks_0_a": {"lokr_w1": torch.ones(4, 4), "lokr_w2": torch.ones(20, 20)},
        "lora_unet_blocks_1_a": {"lokr_w1": torch.ones(4, 4), "lokr_w2": torch.ones(20, 20)},
        "lora_unet_blocks_2_a": {"oft_blocks": torch.zeros(10, 8, 8)},
    }
    text = write_config({}, layers)
    assert 'algo = "lokr"' in text and 'algo = "diag-oft"' in text


def test_line_breaks_in_metadata_cannot_add_options_to_the_config(tmp_path: Path) -> None:
    metadata = {
        "ss_x\nseed": "99",
        "ss_odd": "a\nseed = 99",
        "ss_dataset_dirs": '{"a\\nseed = 99\\n": {"img_count": 1}}',
        "ss_network_args": '{"odd\\nseed": "1\\nseed = 99"}',
        "lycoris_ext_odd": "1",
    }
    config, _ = told(adapter(tmp_path / "a.safetensors", metadata), tmp_path)
    assert config.run.seed == 0
