"""The whole training of an adapter, from a config to a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import torch

from lycoris_ext.data import (
    LatentCache,
    TrainingSet,
    cache_latents,
    finding_lines,
    iterate_batches,
)
from lycoris_ext.data.rules.latents import odd_latents
from lycoris_ext.errors import EnvironmentFault, LycorisExtError, RunInterrupted
from lycoris_ext.files import told_in_words
from lycoris_ext.network import Banks
from lycoris_ext.runs.losses import average_in, running_average
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.base_model import BaseModel
from lycoris_ext.training.batch_loss import BatchLoss
from lycoris_ext.training.caches import describe_store, keep_within_limit, latent_store, text_store
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.door import Door
from lycoris_ext.training.memory import memory_faults
from lycoris_ext.training.notes import network_notes
from lycoris_ext.training.optimizers import build_optimizer
from lycoris_ext.training.report import StepReport
from lycoris_ext.training.run import Run
from lycoris_ext.training.run_name import CONTINUE, with_mode
from lycoris_ext.training.space import check_space
from lycoris_ext.training.step import NotFiniteError, Text, train_step
from lycoris_ext.training.text import MAX_KEPT, TextCache
from lycoris_ext.training.tracker import Track, curves, tracking
from lycoris_ext.training.true_rate import true_rates
from lycoris_ext.training.validation import Validation, due, is_done, validate
from lycoris_ext.training.watcher import Watcher


def train(
    config: TrainConfig,
    base: BaseModel[Text],
    watcher: Watcher,
    when_it_exists: str = CONTINUE,
    keep_state: bool = True,
) -> Path:
    """Train an adapter, or continue a run that was stopped.

    Args:
        config: all options; output_dir and output_name identify the run.
        base: the frozen base model.
        watcher: is informed about the run, draws its pictures and may stop it.
        when_it_exists: what to do if a run of this name exists, one of ``run_name.MODES``.
        keep_state: keep the state of a finished run, several times as large as its adapter, so that
            it can be made longer.

    Returns:
        Path of the adapter file; ``runs.paths.RunPaths`` gives those of the other files.

    Raises:
        ConfigError, DataError, EnvironmentFault: something is wrong with options, files or the
            machine; raised before the first step if possible.
        MemoryFault: the memory of the GPU or of the machine is used up.
        DivergedError: the loss or the gradient became NaN or infinite.
        RunInterrupted: the watcher asked to stop; state and adapter are saved.
    """
    config = with_mode(config, when_it_exists)
    with told_in_words(), memory_faults(config), threads_as_found(), ExitStack() as held:
        admitted = Door(config, base, watcher, held).enter(when_it_exists)
        config, claim, weights = admitted.config, admitted.claim, admitted.weights
        if claim is None:
            return used_again(config, watcher)
        pictures = admitted.pictures
        base_hash = base.fingerprint()  # before anything is merged, or put onto the device
        claim.make_folder()

        for line in weights.merge_into(base):
            watcher.say(line)
        held_out = pictures.held_out_set()
        sets = [pictures, *([held_out] if held_out else [])]
        latents = encode_pictures(config, base, sets, watcher)
        texts = encode_captions(config, base, sets, watcher)
        if told := keep_within_limit(config, (latents[0].store, texts.disk)):
            watcher.note(told)
        held.enter_context(base.prepared(config.run.gradient_checkpointing))

        network = weights.build_network(base.targets(), config)
        check_space(network, config)
        config = weights.describe(network, config)
        groups = network.param_groups(**config.optimizer.rates)
        optimizer = build_optimizer(groups, config.optimizer)
        origin = (base_hash, base.kind, weights.fingerprint)
        run = Run(config, claim, origin, pictures, network, optimizer, watcher.say)
        batch_loss = BatchLoss(config, base, network, latents[0], texts)
        validation = Validation(batch_loss, held_out, latents[1]) if held_out else None
        with run.cleared_if_useless():
            introduce(run, watcher)
            with network.injected(), watcher.watching(run):
                loop(run, batch_loss, validation, watcher)
                run.save_final(keep_state)
        if not run.paths.adapter.is_file():
            raise EnvironmentFault(
                "the run is finished, and its adapter is gone again",
                where=str(run.paths.adapter),
                fix="find out which program deletes such files, then train again",
            )
        return run.paths.adapter


def used_again(config: TrainConfig, watcher: Watcher) -> Path:
    """Tell the user that this very run is finished already, and return its adapter."""
    paths, run = RunPaths.of(config.run), config.run
    watcher.note(
        f"{paths.adapter.name} was trained with exactly these pictures, options and models: it is "
        "used again as it is, with its metadata of then"
    )
    asked = {
        "copies were saved": (run.save_every_n_steps or run.save_every_n_epochs, paths.checkpoints),
        "pictures were drawn": (config.sample.wanted, paths.drawn),
    }
    for what, (is_wanted, found) in asked.items():
        if is_wanted and not found():
            watcher.note(f"no {what} in that run; to get them, train it under a new name")
    return paths.adapter


def encode_pictures(
    config: TrainConfig, base: BaseModel[Text], sets: Sequence[TrainingSet], watcher: Watcher
) -> list[LatentCache]:
    """Encode every picture of some sets with the VAE, or take its latents from the disk cache."""
    store = latent_store(config)
    pictures = [picture for each in sets for picture in each.pictures]
    kept = [
        picture
        for each in sets
        for picture, anew in zip(each.pictures, each.drawn_anew, strict=True)
        if not anew
    ]
    needed = len(kept) + sum(picture.subset.flip_aug for picture in kept)
    with watcher.counting("encoding", "pictures", len(pictures)) as count:
        latents = [
            cache_latents(
                each,
                base.encode_pixels,
                store=store,
                vae=base.identity("vae") if store else "",
                progress=count,
            )
            for each in sets
        ]
    encoded = sum(each.encoded for each in latents)
    for line in describe_store("latents", store, encoded, needed):
        watcher.say(line)
    levels = {
        each.pictures[number].path: level
        for each, cache in zip(sets, latents, strict=True)
        for number, level in cache.levels.items()
    }
    silenced = {name.upper() for name in config.data.silence}
    for line in finding_lines(one for one in odd_latents(levels) if one.code not in silenced):
        watcher.note(line)
    return latents


def encode_captions(
    config: TrainConfig, base: BaseModel[Text], sets: Sequence[TrainingSet], watcher: Watcher
) -> TextCache[Text]:
    """Return the cache of captions, already filled if that is asked for or useful.

    It is filled if the config caches captions, or if the base model asks for it (``reads_first``)
    and all captions are known. Then the text encoders leave the device, unless pictures are drawn.
    """
    known = config.effective_network.network_train_unet_only and config.data.knows_captions
    early = config.data.caches_text or (base.reads_first and known)
    store = text_store(config)
    texts = TextCache(
        base, None if early else MAX_KEPT, store, base.identity("text") if store else ""
    )
    if not early:
        return texts
    captions = list(dict.fromkeys(text for each in sets for text in each.known_captions()))
    with watcher.counting("encoding", "captions", len(captions)) as count:
        for caption in captions:
            texts.one(caption)
            count(1)
    for line in describe_store("captions", store, texts.encoded, len(captions)):
        watcher.say(line)
    if not config.sample.wanted:
        base.release_text_encoders()
    return texts


def introduce(run: Run, watcher: Watcher) -> None:
    """Say what is about to be trained, and what to know about such networks."""
    watcher.say(run.summary())
    watcher.say(run.rates.describe())
    for line in network_notes(run.network):
        watcher.note(line)


def loop(
    run: Run,
    batch_loss: BatchLoss[Text],
    validation: Validation[Text] | None,
    watcher: Watcher,
) -> None:
    """Do optimizer steps until the end of the run; save and draw in between as the config says."""
    run.network.train()
    if run.config.sample.sample_at_first and run.step == 0:
        draw(run, watcher)
    for report in steps(run, batch_loss, validation, watcher):
        if run.checkpoint_is_due():
            run.save_checkpoint()
            run.delete_old_checkpoints()
        if run.previews_are_due():
            draw(run, watcher)
        with saved_if_it_ends(run):
            if run.state_is_due():
                run.save_state()
            if run.step < run.total_steps and watcher.stop_asked():
                raise stopped(run)
            watcher.after_step(run, report)


def steps(
    run: Run,
    batch_loss: BatchLoss[Text],
    validation: Validation[Text] | None,
    watcher: Watcher,
) -> Iterator[StepReport]:
    """Do the remaining optimizer steps of a run; yield a report after each, then validate."""
    config = run.config
    accumulation = config.run.gradient_accumulation_steps
    # If every step has one batch, precomputing the factors of all layers would save nothing.
    banks = Banks(run.network.layers.values()) if accumulation > 1 else None
    batches = iterate_batches(run.pictures, run.step * accumulation, run.total_steps * accumulation)
    average = average_in(run.events.path)
    with tracking(config.run, run.step, watcher.note) as track:
        if validation is not None and not is_done(run):
            validate_if_due(run, validation, average, track, watcher)
        while run.step < run.total_steps:
            plans = list(islice(batches, accumulation))
            try:
                done = train_step(
                    batch_loss,
                    plans,
                    run.optimizer,
                    learning_rate_factor=run.rates.before(run.step, run.optimizer),
                    max_grad_norm=config.optimizer.max_grad_norm,
                    scaler=run.scaler,
                    banks=banks,
                )
            except NotFiniteError as error:
                raise run.diverged(error) from error
            scaled = run.after_step()
            average = running_average(average, done.loss)
            rates = {group["name"]: group["lr"] for group in run.optimizer.param_groups}
            report = StepReport(
                run.step,
                done.loss,
                average,
                done.norm,
                plans[-1].epoch,
                rates,
                true_rates(run.optimizer),
            )
            try:
                run.record(report, scaled)
            except EnvironmentFault:  # the log cannot be written
                with saved_if_it_ends(run):
                    raise
            track(report.step, curves(report))
            yield report
            if validation is not None:
                validate_if_due(run, validation, average, track, watcher)


def validate_if_due(
    run: Run,
    validation: Validation[Text],
    average: float | None,
    track: Track,
    watcher: Watcher,
) -> None:
    """Compute the loss on the pictures that are held out, if the config asks for it by now.

    Raises:
        RunInterrupted: the watcher asked to stop; the run is saved, and validates when it goes on.
    """
    kinds = due(run)
    if not kinds:
        return
    may_stop = run.step < run.total_steps
    total = validation.losses * (1 if run.average is None else 2)
    with saved_if_it_ends(run), watcher.counting("validating", "batches", total) as count:
        losses = validate(
            run, validation, kinds, average, count, lambda: may_stop and watcher.stop_asked()
        )
        if losses is None:
            raise stopped(run)
    if not losses:
        watcher.note(f"the loss on the held-out pictures is no finite number after step {run.step}")
    track(run.step, losses)
    watcher.after_validation(run, losses)


def draw(run: Run, watcher: Watcher) -> None:
    """Let the watcher draw pictures with the adapter as it is now; the run goes on without them."""
    with saved_if_it_ends(run):  # after an error: unpause, then save
        try:
            with memory_faults(run.config), told_in_words(), run.paused():
                names = watcher.draw(run)
        except RunInterrupted:
            raise
        except LycorisExtError as error:
            watcher.note(f"no pictures after step {run.step}, the training goes on: {error}")
            return
        if names:
            run.events.write("pictures", run.step, files=list(names))


@contextmanager
def saved_if_it_ends(run: Run) -> Iterator[None]:
    """Save the run if an error inside the ``with`` ends it, such as a watcher's wish to stop."""
    with ExitStack() as at_end:
        at_end.callback(run.save_stopped)
        yield
        at_end.pop_all()


def stopped(run: Run) -> RunInterrupted:
    """Return the error that ends a run that the watcher has stopped."""
    return RunInterrupted(
        f"stopped after step {run.step} of {run.total_steps}; "
        f"{run.paths.checkpoint(run.step).name} and the state are saved",
        where=run.config.run.output_name,
        fix="run the same again to continue",
    )


@contextmanager
def threads_as_found() -> Iterator[None]:
    """Restore torch's number of threads after a ``with``, because a resumed run changes it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
