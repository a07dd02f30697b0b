"""Exported configs: read back, they are the same config; what cannot be said is told at once."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lycoris_ext.cli.arguments.export_config import PROGRAMS
from lycoris_ext.cli.export_config import main
from lycoris_ext.config import OptionSource, Reading, TrainConfig, build_config, read_config
from lycoris_ext.config.exports import FORMATS, Target
from lycoris_ext.config.toml_file import parse_toml
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.toml_text import read_tables

#: Options that only say how this program works, or that are spelt in another way there.
NOT_COMPARED = {
    "allow_missing_captions", "cache_dir", "device", "left_out", "logging_dir", "overwrite",
    "sample_prompts", "sample_sampler", "save_state_every_n_seconds", "save_state_every_n_steps",
}  # fmt: skip
CHOICES: dict[str, list[Any]] = {
    "clip_skip": [1, 2],
    "vae": ["vae.safetensors"],
    "v_parameterization": [True],
    "network_dim": [4, 32],
    "network_alpha": [1.0, 0.5, 16.0],
    "conv_alpha": [1.0, 4.0],
    "rank_dropout": [0.1],
    "module_dropout": [0.25],
    "dropout": [0.5],
    "use_scalar": [True],
    "rs_lora": [True],
    "preset": ["full", "attn-mlp", "blocks", "unet-only"],
    "train_norm": [True],
    "include": [(r"^unet\.conv_in$",), ("conv_in", "conv_out")],
    "exclude": [(r"\.attn2\.",)],
    "network_train_unet_only": [True],
    "use_tucker": [True],
    "resolution": [512, "512,768", 1024],
    "enable_bucket": [True, False],
    "min_bucket_reso": [256],
    "bucket_reso_steps": [32],
    "bucket_no_upscale": [True],
    "caption_extension": [".txt", ".caption"],
    "shuffle_caption": [True],
    "keep_tokens": [2],
    "keep_tokens_separator": ["|||"],
    "caption_dropout_rate": [0.1],
    "caption_tag_dropout_rate": [0.2],
    "flip_aug": [True],
    "alpha_mask": [True],
    "random_crop": [True],
    "color_aug": [True],
    "face_crop_aug_range": ["1.0,3.0"],
    "train_batch_size": [1, 4],
    "learning_rate": [1e-4, 1.0, 5e-5],
    "unet_lr": [1e-4],
    "text_encoder_lr": [1e-5],
    "loraplus_lr_ratio": [4.0],
    "max_grad_norm": [0.5],
    "weight_decay": [0.1],
    "adam_beta2": [0.99],
    "optimizer_type": ["AdamW", "AdamW8bit"],
    "lr_scheduler": ["constant", "cosine", "cosine_with_restarts", "constant_with_warmup"],
    "lr_warmup_steps": [0.1, 100.0],
    "lr_scheduler_num_cycles": [3],
    "zero_terminal_snr": [True],
    "loss_type": ["l2", "huber"],
    "min_snr_gamma": [5.0],
    "debiased_estimation_loss": [True],
    "prior_loss_weight": [0.5],
    "noise_offset": [0.05],
    "multires_noise_iterations": [6],
    "ip_noise_gamma": [0.1],
    "min_timestep": [100],
    "sample_every_n_epochs": [2],
    "output_dir": ["out"],
    "output_name": ["mine"],
    "seed": [0, 42],
    "max_train_steps": [100, 1600],
    "max_train_epochs": [3],
    "gradient_accumulation_steps": [2],
    "gradient_checkpointing": [True],
    "mixed_precision": ["bf16", "no"],
    "scale_weight_norms": [1.0],
    "save_precision": ["fp16", "float"],
    "save_every_n_epochs": [1],
    "save_last_n_epochs": [2],
    "metadata_author": ["me"],
    "training_comment": ["a,b"],
    "network_weights": ["start.safetensors"],
    "base_weights": [("one.safetensors", "two.safetensors")],
}
ALGORITHMS = {
    "locon": {},
    "loha": {},
    "lokr": {"factor": 8, "decompose_both": True},
    "dylora": {"block_size": 2},
    "diag-oft": {"constraint": 0.01},
    "ia3": {"train_on_input": True},
}
FOLDERS: list[dict[str, Any]] = [
    {"train_data_dir": "pictures"},
    {"train_data_dir": "pictures", "reg_data_dir": "class"},
    {"image_dir": "pictures"},
    {
        "subsets": [
            {"image_dir": "a", "num_repeats": 3, "keep_tokens": 1},
            {"image_dir": "b", "is_reg": True, "class_tokens": "woman", "resolution": 768},
            {"image_dir": "c", "train_batch_size": 2, "flip_aug": True},
        ]
    },
]


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    algo = draw(st.sampled_from(sorted(ALGORITHMS)))
    values: dict[str, Any] = {
        "pretrained_model_name_or_path": "base.safetensors",
        "resolution": 512,
        "algo": algo,
        "conv_dim": draw(st.sampled_from([0, 4])),
        **ALGORITHMS[algo],
        **draw(st.sampled_from(FOLDERS)),
    }
    for name in draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=20, unique=True)):
        values[name] = draw(st.sampled_from(CHOICES[name]))
    if algo not in ("locon", "loha", "lokr"):
        values.pop("use_tucker", None)  # no network can be built with it
    try:
        return build_config([OptionSource("test", values)])
    except ConfigError:
        assume(False)
        raise


def plain(value: object) -> str:
    """Return a value as text; a resolution may be a number, a text or a list."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def compared(config: TrainConfig) -> dict[str, Any]:
    """Return what must come back, with two ways to say one thing made one."""
    values = {n: v for n, v in config.flat().items() if n not in NOT_COMPARED}
    data = config.data
    subsets = [entry.changed() for entry in data.subsets or ()]
    if data.image_dir:
        subsets.insert(0, {"image_dir": data.image_dir})
    usual = {name: values.get(name) for table in subsets for name in table}
    sized = ("resolution", "train_batch_size", "enable_bucket", "min_bucket_reso",
             "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale")  # fmt: skip
    usual |= {name: values.get(name) for name in sized}
    full = [
        {name: plain(value) for name, value in {**usual, **table}.items() if value is not None}
        for table in subsets
    ]
    for name in ("image_dir", "subsets", "num_repeats"):
        values.pop(name)
    network, optimizer = config.network, config.optimizer
    values["unet_lr"] = optimizer.effective_unet_lr
    values["text_encoder_lr"] = optimizer.text_encoder_rates[0]
    values["conv_dim"], values["conv_alpha"] = network.dims(spatial=True)
    values["subsets"] = sorted(full, key=lambda table: table["image_dir"])
    values["resolution"] = plain(data.resolution)
    if subsets:
        values = {name: value for name, value in values.items() if name not in sized}
    if config.run.max_train_epochs:
        del values["max_train_steps"]
    return values


