"""Train an adapter: the whole recipe, from a config to a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from lycoris_ext.data import (
    LatentCache,
    TrainingSet,
    cache_latents,
    check_bucket_sizes,
    iterate_batches,
    open_training_set,
    summarize,
)
from lycoris_ext.errors import RunInterrupted
from lycoris_ext.models import Pipeline, load_pipeline
from lycoris_ext.network import Banks, Network
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.sampling import PromptSpec
from lycoris_ext.training.caches import describe_store, latent_store, vae_identity
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.forward import BatchLoss, use_asked_schedule
from lycoris_ext.training.interrupt import StopRequest, listen_for_stop
from lycoris_ext.training.memory import keep_freed_memory, memory_faults
from lycoris_ext.training.notes import network_notes
from lycoris_ext.training.one_step import one_step, record_step
from lycoris_ext.training.precision import DTYPES
from lycoris_ext.training.previews import draw_previews, preview_specs
from lycoris_ext.training.run import Run, open_run
from lycoris_ext.training.start import read_start_weights
from lycoris_ext.training.tracker import RATE_NAMES, check_tracker, tracking


def train(config: TrainConfig) -> Path:
    """Train an adapter, or go on with a run that was stopped.

    Args:
        config: every option; a run of the same output_dir and output_name is continued.

    Returns:
        The adapter's file.

    Raises:
        ConfigError, DataError, EnvironmentFault: before the first step, wherever possible.
        MemoryFault: the GPU's or the machine's memory is used up.
        DivergedError: the loss became NaN or infinite.
        RunInterrupted: Ctrl-C; the state is saved.
    """
    keep_freed_memory()
    with memory_faults(config), RunLock(RunPaths.of(config.run).lock) as lock:
        return train_locked(config, lock)


def train_locked(config: TrainConfig, lock: RunLock) -> Path:
    """Train while nobody else writes the run's files."""
    check_tracker(config.run)
    weights = read_start_weights(config.start)
    run = open_run(config, lock)
    training_set = read_pictures(run)
    specs = preview_specs(config, training_set)
    pipeline = load_frozen_pipeline(run)
    latents = encode_pictures(run, pipeline)
    for line in weights.merge_into(pipeline.targets()):
        say(line)
    for line in run.begin(weights, pipeline.targets(), pipeline.base_hash(), pipeline.kind):
        say(line)
    network = run.network
    describe(run, network)
    batch_loss = BatchLoss(config, pipeline, network, latents)
    encode_captions(run, batch_loss)
    with network.injected(), listen_for_stop() as stop:
        network.train()
        if config.sample.sample_at_first and run.step == 0:
            draw(run, pipeline, network, specs)
        for _ in steps(run, batch_loss):
            if run.checkpoint_is_due():
                run.save_checkpoint()
            if run.previews_are_due():
                draw(run, pipeline, network, specs)
            if run.state_is_due():
                run.save_state()
            if stop.asked and run.step < run.total_steps:
                stop_here(run, stop)
        run.save_final()
    return run.paths.adapter


def steps(run: Run, batch_loss: BatchLoss) -> Iterator[int]:
    """Do one optimizer step after the other, and yield after each."""
    accumulation = run.config.run.gradient_accumulation_steps
    # Where every batch is a step of its own, a layer builds just as well when it is needed.
    banks = Banks(run.network.layers.values() if accumulation > 1 else ())
    batches = iterate_batches(
        run.training_set, run.step * accumulation, run.total_steps * accumulation
    )
    bar = tqdm(
        total=run.total_steps, initial=run.step, desc="training", unit=" steps", **_bar_options()
    )
    with bar, tracking(run.config.run, run.step) as track:
        average: float | None = None
        while run.step < run.total_steps:
            loss, norm, epoch = one_step(run, batch_loss, batches, banks)
            scaled = run.after_step()
            average = loss if average is None else 0.95 * average + 0.05 * loss
            rates = record_step(run, loss, norm, epoch, scaled)
            named = {RATE_NAMES.get(name, f"lr/{name}"): rate for name, rate in rates.items()}
            track(run.step, {"loss/current": loss, "loss/average": average, **named})
            bar.update()
            bar.set_postfix(loss=f"{average:.4f}", refresh=False)
            yield run.step


