"""Training on a base model that a host holds, such as ComfyUI's MODEL, CLIP and VAE.

The recipe of loop.py without what loads, samples and prints there: the host does these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Generic, Protocol

import torch
from torch import Tensor, nn

from lycoris_ext.data import (
    BatchPlan,
    LatentCache,
    TrainingSet,
    cache_latents,
    check_bucket_sizes,
    iterate_batches,
    open_training_set,
)
from lycoris_ext.data.config import CHANGE_CAPTIONS
from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.errors import RunInterrupted
from lycoris_ext.network import Banks, Network
from lycoris_ext.network.sites import TEXT_ENCODERS
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.batch_loss import batch_loss
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.memory import memory_faults
from lycoris_ext.training.notes import network_notes
from lycoris_ext.training.one_step import one_step, record_step
from lycoris_ext.training.run import Run, open_run
from lycoris_ext.training.run_name import MODES, choose_name
from lycoris_ext.training.start import read_start_weights
from lycoris_ext.training.step import Text

_KEPT = 4096
"""Captions kept at most: shuffled ones hardly ever come back."""


class HostedBase(Protocol[Text]):
    """A frozen base model as a host holds it.

    Attributes:
        kind: its family, a key of ``formats.metadata.FAMILIES``.
        device: where it computes.
        latent_factor: pixels a side of one latent.
    """

    kind: str
    device: torch.device
    latent_factor: int

    def targets(self) -> Mapping[str, nn.Module]:
        """The models that are adapted, by the core's names."""

    def fingerprint(self) -> str:
        """What tells its weights from all others'."""

    def prepared(self, gradient_checkpointing: bool) -> AbstractContextManager[object]:
        """Ready for gradients inside the ``with``, and as it was found after it."""

    def schedule(self) -> NoiseSchedule:
        """The noise that it was trained on."""

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As ``data.latents.EncodePosterior``."""

    def encode_text(self, caption: str) -> Text:
        """One caption; with gradients where a text encoder is adapted."""

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        texts: Sequence[Text],
        size_ids: Sequence[Sequence[int]],
    ) -> Tensor:
        """The base's answer; [B, C, h, w], B timesteps and texts; size_ids as SDXL is told them."""


class Watcher:
    """What a host is told, and asked, while a run goes on. It may raise whatever ends a run there:
    the state is saved first."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Preparation goes on."""

    def after_step(self, run: Run, loss: float) -> None:
        """A step was done."""

    def draw(self, run: Run) -> None:
        """The run's pictures are due; the network is injected and in eval mode."""

    def stop_asked(self) -> bool:
        """Whether to save and stop now."""
        return False


class HostedLoss(Generic[Text]):
    """The loss of a batch on a host's base."""

    def __init__(
        self,
        config: TrainConfig,
        base: HostedBase[Text],
        network: Network,
        latents: LatentCache,
        texts: dict[str, Text],
    ) -> None:
        self.config, self.base, self.network, self.latents = config, base, network, latents
        self.schedule = base.schedule().as_asked(config.loss)
        self._trained = any(site.target in TEXT_ENCODERS for site in network.sites.values())
        self._texts = texts

    def __call__(self, plan: BatchPlan) -> Tensor:
        def denoise(noisy: Tensor, timesteps: Tensor, texts: Sequence[Text]) -> Tensor:
            return self.base.predict(noisy, timesteps, texts, plan.size_ids)

        return batch_loss(
            self.config,
            self.network,
            plan,
            self.latents,
            self.schedule,
            self.base.device,
            self.encode,
            denoise,
        )

    def encode(self, captions: Sequence[str]) -> list[Text]:
        """Captions one by one, remembered where they cannot change."""
        if self._trained:
            return [self.base.encode_text(caption) for caption in captions]
        missing = {caption for caption in captions if caption not in self._texts}
        if missing and len(self._texts) >= _KEPT:
            self._texts.clear()
            missing = set(captions)
        with torch.no_grad():
            for caption in sorted(missing):
                self._texts[caption] = self.base.encode_text(caption)
        return [self._texts[caption] for caption in captions]