def exported(config: TrainConfig, to: str, folder: Path) -> Path:
    ending, export = FORMATS[to]
    made = export(config, Target(folder / f"a{ending}"))
    assert not made.unsupported
    for path, text in made.files.items():
        path.write_text(text, encoding="utf-8")
    return folder / f"a{ending}"


@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much])
@given(configs(), st.sampled_from(sorted(FORMATS)))
def test_an_exported_config_is_read_back_as_the_same(config: TrainConfig, to: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = exported(config, to, Path(folder))
        reading = Reading()
        again = build_config([read_config(path)], reading)
        assert compared(again) == compared(config)
        assert not reading.left_out and not reading.notes


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


UNREADABLE = 'pretrained_model_name_or_path = "base.safetensors"\n'
BASE = UNREADABLE + "resolution = 512\n"
UNSAID = (
    'lr_scheduler = "rex"\nema_decay = 0.99\nnum_repeats = 3\ntrain_data_dir = "a"\n'
    'exclude = ["a{1,2}"]\nsample_sampler = "UniPC"\nsample_every_n_epochs = 1\n'
    "[[overrides]]\nmatch = 'attn2'\nnetwork_dim = 4\n"
)


def test_all_that_sd_scripts_cannot_do_is_told_at_once_and_left_out_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = write(tmp_path, UNSAID), tmp_path / "new.toml"
    arguments = [str(path), "--to", "sd-scripts", "-o", str(output)]
    with pytest.raises(ConfigError) as caught:
        main(arguments)
    wrong = {part.where for part in caught.value.parts}
    assert wrong == {
        "pretrained_model_name_or_path", "lr_scheduler", "ema_decay", "num_repeats", "overrides",
        "exclude", "sample_sampler",
    }  # fmt: skip
    assert not output.exists()
    assert main([*arguments, "--skip-unsupported"]) == 0
    assert "left out: sd-scripts cannot do ema_decay = 0.99" in capsys.readouterr().err
    values = read_tables(output.read_text("utf-8"))
    assert not {"ema_decay", "lr_scheduler", "pretrained_model_name_or_path"} & values.keys()
    assert values["network_module"] == "lycoris_ext.kohya"


def test_nothing_is_written_if_one_of_the_files_exists(tmp_path: Path) -> None:
    text = BASE + 'image_dir = "a"\nsample_prompts = ["a cat", "a\\ndog"]\nsample_at_first = true\n'
    path, output = write(tmp_path, text), tmp_path / "new.toml"
    blocked = tmp_path / "new.datasets.toml"
    blocked.write_text("mine")
    arguments = [str(path), "--to", "sd-scripts", "-o", str(output)]
    with pytest.raises(ConfigError, match="not overwritten"):
        main(arguments)
    assert not output.exists() and blocked.read_text() == "mine"
    blocked.unlink()
    assert main(arguments) == 0
    assert (tmp_path / "new.prompts.txt").read_text("utf-8") == "a cat\na dog\n"
    datasets = read_tables(blocked.read_text("utf-8"))["datasets"]
    assert datasets[0]["subsets"] == [{"image_dir": "a"}]
    assert (datasets[0]["resolution"], datasets[0]["batch_size"]) == (512, 1)


def test_kohya_ss_gets_our_module_in_the_additional_parameters(tmp_path: Path) -> None:
    text = BASE + 'train_data_dir = "a b"\nalgo = "loha"\nconv_dim = 4\nseed = 0\n'
    path, output = write(tmp_path, text), tmp_path / "new.json"
    assert main([str(path), "--to", "kohya-gui", "-o", str(output)]) == 0
    fields = json.loads(output.read_text("utf-8"))
    flags = fields["additional_parameters"]
    assert "--network_module=lycoris_ext.kohya --network_args algo=loha" in flags
    assert "--seed=0" in flags  # of a 0 in its field the window hands nothing on
    assert (fields["LoRA_type"], fields["train_data_dir"]) == ("LyCORIS/LoHa", "a b")


def test_options_of_single_subsets_that_sd_scripts_has_not_are_refused(tmp_path: Path) -> None:
    subset = '[[subsets]]\nimage_dir = "a"\nshuffle_caption = true\ncaption_variants = 4\n'
    arguments = [str(write(tmp_path, BASE + subset)), "--to", "sd-scripts"]
    arguments += ["-o", str(tmp_path / "new.toml")]
    with pytest.raises(ConfigError, match="sd-scripts cannot do caption_variants = 4"):
        main(arguments)
    assert main([*arguments, "--skip-unsupported"]) == 0
    assert "caption_variants" not in (tmp_path / "new.datasets.toml").read_text("utf-8")
    path = write(tmp_path, BASE + 'image_dir = "a"\nshuffle_caption = true\ncaption_variants = 4\n')
    with pytest.raises(ConfigError, match="sd-scripts cannot do caption_variants = 4"):
        main([str(path), *arguments[1:-1], str(tmp_path / "other.toml")])


def test_pictures_held_out_for_validation_stay_the_same(tmp_path: Path) -> None:
    text = BASE + (
        "seed = 5\nvalidation_split = 0.1\nmax_validation_steps = 3\n"
        '[[subsets]]\nimage_dir = "a"\n'
        '[[subsets]]\nimage_dir = "b"\nvalidation_split = 1\nvalidation_seed = 2\n'
    )
    output = tmp_path / "new.toml"
    assert main([str(write(tmp_path, text)), "--to", "sd-scripts", "-o", str(output)]) == 0
    again = build_config([read_config(output)])
    found = [(one.validation_split, one.validation_seed) for one in again.data.own_subsets]
    # Without a validation_seed sd-scripts would draw other pictures than are trained here.
    assert found == [(0.1, 5), (1.0, 2)] and again.validation.max_validation_steps == 3


def test_masks_are_written_into_every_subset(tmp_path: Path) -> None:
    text = BASE + "masked_loss = true\nconditioning_data_dir = 'm'\n"
    arguments = ["--to", "sd-scripts", "-o", str(tmp_path / "new.toml")]
    subsets = "[[subsets]]\nimage_dir = 'a'\n[[subsets]]\nimage_dir = 'b'\n"
    assert main([str(write(tmp_path, text + subsets)), *arguments]) == 0
    assert "masked_loss = true" in (tmp_path / "new.toml").read_text("utf-8")
    listed = (tmp_path / "new.datasets.toml").read_text("utf-8")
    assert listed.count('conditioning_data_dir = "m"') == 2
    path = write(tmp_path, text + "train_data_dir = 'a'\n")
    with pytest.raises(ConfigError, match="sd-scripts cannot do conditioning_data_dir"):
        main([str(path), *arguments[:-1], str(tmp_path / "other.toml")])


def test_what_is_not_supported_of_the_given_config_is_left_out_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'network_module = "networks.lora"\nfp8_base = true\ntrain_data_dir = "a"\n'
    arguments = [str(write(tmp_path, BASE + text)), "--to", "kohya-gui"]
    arguments += ["-o", str(tmp_path / "new.json")]
    with pytest.raises(ConfigError, match="--skip-unsupported"):
        main(arguments)
    assert main([*arguments, "--skip-unsupported"]) == 0
    assert "fp8_base = true" in capsys.readouterr().err


def test_a_value_that_kohya_ss_cannot_pass_on_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + 'train_data_dir = "a"\nexclude = ["a b"]\n')
    with pytest.raises(ConfigError, match="has spaces or quotes"):
        main([str(path), "--to", "kohya-gui", "-o", str(tmp_path / "new.json")])
    with pytest.raises(ConfigError, match=r"ends in \.json"):
        main([str(path), "--to", "kohya-gui", "-o", str(tmp_path / "new.toml")])


