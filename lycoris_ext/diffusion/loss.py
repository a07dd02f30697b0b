"""The loss of a batch, and the weight of each timestep in it."""

from __future__ import annotations

import torch
from torch import Tensor

from lycoris_ext.diffusion.config import LossConfig
from lycoris_ext.diffusion.schedule import NoiseSchedule

HIGHEST_SNR = 1000.0
"""Limit of the signal-to-noise ratio in weights: at timestep 0 it may be infinite."""


def weighted_loss(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: NoiseSchedule,
    loss: LossConfig,
    is_reg: Tensor | None = None,
    mask: Tensor | None = None,
    sample_weights: Tensor | None = None,
) -> Tensor:
    """Return the loss of a batch: the mean error of each sample times its weight, averaged.

    Args:
        prediction, target: [B, C, h, w].
        timesteps: int64 [B].
        schedule: gives the signal-to-noise ratios.
        loss: the options of the loss.
        is_reg: bool [B], True for regularisation pictures; None: there are none.
        mask: [B, 1, h, w], weight of each position; None: all 1. The mean is taken over all
            positions, as in sd-scripts, so that masked ones lower the loss.
        sample_weights: float32 [B], of each sample's loss; None: all 1. The mean is taken over
            all samples, as in OneTrainer, whatever the sum of their weights.

    Returns:
        A float32 scalar.
    """
    error = loss.pixel_loss.errors(prediction.float() - target.float(), timesteps, schedule)
    if mask is not None:
        error = error * mask
    per_sample = error.mean(dim=(1, 2, 3)) * timestep_weights(timesteps, schedule, loss)
    if is_reg is not None:
        per_sample = torch.where(is_reg, loss.prior_loss_weight * per_sample, per_sample)
    if sample_weights is not None:
        per_sample = per_sample * sample_weights
    return per_sample.mean()


def timestep_weights(timesteps: Tensor, schedule: NoiseSchedule, loss: LossConfig) -> Tensor:
    """Return the weight of each sample's loss that follows from its timestep.

    Args:
        timesteps: int64 [B].
        schedule: gives the signal-to-noise ratios.
        loss: min_snr_gamma, debiased_estimation_loss and the other options that weigh timesteps.

    Returns:
        float32 [B]; all 1 if no such option is set.

    Sources: min-SNR, Hang et al. 2023, arXiv:2303.09556, section 3.4; debiased estimation, Yu et
    al. 2023, arXiv:2310.08442; the velocity forms follow from |v error|^2 = |noise error|^2 (SNR +
    1) / SNR.
    """
    kept = schedule.at(timesteps).view(-1)
    snr = kept / (1.0 - kept)
    velocity = schedule.prediction_type == "v_prediction"
    weights = torch.ones_like(snr)
    if loss.min_snr_gamma is not None:
        limited = snr.clamp(max=loss.min_snr_gamma)
        # 1, not 0 / 0, at a timestep that is pure noise
        weights = limited / (snr + 1.0) if velocity else (loss.min_snr_gamma / snr).clamp(max=1.0)
    snr = snr.clamp(max=HIGHEST_SNR)
    noise_share = snr / (snr + 1.0)
    if loss.scale_v_pred_loss_like_noise_pred:
        weights = weights * noise_share
    if loss.v_pred_like_loss:
        weights = weights * (1.0 + loss.v_pred_like_loss / noise_share)
    if loss.debiased_estimation_loss:
        weights = weights / (snr + 1.0 if velocity else snr.sqrt())
    return weights
