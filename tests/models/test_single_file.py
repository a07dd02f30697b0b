"""Base models in a single file, compared with the same weights in a folder and with diffusers."""

from __future__ import annotations

import shutil
import socket
from itertools import chain

import pytest
import safetensors.torch
import torch

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.models import ModelConfig, load_pipeline, part_configs
from lycoris_ext.models.part_configs import LOADED
from lycoris_ext.models.quiet import quiet_loading
from tests.single_files import clip, ldm_unet, ldm_vae, single_file
from tests.tiny_pipeline import PICTURE_SIZE, write_tiny_folder

CAPTIONS = ["a photo of a cat, 1girl", "wow!", ""]
SIZES = ((64, 48), (0, 3), (32, 32))
SD2 = {"v_parameterization": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Write a tiny model of every family in the diffusers layout, in a folder of its name."""
    root = tmp_path_factory.mktemp("families")
    for name in LOADED:
        write_tiny_folder(root / name, seed=1, family=name, clip_words=True)
    return root


@pytest.fixture(scope="module", autouse=True)
def tiny_configs(folders):
    """Take the configs of the tiny models for what a single file lacks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_configs, "CONFIGS", folders)
        yield


@pytest.fixture(scope="module")
def files(folders, tmp_path_factory):
    """Write the same models as one .safetensors file each."""
    root = tmp_path_factory.mktemp("files")
    for name, family in LOADED.items():
        pipeline = load(folders / name)
        encoders = list(pipeline.text_encoders().values())
        stored = single_file(family, pipeline.unet, pipeline.vae, encoders)
        stored = {key: value.contiguous().clone() for key, value in stored.items()}
        safetensors.torch.save_file(stored, root / f"{name}.safetensors")
    return root


def load(place, dtype=torch.float32, **options):
    return load_pipeline(
        ModelConfig(pretrained_model_name_or_path=str(place), **options), "cpu", dtype
    )


def options_for(family):
    return SD2 if family == "sd2" else {}


def rewritten(source, target, change, metadata=None):
    """Write a copy of a file with its tensors changed; return its path."""
    tensors = safetensors.torch.load_file(source)
    change(tensors)
    safetensors.torch.save_file(tensors, target, metadata)
    return target


def prediction(pipeline, captions=("a photo of a cat, 1girl",)):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(len(captions), 4, 8, 8, generator=generator)
    sizes = [tuple(chain(*SIZES))] * len(captions)
    with torch.no_grad():
        text = pipeline.encode_text(captions)
        return pipeline.predict(latents, torch.tensor([500]), text, sizes)


