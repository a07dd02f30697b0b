"""One training step, from batches to updated parameters, without a Run and without diffusers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lycoris_ext.data import BatchPlan
from lycoris_ext.data.randomness import derive_seed
from lycoris_ext.diffusion import (
    Draws,
    LossConfig,
    NoiseSchedule,
    add_noise,
    training_target,
    weighted_loss,
)
from lycoris_ext.network import Banks

Text = TypeVar("Text")
"""Type of the encoded captions of a batch; a step only passes them to the denoiser."""
Denoiser = Callable[[Tensor, Tensor, Text], Tensor]
"""(noisy latents (B, C, h, w), timesteps (B,), text) -> prediction (B, C, h, w)."""


class NotFiniteError(ArithmeticError):
    """The loss or the gradient of a batch is NaN or infinite.

    Args:
        what: "the loss is nan" or the like.
        plan: the batch.
    """

    def __init__(self, what: str, plan: BatchPlan) -> None:
        super().__init__(what)
        self.what, self.plan = what, plan


@dataclass(frozen=True)
class Stepped:
    """The result of one training step.

    Args:
        loss: mean over the step's batches.
        norm: norm of the gradient before clipping; None if fp16 overflowed, so that nothing was
            updated.
    """

    loss: float
    norm: float | None


def train_step(
    batch_loss: Callable[[BatchPlan], Tensor],
    plans: Sequence[BatchPlan],
    optimizer: torch.optim.Optimizer,
    *,
    learning_rate_factor: float | Sequence[float] = 1.0,
    max_grad_norm: float = 0.0,
    scaler: torch.amp.GradScaler | None = None,
    banks: Banks | None = None,
) -> Stepped:
    """Accumulate the gradients of some batches, then update the parameters once.

    The values of the losses are read after all batches, so that a GPU is synchronised once a step.

    Args:
        batch_loss: computes the loss of a batch, a scalar with gradients to the parameters.
        plans: the batches; the gradient is that of their mean loss.
        optimizer, learning_rate_factor, max_grad_norm, scaler: as in ``optimizer_step``.
        banks: of the network, to compute factors once for all batches; None: in every batch.

    Raises:
        NotFiniteError: a loss or, without a scaler, the gradient is NaN or infinite; nothing was
            updated.
    """
    losses = []
    with (banks or Banks(())).precomputed_once():
        for plan in plans:
            loss = batch_loss(plan)
            part = loss / len(plans)
            (scaler.scale(part) if scaler is not None else part).backward()
            losses.append(loss.detach())
    values = torch.stack(losses).tolist()
    for plan, value in zip(plans, values, strict=True):
        if not math.isfinite(value):
            raise NotFiniteError(f"the loss is {value}", plan)
    norm = optimizer_step(optimizer, learning_rate_factor, max_grad_norm, scaler)
    if not math.isfinite(norm) and scaler is None:
        raise NotFiniteError(f"the gradient's norm is {norm}", plans[-1])
    mean = sum(value / len(plans) for value in values)
    return Stepped(mean, norm if math.isfinite(norm) else None)


def seed_dropouts(seed: int, batch_number: int) -> None:
    """Seed torch's global random generators, from which dropouts draw, before a batch.

    So the dropouts of a batch depend on the run's seed and the batch's number only, even if
    pictures were drawn in between or the run was resumed.
    """
    torch.manual_seed(derive_seed(seed, "dropout", batch_number))


def denoising_loss(
    denoiser: Denoiser[Text],
    latents: Tensor,
    text: Text,
    draws: Draws,
    schedule: NoiseSchedule,
    loss: LossConfig,
    is_reg: Tensor | None = None,
    mask: Tensor | None = None,
    sample_weights: Tensor | None = None,
) -> Tensor:
    """Compute the loss of one batch: add noise to the latents, let the model predict, compare.

    Args:
        denoiser: the frozen model with the adapter injected.
        latents: scaled latents, float32 (B, C, h, w), on the model's device.
        text: encoded captions, as the denoiser takes them.
        draws: noise and timesteps of this batch, on any device.
        schedule: of the base model.
        loss: options: kind of error and weights.
        is_reg: bool (B,), True for regularisation pictures; None: there are none.
        mask: (B, 1, h, w), weight of each position in the loss, on any device; None: all 1.
        sample_weights: (B,), weight of each sample's loss, on any device; None: all 1.

    Returns:
        A float32 scalar with gradients to the adapter.
    """
    noise = draws.noise.to(latents.device, latents.dtype)
    timesteps = draws.timesteps.to(latents.device)
    input_noise = draws.input_noise.to(latents.device, latents.dtype)
    noisy = add_noise(schedule, latents, input_noise, timesteps)
    target = training_target(schedule, latents, noise, timesteps)
    prediction = denoiser(noisy, timesteps, text)
    if is_reg is not None:
        is_reg = is_reg.to(latents.device)
    if mask is not None:
        mask = mask.to(latents.device)
    if sample_weights is not None:
        sample_weights = sample_weights.to(latents.device)
    return weighted_loss(
        prediction, target, timesteps, schedule, loss, is_reg, mask, sample_weights
    )


def optimizer_step(
    optimizer: torch.optim.Optimizer,
    learning_rate_factor: float | Sequence[float],
    max_grad_norm: float,
    scaler: torch.amp.GradScaler | None = None,
) -> float:
    """Clip the gradients, update the parameters, clear the gradients.

    Args:
        optimizer: the learning rate of each group becomes its "base_lr" times the factor.
        learning_rate_factor: of the schedule, for this step; or one for each group.
        max_grad_norm: gradients with a larger norm are scaled down to it; 0: no clipping.
        scaler: for fp16; it skips the update if a gradient has overflowed.

    Returns:
        The norm of all gradients before clipping. If it is NaN or infinite, the parameters were
        NOT updated, so the caller can stop with the weights of the previous step.
    """
    if scaler is not None:
        scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = gradient_norm(parameters)
    finite = bool(norm.isfinite())
    if finite and max_grad_norm > 0 and float(norm) > max_grad_norm:
        scale = max_grad_norm / (norm + 1e-6)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(scale.to(parameter.grad.device))
    factors, groups = learning_rate_factor, optimizer.param_groups
    each = factors if isinstance(factors, Sequence) else [factors] * len(groups)
    for group, factor in zip(groups, each, strict=True):
        group["lr"] = group["base_lr"] * factor
    if scaler is not None:
        scaler.step(optimizer)
        scaler.update()
    elif finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Return the Euclidean norm of all gradients together, a float32 scalar on their device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm(gradients)
    return torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]))
