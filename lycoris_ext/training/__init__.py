"""Training of adapters: options, optimizers, schedules, one step, and the whole run."""

from lycoris_ext.training.optimizer_kinds import OptimizerKind, register_optimizer
from lycoris_ext.training.optimizers import OptimizerConfig, build_optimizer
from lycoris_ext.training.schedules import ScheduleConfig, learning_rate_factor
from lycoris_ext.training.step import denoising_loss, optimizer_step

__all__ = [
    "OptimizerConfig",
    "OptimizerKind",
    "ScheduleConfig",
    "build_optimizer",
    "denoising_loss",
    "learning_rate_factor",
    "optimizer_step",
    "register_optimizer",
]