def test_a_share_of_warm_up_steps_and_lists_are_written_in_sd_scripts_types(
    tmp_path: Path,
) -> None:
    text = BASE + 'train_data_dir = "a"\nlr_scheduler = "cosine"\nlr_warmup_steps = 100\n'
    config = build_config([parse_toml(text, "a.toml")])
    values = read_tables(exported(config, "sd-scripts", tmp_path).read_text("utf-8"))
    assert (values["lr_warmup_steps"], values["resolution"]) == (100, "512")
    assert isinstance(values["lr_warmup_steps"], int)
    assert values["optimizer_args"][0] == "weight_decay=0.01"


def test_kohya_ss_gets_both_rates_because_of_one_alone_it_trains_that_part_only(
    tmp_path: Path,
) -> None:
    text = BASE + 'train_data_dir = "a"\nlearning_rate = 1e-3\ntext_encoder_lr = 1e-5\n'
    path = exported(build_config([parse_toml(text, "a.toml")]), "kohya-gui", tmp_path)
    fields = json.loads(path.read_text("utf-8"))
    assert (fields["unet_lr"], fields["text_encoder_lr"]) == (1e-3, 1e-5)
    again = build_config([read_config(path)])
    assert not again.network.network_train_text_encoder_only


def sdxl_file(folder: Path) -> Path:
    """Write a file that is known as Stable Diffusion XL by its keys."""
    names = (
        "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight",
        "conditioner.embedders.1.model.positional_embedding",
        "first_stage_model.encoder.conv_in.weight",
    )
    tensors = {name: torch.zeros(1) for name in names}
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(320, 4, 3, 3)
    save_file(tensors, folder / "sdxl.safetensors")
    return folder / "sdxl.safetensors"


