"""The diffusion side of training: noise, timesteps, what the model is to predict, and the loss."""

from lycoris_ext.diffusion.config import LossConfig
from lycoris_ext.diffusion.draws import Draws, draw_noise
from lycoris_ext.diffusion.loss import weighted_loss
from lycoris_ext.diffusion.schedule import NoiseSchedule, add_noise, training_target

__all__ = [
    "Draws",
    "LossConfig",
    "NoiseSchedule",
    "add_noise",
    "draw_noise",
    "training_target",
    "weighted_loss",
]
