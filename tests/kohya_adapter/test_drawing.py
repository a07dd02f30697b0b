"""Sample pictures are drawn in the middle of a training: the adapter is as in its file then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kohya_models import Models, create, disturb, tiny_models


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return tiny_models(tmp_path)


def trained(models: Models, **arguments: Any) -> Any:
    network = create(models, **arguments)
    network.apply_to(models.passed, models.unet, True, True)
    disturb(network)
    return network.train()


@torch.no_grad()
def drawn(models: Models, timestep: Any) -> Tensor:
    """The U-Net as lpw_stable_diffusion.py:916 calls it: two samples with one timestep."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    states = models.passed(torch.arange(48).reshape(2, 24) % 20).last_hidden_state
    answer: Tensor = models.unet(latents, timestep, encoder_hidden_states=states).sample
    return answer


TIMESTEPS = [
    torch.tensor(500),
    torch.tensor([500]),
    torch.tensor([500, 500]),
    torch.tensor(500.0, dtype=torch.float64),
    500,
]


@pytest.mark.parametrize(
    "arguments",
    [
        {"algo": "tlora", "preset": "attn-only"},
        {"algo": "dylora", "conv_dim": "4", "block_size": "1"},
        {"algo": "loha", "dropout": "0.5", "rank_dropout": "0.5", "module_dropout": "0.5"},
        {"algo": "ia3", "dropout": "0.5"},
    ],
    ids=lambda arguments: arguments["algo"],
)
@pytest.mark.parametrize("timestep", TIMESTEPS, ids=str)
def test_a_picture_drawn_while_training_is_that_of_the_finished_adapter(
    models: Models, arguments: dict[str, str], timestep: Any
) -> None:
    network = trained(models, **arguments)
    found = drawn(models, timestep)
    assert network.training, "and the training goes on"
    assert all(layer.training for layer in network.layers.values())
    torch.testing.assert_close(drawn(models, timestep), found)
    network.eval()
    torch.testing.assert_close(drawn(models, timestep), found)
    assert not network.training, "a network that is not trained is left as it is"


def test_a_picture_that_fails_leaves_the_network_training(models: Models) -> None:
    network = trained(models, algo="loha")
    with pytest.raises(Exception, match=r".+"), torch.no_grad():
        models.unet(torch.randn(1, 3, 8, 8), 1, encoder_hidden_states=torch.randn(1, 24, 5))
    assert network.training


@pytest.mark.parametrize("keyword", [None, "timestep"])
@pytest.mark.parametrize("timesteps", [torch.tensor([900, 900]), torch.tensor([900]), 900])
def test_a_step_of_t_lora_uses_few_ranks_however_the_timestep_is_written(
    models: Models, timesteps: Any, keyword: str | None
) -> None:
    network = trained(models, algo="tlora", preset="attn-only")
    latents, states = torch.randn(2, 4, 8, 8), torch.randn(2, 24, 32)
    states = models.passed(torch.zeros(2, 24, dtype=torch.long)).last_hidden_state
    named = {} if keyword is None else {keyword: timesteps}
    positional = () if named else (timesteps,)
    out = models.unet(latents, *positional, encoder_hidden_states=states, **named).sample
    network.eval()
    assert not torch.allclose(out, models.unet(latents, timesteps, states).sample)
    network.train()
    wanted = models.unet(latents, torch.tensor([900, 900]), states).sample
    torch.testing.assert_close(out, wanted)


def test_t_lora_trains_in_bfloat16(models: Models) -> None:
    network = trained(models, algo="tlora", preset="attn-only").to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        models.denoise().float().square().mean().backward()
    grads = [parameter.grad for parameter in network.parameters()]
    assert any(grad is not None and bool(grad.abs().max() > 0) for grad in grads)
    drawn(models, torch.tensor(5))


def test_nothing_watches_the_models_when_the_network_is_removed(models: Models) -> None:
    network = trained(models, algo="tlora", preset="attn-only")
    assert models.unet._forward_pre_hooks and models.passed._forward_pre_hooks
    network.remove()
    assert not models.unet._forward_pre_hooks and not models.unet._forward_hooks
    assert not models.passed._forward_pre_hooks


def test_a_text_encoder_that_is_not_trained_is_not_watched(models: Models) -> None:
    """It runs without gradients in every step, which is no picture."""
    network = create(models, algo="loha")
    network.apply_to(models.passed, models.unet, False, True)
    assert not models.passed._forward_pre_hooks and models.unet._forward_pre_hooks
