"""Datasets of latents and conditionings, without a VAE and a CLIP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfy_nodes.dataset_latents import DatasetLatents
from comfy_nodes.host.base_model import ConnectedModel
from comfy_nodes.host.given_latents import latent_of, marked_picture, single_latents
from lycoris_ext.errors import ConfigError
from tests.comfy_nodes.models import load_models
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.test_conditionings import conditioning
from tests.comfy_nodes.test_train import dataset, steps, train


def latents(*shapes: tuple[int, ...], seed: int = 1) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [{"samples": torch.randn(shape, generator=generator)} for shape in shapes]


def read(given: Any, *encoded: Any, **more: Any) -> Any:
    values = {name: [value] for name, value in more.items()}
    return DatasetLatents().read(given, list(encoded), **values)


def trained(data: Any, **more: Any) -> str:
    model, _, _ = load_models()
    return str(train((model, None, None), data, **more)["result"][1])


def test_latents_of_several_sizes_are_trained_without_vae_and_clip(host: Host) -> None:
    given = latents((2, 4, 5, 3), (1, 4, 2, 9), (1, 4, 8, 8))
    data, summary = read(given, *map(conditioning, range(4)), train_batch_size=2)
    assert summary == "4 latents of 3x5, 8x8, 9x2"
    assert Path(trained(data)).name == "mine.safetensors" and steps(host) == [1, 2, 3, 4]
    assert Path(trained(data)).name == "mine.safetensors", "the same latents: used again"
    other, _ = read(latents((4, 4, 8, 8), seed=2), conditioning(1))
    assert Path(trained(other)).name == "mine-2.safetensors"


def test_the_latents_reach_the_model_as_the_samplers_would_scale_them(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Tensor] = {}
    encode = ConnectedModel.encode_pixels

    def noted(self: ConnectedModel, pixels: Tensor) -> Any:
        mean, spread = encode(self, pixels)
        assert not spread.any()
        seen[str(float(mean.sum()))] = mean
        return mean, spread

    monkeypatch.setattr(ConnectedModel, "encode_pixels", noted)
    given = latents((1, 4, 5, 3), (1, 4, 2, 9))
    trained(read(given, conditioning(1))[0])
    wanted = [(each["samples"] - 0.1) * 0.18215 for each in given]
    for latent in wanted:
        assert torch.equal(latent, seen[str(float(latent.sum()))])


def test_a_marked_picture_names_its_latent() -> None:
    known = dict(single_latents(latents((3, 4, 2, 2))))
    for digest, latent in known.items():
        import io

        import numpy as np
        from PIL import Image

        with Image.open(io.BytesIO(marked_picture(digest, latent))) as picture:
            pixels = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None] / 127.5 - 1.0
        assert torch.equal(latent_of(pixels, known)[0], latent)


def test_wrong_latents_are_told_before_anything_runs(host: Host) -> None:
    with pytest.raises(ConfigError, match=r"a latent has the shape \(1, 4, 2, 8, 8\)"):
        read(latents((1, 4, 2, 8, 8)), conditioning(1))
    with pytest.raises(ConfigError, match="3 conditionings for 2 images"):
        read(latents((2, 4, 8, 8)), *map(conditioning, range(3)))
    data, _ = read(latents((2, 16, 8, 8)), conditioning(1))
    with pytest.raises(ConfigError, match="has latents of 16 channels, and the model reads 4"):
        trained(data)


def test_one_latent_may_have_several_captions(host: Host) -> None:
    (one,) = latents((1, 4, 4, 4))
    data, summary = read([one, one], conditioning(1), conditioning(2), train_batch_size=2)
    assert summary == "2 latents of 4x4" and len(data.latents) == 1
    assert trained(data).endswith("mine.safetensors")


def test_pictures_still_need_a_vae(host: Host) -> None:
    model, clip, _ = load_models()
    with pytest.raises(ConfigError, match="no VAE is connected"):
        train((model, clip, None), dataset())


def test_nothing_is_drawn_where_nothing_can_decode(host: Host) -> None:
    data, _ = read(latents((1, 4, 4, 4)), conditioning(1))
    model, clip, _ = load_models()
    train((model, clip, None), data, sample_every_n_steps=2, sample_prompts="a cat")
    assert any("no VAE is connected that could decode" in text for _, text in host.shown)
    assert "comfy.sample" in sys.modules
