"""Loading a base model from a folder: frozen, offline, and with the missing parts named."""

from __future__ import annotations

import json
import shutil
import socket

import pytest
import safetensors.torch
import torch

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.models import ModelConfig, build_meta, load_pipeline
from lycoris_ext.models.outline import load_outline
from lycoris_ext.models.part_configs import LOADED, config_folder
from tests.tiny_pipeline import write_tiny_folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_tiny_folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "model")


def load(folder, **options):
    config = ModelConfig(pretrained_model_name_or_path=str(folder), **options)
    return load_pipeline(config, "cpu", torch.float32)


def test_a_base_is_loaded_frozen_in_eval_mode_and_offline(pristine, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    pipeline = load(pristine)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
    assert pipeline.name == "model"
    assert set(pipeline.targets()) == {"unet", "text_encoder"}


def test_the_noise_schedule_is_that_of_stable_diffusion(pristine):
    schedule = load(pristine).noise_schedule
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    assert torch.allclose(schedule.alphas_cumprod, torch.cumprod(1 - betas, 0))
    assert schedule.prediction_type == "epsilon"


def test_the_autoencoder_stays_in_float32_beside_a_float16_unet(pristine):
    config = ModelConfig(pretrained_model_name_or_path=str(pristine))
    pipeline = load_pipeline(config, "cpu", torch.float16)
    assert pipeline.dtype == torch.float16
    assert pipeline.vae.dtype == torch.float32, "autoencoders overflow in float16"


def test_all_missing_parts_are_named(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "tokenizer" / "merges.txt").unlink()
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(DataError) as caught:
        load(folder)
    message = str(caught.value)
    assert "unet/diffusion_pytorch_model.safetensors" in message
    assert "merges.txt" in message
    assert "scheduler/scheduler_config.json" in message
    assert "vae" not in message.split("->")[0]


def test_weights_of_the_fp16_variant_are_found(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("model.fp16.safetensors"))
    assert load(folder).encode_text(["a cat"]).states.shape[0] == 1


def test_a_unet_that_lacks_a_weight_is_refused_by_its_name(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    del tensors["conv_in.weight"]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(DataError, match=r"lacks 1 weight: conv_in\.weight"):
        load(folder)


@pytest.mark.parametrize("level", ["", "text_model."])
def test_text_encoders_saved_by_older_and_newer_transformers_load_alike(folder, pristine, level):
    path = folder / "text_encoder" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    renamed = {level + key.removeprefix("text_model."): t for key, t in tensors.items()}
    safetensors.torch.save_file(renamed, path)
    ours, theirs = (load(each).encode_text(["a cat"]).states for each in (folder, pristine))
    assert torch.equal(ours, theirs)


def test_a_text_encoder_that_lacks_a_weight_is_refused_by_its_name(folder):
    path = folder / "text_encoder" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    lost = next(key for key in tensors if key.endswith("final_layer_norm.bias"))
    del tensors[lost]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(DataError, match=r"lacks 1 weight: [\w.]*final_layer_norm\.bias"):
        load(folder)


@pytest.mark.parametrize("part", ["vae/diffusion_pytorch_model", "text_encoder/model"])
def test_damaged_weights_are_refused(folder, part):
    path = folder / f"{part}.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"is cut off: 100 bytes are there, and [\d,]+ are needed"):
        load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
    ],
)
def test_a_clone_without_git_lfs_is_told_by_the_pointer_in_place_of_the_file(folder, name):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3438167534\n"
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a Git LFS pointer: .* in place of the 3.44 GB") as caught:
        load(folder)
    assert caught.value.where == str(folder / name) and "git lfs pull" in caught.value.fix


def test_a_vae_that_is_something_else_is_named(folder, tmp_path):
    path = tmp_path / "vae.safetensors"
    path.write_bytes(b"<html><head><title>Log in</title></head></html>")
    with pytest.raises(DataError, match=r"vae.safetensors: this is a web page \(.Log in.\)"):
        load(folder, vae=str(path))
    tensors = {"lora_unet_x.lora_up.weight": torch.ones(2, 2)}
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(DataError, match=r"holds no autoencoder \(VAE\): this is an adapter"):
        load(folder, vae=str(path))


