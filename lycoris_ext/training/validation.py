"""Validation: the loss of the adapter on the pictures that are held out.

It is computed as the loss of a training step is, and is comparable over the whole run, because
nothing is drawn anew: each picture always has the same noise and the same timesteps, and it is
shown as it is. The timesteps of all pictures together are spread evenly over those of training, so
that the mean is near the mean over all of them. No random number of training is touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Generic

import torch

from lycoris_ext.data import BatchPlan, LatentCache, TrainingSet
from lycoris_ext.diffusion import draw_noise
from lycoris_ext.network import Banks
from lycoris_ext.runs.events import read_events
from lycoris_ext.training.batch_loss import BatchLoss
from lycoris_ext.training.run import Run
from lycoris_ext.training.step import Text

TIMESTEPS = 4
"""Timesteps at which each picture is looked at; as many as in sd-scripts."""
EVENT = "validation"
"""The event in NAME.events.jsonl."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_BITS = 13
"""Hexadecimal digits of a picture's hash that select its noise."""


class Validation(Generic[Text]):
    """Computes the loss of a run's adapter on the pictures that are held out.

    Args:
        batch_loss: of the training; its formula is used.
        pictures: those that are held out, as ``TrainingSet.held_out_set`` returns them.
        latents: of these pictures.
    """

    def __init__(
        self, batch_loss: BatchLoss[Text], pictures: TrainingSet, latents: LatentCache
    ) -> None:
        self.batch_loss, self.pictures, self.latents = batch_loss, pictures, latents
        limit = batch_loss.config.validation.max_validation_steps
        self.batches = min(limit or pictures.batches_per_epoch, pictures.batches_per_epoch)

    @property
    def losses(self) -> int:
        """Number of batches, times the timesteps at which each is looked at."""
        return self.batches * TIMESTEPS

    @torch.no_grad()
    def mean(self, count: Callable[[int], object], stop: Callable[[], bool]) -> float | None:
        """Return the mean loss of the pictures with the parameters as they are.

        Args:
            count: called with the number of losses that were computed since the last call.
            stop: asked after each batch.

        Returns:
            The mean; NaN or infinity if a loss is. None if ``stop`` returned True.
        """
        total, samples = 0.0, 0
        with Banks(self.batch_loss.network.layers.values()).precomputed_once():
            for number in range(self.batches):
                plan = self.pictures.batch_at(number)
                losses = torch.stack(list(self._of(plan))).tolist()
                total += sum(losses) * len(plan.pictures)
                samples += len(losses) * len(plan.pictures)
                count(len(losses))
                if stop():
                    return None
        return total / samples

    def _of(self, plan: BatchPlan) -> Iterator[torch.Tensor]:
        """Yield the loss of a batch at each of its timesteps."""
        names = tuple(int(self.pictures.digests[one][:_BITS], 16) for one in plan.pictures)
        plan = replace(plan, number=0, sample_ids=names)
        pictures = self.latents.batch(plan, self.pictures.seed)
        loss, schedule = self.batch_loss.config.loss, self.batch_loss.schedule
        low, high = loss.timestep_range(schedule.steps)
        for part in range(TIMESTEPS):
            draws = draw_noise(
                pictures.latents, names, schedule, loss, seed=self.pictures.seed, batch_number=part
            )
            shares = (spread(one, part) for one in plan.pictures)
            timesteps = torch.tensor([low + int(share * (high - low)) for share in shares])
            yield self.batch_loss.of(plan, pictures, replace(draws, timesteps=timesteps))


def spread(picture: int, part: int) -> float:
    """Return where in the range of timesteps a picture is looked at, from 0 to below 1.

    A range of 4 parts is divided at the same place in each part. The places of any pictures that
    follow each other are spread evenly, because they are multiples of the golden ratio.

    Args:
        picture: its position among those that are held out.
        part: from 0 to ``TIMESTEPS`` - 1.
    """
    return (part + (0.5 + picture * _GOLDEN) % 1.0) / TIMESTEPS


def due(run: Run) -> tuple[str, ...]:
    """Return the intervals that ask for a validation after a run's last step: "step", "epoch".

    As in sd-scripts there is one after every epoch unless validate_every_n_epochs says otherwise,
    and validate_every_n_steps asks for more of them. The end of the run counts as that of an epoch.
    """
    options = run.config.validation
    kinds = []
    if run.step == 0:
        return ()
    if options.validate_every_n_steps and run.step % options.validate_every_n_steps == 0:
        kinds.append("step")
    epochs = run.config.run.epochs_ending_at(run.step, run.pictures.epochs)
    every = options.validate_every_n_epochs or 1
    if (epochs and epochs % every == 0) or run.step == run.total_steps:
        kinds.append("epoch")
    return tuple(kinds)


def is_done(run: Run) -> bool:
    """Return True if the event log says that the adapter was validated after the last step.

    It says so of a run that is continued, unless it was stopped during this very validation.
    """
    events = read_events(run.events.path)
    return any(each.get("event") == EVENT and each.get("step") == run.step for each in events)


def validate(
    run: Run,
    validation: Validation[Text],
    kinds: tuple[str, ...],
    average: float | None,
    count: Callable[[int], object],
    stop: Callable[[], bool],
) -> Mapping[str, float] | None:
    """Compute the losses of a validation, and write them into the run's event log.

    Args:
        run: its average of the weights is looked at, too, if it has one.
        validation: of its pictures.
        kinds: what asked for it, see ``due``.
        average: running average of the losses of training.
        count, stop: as for ``Validation.mean``.

    Returns:
        Name, as sd-scripts has it, -> number, without those that are NaN or infinite; None if
        ``stop`` returned True, and then nothing is written.
    """
    with run.paused():
        found = {"": validation.mean(count, stop)}
        if run.average is not None and found[""] is not None:
            with run.average.in_place():
                found["_ema"] = validation.mean(count, stop)
    means = {ending: mean for ending, mean in found.items() if mean is not None}
    if len(means) < len(found):
        return None
    values = {
        f"loss/validation/{kind}_average{ending}": mean
        for kind in kinds
        for ending, mean in means.items()
    }
    if average is not None:
        values |= {f"loss/validation/{kind}_divergence": means[""] - average for kind in kinds}
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    run.events.write(EVENT, run.step, losses=values)
    return values
