"""The denoising loss and its weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lycoris_ext.diffusion.config import LossConfig
from lycoris_ext.diffusion.schedule import NoiseSchedule

HIGHEST_SNR = 1000.0
"""Where a weight would grow with the SNR without end (at timestep 0), it stops here."""


def weighted_loss(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    loss: LossConfig,
    is_reg: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Error in float32, weighed per sample and averaged over the batch.

    Args:
        prediction, target: [B, C, h, w].
        timesteps: int64 [B].
        schedule: gives the signal-to-noise ratios.
        loss: kind of error and weighting.
        is_reg: bool [B], which samples are regularization pictures (unset: none).
        mask: [B, 1, h, w], weight of each place (unset: all 1); the mean is over all places, as in
            sd-scripts, so that what is left out lowers the loss.

    Returns:
        A float32 scalar.
    """
    error = pixel_errors(prediction.float(), target.float(), timesteps, schedule, loss)
    if mask is not None:
        error = error * mask
    per_sample = error.mean(dim=(1, 2, 3)) * timestep_weights(timesteps, schedule, loss)
    if is_reg is not None:
        per_sample = torch.where(is_reg, loss.prior_loss_weight * per_sample, per_sample)
    return per_sample.mean()


def pixel_errors(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    loss: LossConfig,
) -> Tensor:
    """Error of every element, shaped as the prediction.

    "huber" and "smooth_l1" are both 2 k (sqrt(e^2 + c^2) - c), the pseudo-Huber loss of Barron
    2017, arXiv:1701.03077; k is c for "huber" (small errors count e^2, whatever c is) and 1 for
    "smooth_l1" (large errors count 2 |e|). Thresholds c by timestep: Khrapov et al. 2024,
    arXiv:2403.16728.
    """
    difference = prediction - target
    if loss.loss_type == "l2":
        return difference.square()
    if loss.loss_type == "l1":
        return difference.abs()
    c = huber_threshold(timesteps, schedule, loss).view(-1, 1, 1, 1)
    error = 2.0 * ((difference.square() + c.square()).sqrt() - c)
    return error * c if loss.loss_type == "huber" else error


def huber_threshold(timesteps: Tensor, schedule: NoiseSchedule, loss: LossConfig) -> Tensor:
    """Where the Huber losses turn from squared to absolute; float32 [B]."""
    if loss.huber_schedule == "constant":
        return torch.full_like(timesteps, loss.huber_c * loss.huber_scale, dtype=torch.float32)
    if loss.huber_schedule == "exponential":
        return torch.exp(math.log(loss.huber_c) / schedule.steps * timesteps) * loss.huber_scale
    signal, noise = schedule.mix(timesteps)
    sigma = (noise / signal).view(-1)
    return (1.0 - loss.huber_c) / (1.0 + sigma).square() + loss.huber_c


def timestep_weights(timesteps: Tensor, schedule: NoiseSchedule, loss: LossConfig) -> Tensor:
    """Weight of each sample by its timestep; float32 [B], 1 where nothing is asked for.

    Sources: min-SNR, Hang et al. 2023, arXiv:2303.09556, section 3.4; debiased estimation, Yu et
    al. 2023, arXiv:2310.08442; the velocity forms follow from |v error|^2 = |noise error|^2 (SNR +
    1) / SNR.
    """
    kept = schedule.at(timesteps).view(-1)
    snr = kept / (1.0 - kept)
    velocity = schedule.prediction_type == "v_prediction"
    weights = torch.ones_like(snr)
    if loss.min_snr_gamma is not None:
        weights = weights * snr.clamp(max=loss.min_snr_gamma) / (snr + 1.0 if velocity else snr)
    snr = snr.clamp(max=HIGHEST_SNR)
    noise_share = snr / (snr + 1.0)
    if loss.scale_v_pred_loss_like_noise_pred:
        weights = weights * noise_share
    if loss.v_pred_like_loss:
        weights = weights * (1.0 + loss.v_pred_like_loss / noise_share)
    if loss.debiased_estimation_loss:
        weights = weights / (snr + 1.0 if velocity else snr.sqrt())
    return weights