@pytest.mark.parametrize("family", LOADED)
def test_a_single_file_loads_the_same_model_as_its_folder(folders, files, family, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    single = load(files / f"{family}.safetensors", **options_for(family))
    folder = load(folders / family)
    assert single.kind == folder.kind == family
    assert single.name == family
    for ours, theirs in zip(
        (single.vae, *single.targets().values()),
        (folder.vae, *folder.targets().values()),
        strict=True,
    ):
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        assert all(torch.equal(v, expected[k]) for k, v in ours.state_dict().items())
        assert not ours.training
        assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert torch.equal(prediction(single), prediction(folder))
    assert single.vae.config.scaling_factor == folder.vae.config.scaling_factor
    assert torch.equal(single.noise_schedule.alphas_cumprod, folder.noise_schedule.alphas_cumprod)


@pytest.mark.parametrize("family", LOADED)
def test_a_single_file_gives_the_outputs_that_diffusers_gives(folders, files, family):
    """Compare text states, pooled embedding and the U-Net's output at given sizes."""
    import diffusers

    path = files / f"{family}.safetensors"
    ours = load(path, **options_for(family))
    kind = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    tokenizers = {"tokenizer": ours.tokenizer, "tokenizer_2": ours.tokenizer_2}
    unsafe = {"safety_checker": None, "requires_safety_checker": False}
    with quiet_loading():
        theirs = getattr(diffusers, kind).from_single_file(
            str(path),
            config=str(folders / family),
            local_files_only=True,
            **(tokenizers if family == "sdxl" else {"tokenizer": ours.tokenizer, **unsafe}),
        )
    with torch.no_grad():
        expected = theirs.encode_prompt(
            list(CAPTIONS), device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        text = ours.encode_text(CAPTIONS)
        assert torch.allclose(text.states, expected[0], atol=1e-6)
        added = None
        if family == "sdxl":
            assert torch.allclose(text.pooled, expected[2], atol=1e-6)
            ids = theirs._get_add_time_ids(*SIZES, torch.float32, text.pooled.shape[1])
            added = {"text_embeds": expected[2][:1], "time_ids": ids}
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        answer = theirs.unet(latents, 500, expected[0][:1], added_cond_kwargs=added).sample
    assert torch.allclose(prediction(ours), answer, atol=1e-5)


@pytest.mark.parametrize("family", LOADED)
def test_a_lightning_checkpoint_loads_the_same_model(files, tmp_path, family):
    """The original repositories saved weights below "state_dict", beside values of the trainer."""
    source = files / f"{family}.safetensors"
    content = {"state_dict": safetensors.torch.load_file(source), "global_step": 7, "epoch": 1}
    torch.save(content, tmp_path / f"{family}.ckpt")
    single = load(tmp_path / f"{family}.ckpt", **options_for(family))
    assert torch.equal(prediction(single), prediction(load(source, **options_for(family))))


def test_half_precision_files_load_in_any_precision(files, tmp_path):
    def halve(tensors):
        tensors.update({key: value.half() for key, value in tensors.items()})

    path = rewritten(files / "sdxl.safetensors", tmp_path / "half.safetensors", halve)
    assert load(path).dtype == torch.float32
    pipeline = load(path, torch.float16)
    assert {part.dtype for part in pipeline.targets().values()} == {torch.float16}
    assert pipeline.vae.dtype == torch.float32


def test_a_text_encoder_saved_without_text_model_loads_the_same(files, tmp_path):
    """Some old merges lost `text_model.`, and some keep position_ids as a weight."""

    def change(tensors):
        for key in [key for key in tensors if ".text_model." in key]:
            tensors[key.replace(".text_model.", ".")] = tensors.pop(key)
        tensors["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)[None]

    path = rewritten(files / "sd1.safetensors", tmp_path / "old.safetensors", change)
    assert torch.equal(prediction(load(path)), prediction(load(files / "sd1.safetensors")))


# What the U-Net predicts


def test_an_sd2_file_that_does_not_say_what_it_predicts_is_refused(files):
    path = files / "sd2.safetensors"
    with pytest.raises(ConfigError, match=r"v_parameterization: sd2.safetensors .* does not say"):
        load(path)
    large, small = load(path, v_parameterization=True), load(path, v_parameterization=False)
    assert (large.kind, small.kind) == ("sd2_v", "sd2")
    assert large.schedule_config["prediction_type"] == "v_prediction"
    assert small.unet.config.sample_size == 64, "the base model is for 512 pixels"


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"modelspec.prediction_type": "v"}, "sd2_v"),
        ({"modelspec.prediction_type": "epsilon"}, "sd2"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "sd2_v"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, "sd2"),
    ],
)
def test_metadata_say_what_an_sd2_file_predicts(files, tmp_path, metadata, kind):
    path = rewritten(
        files / "sd2.safetensors", tmp_path / "a.safetensors", lambda tensors: None, metadata
    )
    assert load(path).kind == kind
    assert load(path, v_parameterization=kind == "sd2").kind != kind, "the user's word comes first"


def test_an_xl_file_predicts_velocity_by_its_key_or_by_the_option(files, tmp_path):
    path = rewritten(
        files / "sdxl.safetensors",
        tmp_path / "v.safetensors",
        lambda tensors: tensors.update(v_pred=torch.empty(0)),
    )
    assert load(path).kind == "sdxl_v"
    assert load(files / "sdxl.safetensors", v_parameterization=True).kind == "sdxl_v"