@pytest.mark.parametrize("to", sorted(FORMATS))
@pytest.mark.parametrize("pictures", [{"train_data_dir": "a"}, {"image_dir": "a"}])
def test_without_a_resolution_the_base_models_own_size_is_written(
    to: str, pictures: dict[str, Any], tmp_path: Path
) -> None:
    values = {"pretrained_model_name_or_path": str(sdxl_file(tmp_path)), **pictures}
    path = exported(build_config([OptionSource("test", values)]), to, tmp_path)
    text = path.read_text("utf-8")
    stated = json.loads(text)["max_resolution"] if to == "kohya-gui" else None
    assert (stated or read_tables(text)["resolution"]) == "1024"
    assert build_config([read_config(path)]).data.size == (1024, 1024)


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_without_a_resolution_a_base_model_that_cannot_be_read_is_refused(
    to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, UNREADABLE + 'train_data_dir = "a"\n')
    output = tmp_path / f"new{FORMATS[to][0]}"
    arguments = [str(path), "--to", to, "-o", str(output)]
    with pytest.raises(ConfigError, match=r"no such file[\s\S]*-> set resolution") as caught:
        main(arguments)
    assert caught.value.where == "resolution" and not output.exists()
    assert main([*arguments, "--skip-unsupported"]) == 0
    assert "left out: resolution is unset" in capsys.readouterr().err
    assert "resolution" not in output.read_text("utf-8")


def test_the_base_model_is_not_asked_where_every_subset_has_a_resolution(tmp_path: Path) -> None:
    text = UNREADABLE + '[[subsets]]\nimage_dir = "a"\nresolution = 768\n'
    exported(build_config([parse_toml(text, "a.toml")]), "sd-scripts", tmp_path)
    datasets = read_tables((tmp_path / "a.datasets.toml").read_text("utf-8"))["datasets"]
    assert [dataset["resolution"] for dataset in datasets] == [768]


def test_the_command_offers_every_program_to_export_to() -> None:
    assert tuple(FORMATS) == PROGRAMS
