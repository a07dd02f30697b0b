"""Keys are written as sd-scripts writes them, and keys of every tool lead to the same layer."""

from __future__ import annotations

import pytest

from lycoris_ext.formats.families import FAMILIES, family_of_models
from lycoris_ext.formats.keys import (
    Place,
    key_prefix,
    place_in_file,
    place_in_model,
    split_key,
    target_of,
)

TE = "text_encoder"


@pytest.mark.parametrize(
    ("target", "path", "key"),
    [
        ("unet", "mid_block.resnets.0.conv1", "lora_unet_mid_block_resnets_0_conv1"),
        (
            "text_encoder",
            "text_model.encoder.layers.3.self_attn.q_proj",
            "lora_te_text_model_encoder_layers_3_self_attn_q_proj",
        ),
        (  # transformers 5 has no text_model level
            "text_encoder",
            "encoder.layers.3.self_attn.q_proj",
            "lora_te_text_model_encoder_layers_3_self_attn_q_proj",
        ),
        ("model", "blocks.0.fc", "lycoris_blocks_0_fc"),
        # ldm's U-Net of SD1 (ComfyUI's) is written under the names that sd-scripts writes
        ("unet", "input_blocks.1.1.proj_in", "lora_unet_down_blocks_0_attentions_0_proj_in"),
    ],
)
def test_layers_are_written_under_the_keys_of_sd_scripts(target: str, path: str, key: str) -> None:
    assert key_prefix(target, path) == key
    assert target_of(key) == target


#: diffusers' path in SDXL -> ldm's, read off the two libraries' own conversion of checkpoints.
SDXL = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.resnets.1.time_emb_proj": "input_blocks.2.0.emb_layers.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
    "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0": (
        "input_blocks.8.1.transformer_blocks.9.attn2.to_out.0"
    ),
    "mid_block.resnets.0.conv2": "middle_block.0.out_layers.3",
    "mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj": (
        "middle_block.1.transformer_blocks.3.ff.net.0.proj"
    ),
    "mid_block.resnets.1.conv1": "middle_block.2.in_layers.2",
    "up_blocks.0.resnets.0.conv_shortcut": "output_blocks.0.0.skip_connection",
    "up_blocks.0.attentions.2.proj_out": "output_blocks.2.1.proj_out",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.2.resnets.2.conv2": "output_blocks.8.0.out_layers.3",
}


@pytest.mark.parametrize(("diffusers", "ldm"), SDXL.items())
def test_sdxl_is_written_under_ldm_names(diffusers: str, ldm: str) -> None:
    key = f"lora_unet_{ldm.replace('.', '_')}"
    assert key_prefix("unet", diffusers, FAMILIES["sdxl"]) == key
    assert key_prefix("unet", ldm, FAMILIES["sdxl"]) == key  # sd-scripts' own SDXL U-Net
    assert place_in_file(key) == place_in_model("unet", diffusers) == place_in_model("unet", ldm)


def test_text_encoders_of_sdxl_are_written_as_te1_and_te2() -> None:
    path = "text_model.encoder.layers.0.mlp.fc1"
    under = path.replace(".", "_")
    sdxl = FAMILIES["sdxl"]
    assert key_prefix("text_encoder", path, sdxl) == f"lora_te1_{under}"
    assert key_prefix("text_encoder_2", path, sdxl) == f"lora_te2_{under}"
    assert key_prefix("text_encoder_2", "text_projection", sdxl) == "lora_te2_text_projection"
    assert target_of(f"lora_te2_{under}") == "text_encoder_2"


