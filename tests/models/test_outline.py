"""A base model without its weights knows the same as the loaded one, and refuses the same."""

from __future__ import annotations

import shutil

import pytest
import torch

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.models.config import mini_base_folder
from lycoris_ext.models.outline import load_outline, picture_size_of, usual_size


def shapes(pipeline):
    return {
        f"{name}.{key}": tuple(tensor.shape)
        for name, part in pipeline.targets().items()
        for key, tensor in part.state_dict().items()
    }


@pytest.mark.parametrize("own_vae", [True, False])
def test_an_outline_has_the_shapes_and_facts_of_the_model_and_no_weights(tiny_base, own_vae):
    config = ModelConfig(
        pretrained_model_name_or_path=str(tiny_base), vae=None if own_vae else str(tiny_base)
    )
    outline, loaded = load_outline(config), load_pipeline(config, "cpu")
    assert shapes(outline) == shapes(loaded)
    assert next(outline.unet.parameters()).device == torch.device("meta")
    for fact in ("kind", "picture_size", "latent_factor", "latent_channels", "max_tokens", "name"):
        assert getattr(outline, fact) == getattr(loaded, fact)
    assert outline.base_hash() == loaded.base_hash()
    assert torch.equal(outline.noise_schedule.alphas_cumprod, loaded.noise_schedule.alphas_cumprod)
    assert picture_size_of(config) == loaded.picture_size


def test_the_sizes_of_the_families_are_those_that_they_are_known_for():
    sizes = {
        (name, predicts): usual_size(FAMILIES[name], predicts)
        for name in ("sd1", "sd2", "sdxl")
        for predicts in ("epsilon", "v_prediction")
    }
    assert sizes == {
        ("sd1", "epsilon"): 512,
        ("sd1", "v_prediction"): 512,
        ("sd2", "epsilon"): 512,
        ("sd2", "v_prediction"): 768,
        ("sdxl", "epsilon"): 1024,
        ("sdxl", "v_prediction"): 1024,
    }
    assert picture_size_of(ModelConfig()) == 64


def break_nothing(folder):
    pass


def no_unet_weights(folder):
    next((folder / "unet").glob("*.safetensors")).unlink()


def no_config(folder):
    (folder / "vae" / "config.json").unlink()


def broken_config(folder):
    (folder / "unet" / "config.json").write_text("{", encoding="utf-8")


def no_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


def other_width(folder):
    path = folder / "unet" / "config.json"
    text = path.read_text("utf-8").replace('"in_channels": ', '"in_channels": 9')
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "harm",
    [break_nothing, no_unet_weights, no_config, broken_config, no_tokenizer, other_width],
    ids=lambda harm: harm.__name__,
)
@pytest.mark.parametrize("options", [{}, {"clip_skip": 50}, {"v2": True}, {"vae": "not/there"}])
def test_an_outline_is_refused_exactly_where_the_model_is(tiny_base, tmp_path, harm, options):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    harm(folder)
    config = ModelConfig(pretrained_model_name_or_path=str(folder), **options)

    def refuses(load):
        try:
            load()
        except LycorisExtError as error:
            return type(error)
        return None

    assert (refuses(lambda: load_outline(config)) is None) is (
        refuses(lambda: load_pipeline(config, "cpu")) is None
    )


def test_an_outline_of_a_single_file_has_its_familys_shapes(tmp_path):
    from safetensors.torch import save_file

    from lycoris_ext.models import build_meta

    names = (
        "model.diffusion_model.input_blocks.0.0.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
        "first_stage_model.encoder.conv_in.weight",
    )
    path = tmp_path / "model.safetensors"
    save_file({names[0]: torch.zeros(320, 4, 3, 3), **{n: torch.zeros(1) for n in names[1:]}}, path)
    config = ModelConfig(pretrained_model_name_or_path=str(path))
    assert picture_size_of(config) == 512
    outline = load_outline(config)
    assert (outline.kind, outline.picture_size) == ("sd1", 512)
    expected = {
        f"{name}.{key}": tuple(tensor.shape)
        for name, part in build_meta("sd1").items()
        for key, tensor in part.state_dict().items()
    }
    assert shapes(outline) == expected


@pytest.mark.parametrize(("option", "size"), [(None, 768), (True, 768), (False, 512)])
def test_the_size_of_a_file_follows_v_parameterization_before_what_the_file_says(
    tmp_path, option, size
):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    unet = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}
    others = ("cond_stage_model.model.ln_final.bias", "first_stage_model.decoder.x", "v_pred")
    save_file(unet | {name: torch.zeros(1) for name in others}, path)
    config = ModelConfig(pretrained_model_name_or_path=str(path), v_parameterization=option)
    assert picture_size_of(config) == size == load_outline(config).picture_size


@pytest.mark.skipif(not mini_base_folder().is_dir(), reason="needs the base model mini")
@pytest.mark.parametrize("read", [load_outline, lambda config: load_pipeline(config, "cpu")])
def test_mini_is_not_called_stable_diffusion_1(read):
    with pytest.raises(ConfigError) as caught:
        read(ModelConfig(v2=True))
    assert caught.value.what == "v2 is true, and the base model mini is no Stable Diffusion 2.x"
