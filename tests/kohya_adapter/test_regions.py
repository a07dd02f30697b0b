"""gen_img.py's regions: which part of a picture and which prompts a network updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError
from lycoris_ext.kohya import create_network
from tests.kohya_models import Models, disturb, tiny_models

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
RESNET = "down_blocks.0.resnets.0.conv1"
BATCH, PROMPTS, SIDE = 1, 2, 64


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return tiny_models(tmp_path)


def applied(models: Models, **arguments: str) -> Any:
    network = create_network(
        1.0, 4, 2.0, models.vae, models.text_encoders, models.unet, algo="loha", **arguments
    )
    disturb(network)
    network.apply_to(models.text_encoders, models.unet)
    return network.eval()


@torch.no_grad()
def output(models: Models, path: str, rows: int = 2) -> Tensor:
    layer = models.unet.get_submodule(path)
    generator = torch.Generator().manual_seed(5)
    side = SIDE // 8
    shape = (rows, 16, side, side) if path == RESNET else (rows, side * side, 16)
    found: Tensor = layer(torch.randn(shape, generator=generator))
    return found


def test_an_update_stays_inside_its_mask(models: Models) -> None:
    network = applied(models)
    full = output(models, RESNET)
    network.remove()
    plain = output(models, RESNET)
    network.apply_to(models.text_encoders, models.unet)
    mask = torch.zeros(SIDE, SIDE)
    mask[:, : SIDE // 2] = 1
    network.set_region(0, True, mask)
    network.set_current_generation(BATCH, PROMPTS, SIDE, SIDE, {}, None)
    found = output(models, RESNET)
    torch.testing.assert_close(found[..., : SIDE // 16], full[..., : SIDE // 16])
    assert torch.equal(found[..., SIDE // 16 :], plain[..., SIDE // 16 :])
    network.remove()
    assert torch.equal(output(models, RESNET), plain)
    assert "forward" not in vars(models.unet.get_submodule(RESNET))


def test_an_empty_mask_covers_the_whole_picture_at_shrunk_sizes_too(models: Models) -> None:
    network = applied(models)
    full = output(models, RESNET)
    network.set_region(0, False, torch.zeros(SIDE, SIDE))
    network.set_current_generation(BATCH, PROMPTS, SIDE * 2, SIDE * 2, {}, 0.5)
    torch.testing.assert_close(output(models, RESNET), full)


def test_the_last_network_repeats_the_queries_for_every_prompt(models: Models) -> None:
    network = applied(models)
    full = output(models, QUERY)
    network.set_region(0, True, torch.ones(SIDE, SIDE))
    network.set_current_generation(BATCH, PROMPTS, SIDE, SIDE, {}, None)
    found = output(models, QUERY)
    torch.testing.assert_close(found, full[[0, *[1] * PROMPTS]])


def test_a_generation_before_set_region_is_refused(models: Models) -> None:
    with pytest.raises(ConfigError, match="set_region was not called"):
        applied(models).set_current_generation(BATCH, PROMPTS, SIDE, SIDE, {}, None)