@pytest.mark.parametrize(
    ("family", "target", "path", "key"),
    [
        ("sd3", "text_encoder_2", "text_model.final", "lora_te2_text_model_final"),
        ("sd3", "text_encoder_3", "encoder.block.0.q", "lora_te3_encoder_block_0_q"),
        (
            "flux",
            "text_encoder",
            "encoder.layers.0.fc1",
            "lora_te1_text_model_encoder_layers_0_fc1",
        ),
        ("flux", "text_encoder_3", "encoder.block.0.q", "lora_te3_encoder_block_0_q"),
        ("flux", "unet", "double_blocks.0.img_attn.qkv", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("lumina", "text_encoder", "layers.0.mlp.up_proj", "lora_te_layers_0_mlp_up_proj"),
        ("anima", "text_encoder", "layers.0.mlp.up_proj", "lora_te_layers_0_mlp_up_proj"),
    ],
)
def test_keys_of_newer_families_are_those_of_sd_scripts_and_lead_back(
    family: str, target: str, path: str, key: str
) -> None:
    assert key_prefix(target, path, FAMILIES[family]) == key
    assert place_in_file(key) == place_in_model(target, path)


@pytest.mark.parametrize(
    ("targets", "children", "family"),
    [
        (["unet", "text_encoder"], ["conv_in", "time_embedding"], "sd1"),
        (["unet", "text_encoder", "text_encoder_2"], [], "sdxl"),
        (["unet"], ["conv_in", "add_embedding"], "sdxl"),
        (["unet"], ["time_embed", "label_emb"], "sdxl"),
        (["model"], [], "sd1"),
        (["unet"], ["input_blocks", "middle_block"], "sd1"),
        (["unet"], ["img_in", "double_blocks", "single_blocks"], "flux"),
        (["unet"], ["byt5_in", "double_blocks", "single_blocks"], "hunyuan_image"),
        (["unet", "text_encoder_2"], ["x_embedder", "joint_blocks"], "sd3"),
        (["unet"], ["x_embedder", "noise_refiner", "context_refiner"], "lumina"),
        (["unet"], ["x_embedder", "blocks", "t_embedding_norm"], "anima"),
    ],
)
def test_the_family_is_known_from_targets_and_submodules(
    targets: list[str], children: list[str], family: str
) -> None:
    assert family_of_models(targets, children) is FAMILIES[family]


Q = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DOTTED = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
OUT = Q.replace("to_q", "to_out_0")
CLIP = "text_model.encoder.layers.0.self_attn"
UNDER = "encoder_layers_0_self_attn_q_proj"
DOWN, UP = "lora_down.weight", "lora_up.weight"


@pytest.mark.parametrize(
    ("key", "place", "name"),
    [
        (f"lora_unet_{Q}.lora_down.weight", ("unet", Q), DOWN),
        (f"lora_unet_{Q}.lora_A.weight", ("unet", Q), DOWN),
        (
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.hada_t1",
            ("unet", Q),
            "hada_t1",
        ),
        (f"lycoris_{Q}.hada_w1_a", ("", Q), "hada_w1_a"),
        (f"lora_te_text_model_{UNDER}.alpha", (TE, UNDER), "alpha"),
        (f"lora_te1_text_model_{UNDER}.alpha", (TE, UNDER), "alpha"),
        (f"lora_te2_text_model_{UNDER}.alpha", ("text_encoder_2", UNDER), "alpha"),
        (
            "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_up.weight",
            ("unet", Q),
            UP,
        ),
        (
            "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_mid.weight",
            ("unet", Q),
            "lora_mid.weight",
        ),
        (f"text_encoders.clip_l.transformer.{CLIP}.q_proj.alpha", (TE, UNDER), "alpha"),
        (
            f"text_encoders.clip_g.transformer.{CLIP}.q_proj.alpha",
            ("text_encoder_2", UNDER),
            "alpha",
        ),
        (f"unet.{DOTTED}.to_q.lora_A.weight", ("unet", Q), DOWN),
        (f"unet.{DOTTED}.to_q.lora_B.default.weight", ("unet", Q), UP),
        (f"unet.{DOTTED}.to_q.lora.down.weight", ("unet", Q), DOWN),
        (f"unet.{DOTTED}.to_q.hada_w2_b", ("unet", Q), "hada_w2_b"),
        (f"unet.{DOTTED}.processor.to_q_lora.down.weight", ("unet", Q), DOWN),
        (f"unet.{DOTTED}.processor.to_out_lora.up.weight", ("unet", OUT), UP),
        (f"{DOTTED}.processor.to_out_lora.up.weight", ("", OUT), UP),
        (f"unet.{DOTTED}.to_out.0.lora_B.weight", ("unet", OUT), UP),
        (f"text_encoder.{CLIP}.to_q_lora.down.weight", (TE, UNDER), DOWN),
        (f"text_encoder.{CLIP}.q_proj.lora_linear_layer.up.weight", (TE, UNDER), UP),
        (f"text_encoder_2.{CLIP}.q_proj.lora_A.weight", ("text_encoder_2", UNDER), DOWN),
        (f"base_model.model.{DOTTED}.to_q.hada_w1_a", ("", Q), "hada_w1_a"),
        (f"base_model.model.{DOTTED}.to_q.hada_w1_a.default", ("", Q), "hada_w1_a"),
        (f"base_model.model.{CLIP}.q_proj.lora_A.weight", ("", f"text_model_{UNDER}"), DOWN),
        (f"unet.base_model.model.{DOTTED}.to_q.lora_A.weight", ("unet", Q), DOWN),
        ("fc.0.lora_A.weight", ("", "fc_0"), DOWN),
        (f"unet.{DOTTED}.to_q.lora_magnitude_vector", ("unet", Q), "dora_scale"),
        ("fc.0.lora_magnitude_vector.default.weight", ("", "fc_0"), "dora_scale"),
    ],
)
def test_keys_of_every_tool_lead_to_their_layer_and_tensor(
    key: str, place: tuple[str, str], name: str
) -> None:
    layer, found = split_key(key)
    assert place_in_file(layer) == Place(*place)
    assert found == name


@pytest.mark.parametrize("key", ["loose", "alpha", "unet.x.lora_magnitude", "a.b.bias"])
def test_keys_without_a_known_tensor_name_are_not_split(key: str) -> None:
    assert split_key(key) == (key, "")


def test_layer_names_of_a_plain_module_are_not_translated() -> None:
    # It may have layers of both names, which are one place in a U-Net or a text encoder.
    assert place_in_model("model", "text_model.fc") != place_in_model("model", "fc")
    assert place_in_model("model", "input_blocks.0.0") == Place("model", "input_blocks_0_0")


@pytest.mark.parametrize(
    ("layer", "target"),
    [
        ("base_model.model.down_blocks.0.resnets.0.conv1", "unet"),
        ("lycoris_output_blocks_2_1_conv", "unet"),
        ("lycoris_text_model_encoder_layers_0_mlp_fc1", "text_encoder"),
        ("lycoris_fc", "model"),
    ],
)
def test_the_target_is_guessed_where_a_key_does_not_name_it(layer: str, target: str) -> None:
    assert target_of(layer) == target


def test_a_denoiser_of_an_unknown_family_is_written_under_comfyuis_names() -> None:
    path = "double_blocks.0.img_attn.qkv"
    key = key_prefix("diffusion_model", path)
    assert key == f"diffusion_model.{path}"
    assert place_in_file(key) == place_in_model("diffusion_model", path)
    kohyas = place_in_file("lora_unet_double_blocks_0_img_attn_qkv")
    assert kohyas == place_in_file(key), "sd-scripts' name of the same layer"