def train_hosted(
    config: TrainConfig, base: HostedBase[Text], watcher: Watcher, mode: str = MODES[0]
) -> Path:
    """Train an adapter on a host's base, or go on with a run that was stopped.

    Args:
        config: every option; of ``model`` only the name counts.
        base: what is trained on.
        watcher: hears of the run.
        mode: one of MODES.

    Returns:
        The adapter's file; `RunPaths` tells the others.

    Raises:
        ConfigError, DataError, EnvironmentFault: before the first step, wherever possible.
        MemoryFault: the memory is used up.
        DivergedError: the loss became NaN or infinite.
        RunInterrupted: the watcher asked to stop; state and adapter are saved.
    """
    threads = torch.get_num_threads()  # a resumed run sets its own; the host's come back
    try:
        with memory_faults(config):
            pictures = open_training_set(config.data, config.run.seed)
            check_bucket_sizes(pictures, base.latent_factor)
            config = choose_name(config, pictures, base.fingerprint(), mode)
            with RunLock(RunPaths.of(config.run).lock) as lock:
                return _train(config, base, watcher, pictures, open_run(config, lock))
    finally:
        torch.set_num_threads(threads)


def _train(
    config: TrainConfig,
    base: HostedBase[Text],
    watcher: Watcher,
    pictures: TrainingSet,
    run: Run,
) -> Path:
    weights = read_start_weights(config.start)
    for warning in pictures.warnings:
        watcher.note(warning)
    run.check_pictures(pictures)
    run.make_folder()
    latents = _encode(pictures, base, watcher)
    fixed = config.effective_network.network_train_unet_only and not any(
        getattr(config.data, name) for name in CHANGE_CAPTIONS
    )
    texts = _read(pictures, base) if fixed else {}
    with base.prepared(config.run.gradient_checkpointing):
        for line in run.begin(weights, base.targets(), base.fingerprint(), base.kind):
            watcher.note(line)
        network = run.network
        for line in network_notes(network):
            watcher.note(line)
        loss = HostedLoss(config, base, network, latents, texts)
        with network.injected():
            network.train()
            if config.sample.sample_at_first and run.step == 0:
                _draw(run, watcher)
            for value in _steps(run, loss):
                if run.checkpoint_is_due():
                    run.save_checkpoint()
                if run.previews_are_due():
                    _draw(run, watcher)
                if run.state_is_due():
                    run.save_state()
                with _saved_if_it_ends(run):
                    if run.step < run.total_steps and watcher.stop_asked():
                        raise _stopped(run)
                    watcher.after_step(run, value)
            run.save_final()
    return run.paths.adapter


def _steps(run: Run, loss: HostedLoss[Text]) -> Iterator[float]:
    """Do one optimizer step after the other; yields each one's loss."""
    accumulation = run.config.run.gradient_accumulation_steps
    banks = Banks(run.network.layers.values() if accumulation > 1 else ())
    batches = iterate_batches(
        run.training_set, run.step * accumulation, run.total_steps * accumulation
    )
    while run.step < run.total_steps:
        value, norm, epoch = one_step(run, loss, batches, banks)
        record_step(run, value, norm, epoch, run.after_step())
        yield value


def _draw(run: Run, watcher: Watcher) -> None:
    run.network.eval()
    try:
        with _saved_if_it_ends(run):
            watcher.draw(run)
    finally:
        run.network.train()


@contextmanager
def _saved_if_it_ends(run: Run) -> Iterator[None]:
    """Whatever the host raises inside the ``with`` to end the run: what resuming needs is saved
    first, and the adapter as it is now."""
    with ExitStack() as at_end:
        at_end.callback(run.events.write, "stopped", run.step)
        at_end.callback(run.save_checkpoint)
        at_end.callback(run.save_state)  # the last one is the first
        yield
        at_end.pop_all()


def _stopped(run: Run) -> RunInterrupted:
    return RunInterrupted(
        f"stopped after step {run.step} of {run.total_steps}; "
        f"{run.paths.checkpoint(run.step).name} and the state are saved",
        where=run.config.run.output_name,
        fix="start the same again to continue",
    )


def _encode(pictures: TrainingSet, base: HostedBase[Text], watcher: Watcher) -> LatentCache:
    total, done = len(pictures.pictures), 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        watcher.progress("encoding", done, total)

    return cache_latents(pictures, base.encode_pixels, progress=progress)


def _read(pictures: TrainingSet, base: HostedBase[Text]) -> dict[str, Text]:
    """Encode every caption while the device is free of the denoiser."""
    with torch.no_grad():
        return {caption: base.encode_text(caption) for caption in pictures.fixed_captions()}