def test_v2_that_contradicts_the_file_is_refused(files):
    with pytest.raises(ConfigError, match=r"v2 is true, and .* sd1.safetensors is Stable Dif"):
        load(files / "sd1.safetensors", v2=True)
    with pytest.raises(ConfigError, match=r"v2 is false, and .* sd2.safetensors is .* Diffusion 2"):
        load(files / "sd2.safetensors", v2=False, **SD2)


# Autoencoders


def without_vae(tensors):
    for key in [key for key in tensors if key.startswith("first_stage_model.")]:
        del tensors[key]


def test_vae_files_of_every_layout_load_the_same_autoencoder(files, folders, tmp_path):
    other = write_tiny_folder(tmp_path / "other", seed=5)
    vae = load(other).vae
    bare = {key: value.contiguous() for key, value in ldm_vae(vae).items()}
    safetensors.torch.save_file({**bare, "loss.logvar": torch.zeros(1)}, tmp_path / "a.safetensors")
    torch.save({"state_dict": bare}, tmp_path / "a.vae.pt")
    inside = {f"first_stage_model.{key}": value for key, value in bare.items()}
    safetensors.torch.save_file(inside, tmp_path / "inside.safetensors")
    stored = {key: value.contiguous() for key, value in vae.state_dict().items()}
    safetensors.torch.save_file(stored, tmp_path / "diffusers.safetensors")
    model = rewritten(files / "sdxl.safetensors", tmp_path / "novae.safetensors", without_vae)
    pixels = torch.rand(1, 3, PICTURE_SIZE, PICTURE_SIZE) * 2 - 1
    expected = vae.encode(pixels).latent_dist.mean * 0.13025
    for name in ("a.safetensors", "a.vae.pt", "inside.safetensors", "diffusers.safetensors"):
        pipeline = load(model, vae=str(tmp_path / name))
        assert torch.allclose(pipeline.encode_posterior(pixels)[0], expected, atol=1e-6), name
        assert len(pipeline.weight_files) == 2


def test_a_file_without_autoencoder_is_refused(files, tmp_path):
    path = rewritten(files / "sd1.safetensors", tmp_path / "novae.safetensors", without_vae)
    with pytest.raises(DataError, match=r"no autoencoder \(VAE\)\n.*name one with vae"):
        load(path)
    with pytest.raises(DataError, match=r"unet.safetensors: this file holds no autoencoder"):
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "unet.safetensors")
        load(path, vae=str(tmp_path / "unet.safetensors"))


def test_a_folder_without_autoencoder_takes_the_one_of_the_option_vae(folders, files, tmp_path):
    folder = shutil.copytree(folders / "sd1", tmp_path / "model")
    shutil.rmtree(folder / "vae")
    with pytest.raises(DataError, match=r"missing: vae/config.json"):
        load(folder)
    assert load(folder, vae=str(files / "sd1.safetensors")).latent_channels == 4


# What is no base model


def tensors_of(kind, pipeline):
    one = torch.zeros(4, 4)
    flux = dict.fromkeys(
        ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"), one
    )
    return {
        "LoRA": {"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": one},
        "LoHa": {"lycoris_unet.conv_in.hada_w1_a": one},
        "PEFT": {"base_model.model.q.lora_A.weight": one},
        "embedding": {"emb_params": one},
        "Flux": flux,
        "Flux whole": {f"model.diffusion_model.{key}": one for key in flux},
        "SD3": {"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight": one},
        "other": {"model.diffusion_model.layers.0.weight": one},
        "ControlNet": {"control_model.input_hint_block.0.weight": one},
        "VAE": ldm_vae(pipeline.vae),
        "U-Net": ldm_unet(pipeline.unet),
        "U-Net folder": pipeline.unet.state_dict(),
        "text encoder": clip(pipeline.text_encoder.state_dict()),
        "text": {"a.b": one},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("LoRA", "this is an adapter .* --adapter"),
        ("LoHa", "this is an adapter"),
        ("PEFT", "this is an adapter"),
        ("embedding", "textual inversion"),
        ("Flux", r"a model of the FLUX\.1 family"),
        ("Flux whole", r"a model of the FLUX\.1 family"),
        ("SD3", "a model of the Stable Diffusion 3 family"),
        ("other", "a family that is not known here"),
        ("ControlNet", "a ControlNet"),
        ("VAE", r"an autoencoder \(VAE\) alone.*can be the option vae"),
        ("U-Net", "a U-Net alone"),
        ("U-Net folder", "a U-Net alone"),
        ("text encoder", "a text encoder alone"),
        ("text", r"no base model; it holds 1 tensor: a\.b"),
    ],
)
def test_files_that_are_no_base_model_are_refused_by_what_they_are(folders, tmp_path, kind, says):
    stored = tensors_of(kind, load(folders / "sd1"))
    path = tmp_path / "it.safetensors"
    safetensors.torch.save_file({k: v.contiguous().clone() for k, v in stored.items()}, path)
    with pytest.raises(DataError, match=f"(?s){says}"):
        load(path)