def test_parts_of_different_models_are_refused(folder):
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "cross_attention_dim": 48}), encoding="utf-8")
    with pytest.raises(DataError, match="shape"):
        load(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
@pytest.mark.parametrize("content", ['"stabilityai/sdxl-vae"', "[]", "0"])
def test_a_config_that_is_no_object_is_refused_and_no_model_is_looked_up(
    folder, part, content, monkeypatch
):
    """diffusers takes a text in a config's place for the name of a model, and downloads that."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: asked.append(place))
    name = "tokenizer_config.json" if part == "tokenizer" else "config.json"
    (folder / part / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="and an object is expected"):
        load(folder)
    with pytest.raises(DataError, match="and an object is expected"):
        load_outline(ModelConfig(pretrained_model_name_or_path=str(folder)))
    assert not asked


def test_a_vocabulary_that_is_none_is_refused(folder):
    (folder / "tokenizer" / "vocab.json").write_text('{"a": "b"}', encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        load(folder)


def test_a_weights_header_over_a_bound_is_refused_before_a_library_reads_it(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    header = b'{"a":[' + b"[]," * 1_400_000 + b"0]}"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DataError, match=r"4,200,\d+ bytes of it are in no text"):
        load(folder)


def test_a_scheduler_config_that_is_no_json_is_refused(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not valid JSON"):
        load(folder)


@pytest.mark.parametrize(
    ("part", "says"), [("transformer", "a transformer"), ("prior", "Stable Cascade")]
)
def test_folders_of_other_families_are_refused_by_name(folder, part, says):
    (folder / part).mkdir()
    with pytest.raises(DataError, match=says):
        load(folder)


def test_the_sdxl_refiner_is_refused(folder):
    (folder / "text_encoder_2").mkdir()
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "cross_attention_dim": 1280}), encoding="utf-8")
    with pytest.raises(DataError, match="SDXL refiner"):
        load(folder)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_folders_of_sd2_and_sdxl_load_frozen_and_a_missing_part_is_named(tmp_path, family):
    folder = write_tiny_folder(tmp_path / "model", family=family)
    pipeline = load(folder)
    assert pipeline.kind == family
    assert set(pipeline.targets()) == {"unet", *pipeline.family.text_targets}
    for part in (pipeline.vae, *pipeline.targets().values()):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
    if family == "sdxl":
        shutil.rmtree(folder / "text_encoder_2")
        with pytest.raises(DataError, match=r"not a whole Stable Diffusion XL.*text_encoder_2/con"):
            load(folder)


def test_the_prediction_follows_the_scheduler_and_the_option_before_it(folder):
    assert load(folder, v_parameterization=True).kind == "sd1_v"
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "prediction_type": "v_prediction"}), encoding="utf-8")
    pipeline = load(folder)
    assert pipeline.kind == "sd1_v"
    assert pipeline.schedule_config["prediction_type"] == "v_prediction"
    assert load(folder, v_parameterization=False).kind == "sd1"


def test_v2_that_contradicts_the_model_is_refused(pristine):
    assert load(pristine, v2=False).kind == "sd1"
    with pytest.raises(ConfigError, match="v2 is true, and the base model model is Stable Dif"):
        load(pristine, v2=True)


def test_a_missing_model_is_refused_and_never_downloaded(tmp_path):
    with pytest.raises(DataError, match="never downloaded"):
        load("runwayml/stable-diffusion-v1-5")
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "model.safetensors")


def test_an_inpainting_folder_is_refused(folder):
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        path = folder / "unet" / name
        if name == "config.json":
            config = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps({**config, "in_channels": 9}), encoding="utf-8")
        else:
            tensors = safetensors.torch.load_file(path)
            tensors["conv_in.weight"] = torch.zeros(16, 9, 3, 3)
            safetensors.torch.save_file(tensors, path)
    with pytest.raises(DataError, match="gives 4 channels, and the U-Net takes 9"):
        load(folder)


def test_the_option_vae_replaces_the_models_autoencoder(pristine, tmp_path):
    other = write_tiny_folder(tmp_path / "other", seed=1)
    own, replaced = load(pristine), load(pristine, vae=str(other))
    inner = load(pristine, vae=str(other / "vae"))
    pixels = torch.zeros(1, 3, 32, 32)
    first, second, third = (each.encode_posterior(pixels)[0] for each in (own, replaced, inner))
    assert not torch.equal(first, second)
    assert torch.equal(third, second)
    assert own.base_hash() != replaced.base_hash()
    with pytest.raises(DataError, match="no autoencoder here"):
        load(pristine, vae=str(tmp_path))


def test_wrong_model_options_are_refused():
    with pytest.raises(ConfigError, match="clip_skip is 0"):
        ModelConfig(clip_skip=0)
    with pytest.raises(ConfigError, match="no base model"):
        ModelConfig(pretrained_model_name_or_path="")


def test_the_default_base_is_the_shipped_mini():
    pipeline = load_pipeline(ModelConfig(), "cpu", torch.float32)
    assert pipeline.name == "mini"
    assert len(pipeline.base_hash()) == 64


@pytest.mark.parametrize(
    ("family", "counts"),
    [
        ("sd1", {"unet": 859_520_964, "text_encoder": 123_060_480}),
        ("sd2", {"unet": 865_910_724, "text_encoder": 340_387_840}),
        (
            "sdxl",
            {
                "unet": 2_567_463_684,
                "text_encoder": 123_060_480,
                "text_encoder_2": 694_659_840,
            },
        ),
    ],
)
def test_models_on_meta_have_the_real_numbers_of_parameters(family, counts):
    parts = build_meta(family)
    assert {n: sum(p.numel() for p in part.parameters()) for n, part in parts.items()} == counts


@pytest.mark.parametrize(
    ("family", "scale"), [("sd1", 0.18215), ("sd2", 0.18215), ("sdxl", 0.13025)]
)
def test_autoencoders_have_the_real_size_and_scaling_factor(family, scale):
    from diffusers import AutoencoderKL

    config = AutoencoderKL.load_config(config_folder(LOADED[family], "vae"), local_files_only=True)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    assert sum(parameter.numel() for parameter in vae.parameters()) == 83_653_863
    assert vae.config.scaling_factor == scale


def test_an_unknown_family_is_refused():
    with pytest.raises(ConfigError, match="sd9"):
        build_meta("sd9")