def read_pictures(run: Run) -> TrainingSet:
    """Check every picture and caption, and say what was found."""
    with tqdm(desc="checking", unit=" pictures", leave=False, **_bar_options()) as bar:
        training_set = open_training_set(run.config.data, run.config.run.seed, bar.update)
    for warning in training_set.warnings:
        say(f"note: {warning}")
    run.check_pictures(training_set)
    run.make_folder()
    for line in summarize(training_set):
        say(line)
    return training_set


def load_frozen_pipeline(run: Run) -> Pipeline:
    """Load the base model in the run's precision, and check that the buckets fit it."""
    dtype = DTYPES[run.config.run.mixed_precision]
    say(f"loading {run.config.model.pretrained_model_name_or_path}")
    pipeline = load_pipeline(run.config.model, run.device, dtype)
    use_asked_schedule(pipeline, run.config.loss)
    check_bucket_sizes(run.training_set, pipeline.latent_factor)
    return pipeline


def encode_pictures(run: Run, pipeline: Pipeline) -> LatentCache:
    """Turn every picture into latents, once."""
    store = latent_store(run.config)
    total = len(run.training_set.pictures)
    with tqdm(total=total, desc="encoding", unit=" pictures", **_bar_options()) as bar:
        latents = cache_latents(
            run.training_set,
            pipeline.encode_posterior,
            store=store,
            vae=vae_identity(pipeline, store),
            progress=bar.update,
        )
    if run.config.data.flip_aug:
        total *= 2
    say_if(describe_store("latents", store, latents.encoded, total))
    return latents


def encode_captions(run: Run, batch_loss: BatchLoss) -> None:
    """Encode every caption before the first step, where that is asked for."""
    if not run.config.data.caches_text:
        return
    texts = batch_loss.text_states
    captions = run.training_set.fixed_captions()
    for caption in tqdm(captions, desc="encoding", unit=" captions", **_bar_options()):
        texts.states(caption)
    say_if(describe_store("captions", texts.store, texts.encoded, len(captions)))
    if not run.config.sample.wanted:
        batch_loss.release_text_encoders()


def draw(run: Run, pipeline: Pipeline, network: Network, specs: Sequence[PromptSpec]) -> None:
    """Draw the run's pictures at this step."""
    with tqdm(desc="drawing", unit=" steps", leave=False, **_bar_options()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        names = draw_previews(pipeline, network, specs, run.config, run.step, progress)
    run.events.write("pictures", run.step, files=names)


def stop_here(run: Run, stop: StopRequest) -> None:
    """Save the state and leave.

    Raises:
        RunInterrupted: always.
    """
    run.save_state()
    run.events.write("stopped", run.step)
    raise RunInterrupted(
        f"stopped after step {run.step} of {run.total_steps}; everything is saved",
        where=run.config.run.output_name,
        fix="run the same command again to continue",
    )


def describe(run: Run, network: Network) -> None:
    """Say what is about to be trained."""
    options = run.config.network
    size = network.parameter_count() * DTYPES[run.config.run.save_precision].itemsize
    say(
        f"{options.algo} {options.network_dim}: {len(network.sites)} layers, "
        f"{network.parameter_count():,} parameters, {size / 1e6:.2f} MB; "
        f"{run.total_steps} steps on {run.device.type} "
        f"({torch.get_num_threads()} threads), {run.config.optimizer.optimizer_type}"
    )
    for line in network_notes(network):
        say(f"note: {line}")


def say(text: str) -> None:
    """Print a line without tearing a progress bar."""
    tqdm.write(text, file=sys.stderr)


def say_if(text: str | None) -> None:
    """Print a line where there is one."""
    if text is not None:
        say(text)


def _bar_options() -> dict[str, float]:
    # A log file wants few lines.
    return {"mininterval": 0.2 if sys.stderr.isatty() else 10.0}