def wider(channels):
    def change(tensors):
        key = "model.diffusion_model.input_blocks.0.0.weight"
        tensors[key] = torch.zeros(16, channels, 3, 3)

    return change


def refine(tensors):
    for key in [key for key in tensors if key.startswith("conditioner.embedders.")]:
        value = tensors.pop(key)
        if ".1." in key:
            tensors[key.replace("embedders.1.", "embedders.0.")] = value


def drop_text(tensors):
    for key in [key for key in tensors if key.startswith("cond_stage_model.")]:
        del tensors[key]


@pytest.mark.parametrize(
    ("family", "change", "says"),
    [
        ("sd1", wider(9), r"an inpainting model \(9 input channels\)"),
        ("sd1", wider(8), "InstructPix2Pix"),
        ("sdxl", wider(5), "a model with other inputs"),
        (
            "sd2",
            lambda t: t.update({"model.diffusion_model.label_emb.0.0.weight": torch.zeros(1)}),
            "unCLIP",
        ),
        ("sdxl", lambda t: t.update(edm_mean=torch.zeros(4)), "Playground"),
        ("sdxl", refine, "the SDXL refiner"),
        ("sd1", drop_text, "a U-Net but no text encoder"),
    ],
)
def test_models_of_other_kinds_are_refused_by_their_kind(files, tmp_path, family, change, says):
    path = rewritten(files / f"{family}.safetensors", tmp_path / "it.safetensors", change)
    with pytest.raises(DataError, match=says):
        load(path, **options_for(family))


@pytest.mark.parametrize(
    "lost",
    [
        "model.diffusion_model.middle_block.1.norm.weight",
        "first_stage_model.decoder.conv_in.bias",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
    ],
)
def test_weights_that_are_missing_are_named(files, tmp_path, lost):
    path = rewritten(files / "sd1.safetensors", tmp_path / "it.safetensors", lambda t: t.pop(lost))
    name = lost.rpartition(".")[0].rpartition(".")[2] + "." + lost.rpartition(".")[2]
    with pytest.raises(DataError, match=rf"lacks 1 weight: .*{name}"):
        load(path)


def test_weights_of_another_shape_are_refused_by_name(files, tmp_path):
    key = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    path = rewritten(
        files / "sd1.safetensors",
        tmp_path / "it.safetensors",
        lambda tensors: tensors.update({key: tensors[key][:100].contiguous()}),
    )
    with pytest.raises(DataError, match=r"safetensors: has another shape .* 1 weight: "):
        load(path)
    path = rewritten(
        files / "sd1.safetensors",
        tmp_path / "it.safetensors",
        lambda tensors: tensors.update({"model.diffusion_model.out.2.bias": torch.zeros(9)}),
    )
    with pytest.raises(DataError, match=r"another shape .* for 1 weight: .*conv_out\.bias"):
        load(path)


def test_damaged_files_are_refused(files, tmp_path):
    path = tmp_path / "it.safetensors"
    path.write_bytes((files / "sd1.safetensors").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"is cut off: 5,000 bytes are there, and [\d,]+ are"):
        load(path)
    path.write_bytes(b"hello, world")
    with pytest.raises(DataError, match='it says: "hello, world"'):
        load(path)
