"""The door of a run: everything that can be wrong with it, found before anything is written.

``train`` goes through this door; ``lycoris-ext doctor`` and ``init`` ask it what ``train`` would
say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lycoris_ext.data import TrainingSet, check_bucket_sizes, examine, finding_lines, summarize
from lycoris_ext.data.findings import Finding, counts, raise_if_errors
from lycoris_ext.data.kept_checks import KeptChecks, measures_folder
from lycoris_ext.data.loader import check_workers
from lycoris_ext.errors import Faults
from lycoris_ext.files import expanded
from lycoris_ext.formats.atomic import check_folder
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.base_model import BaseModel
from lycoris_ext.training.claim import Claim, claimed
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.optimizer_notes import optimizer_notes
from lycoris_ext.training.optimizers import try_optimizer
from lycoris_ext.training.precision import check_precision, choose_device
from lycoris_ext.training.preview_specs import asked_specs
from lycoris_ext.training.rates import Rates
from lycoris_ext.training.run_name import CONTINUE, choose_name, is_finished, keeps_name
from lycoris_ext.training.start import StartWeights, read_start_weights
from lycoris_ext.training.tracker import check_tracker
from lycoris_ext.training.watcher import Watcher


@dataclass(frozen=True)
class Admitted:
    """A run that passed the door.

    Args:
        config: with the resolution and output_name that were decided.
        claim: the lock on the run's files; None if this very run is finished already.
        weights: the adapters that it starts from.
        pictures: the training set.
    """

    config: TrainConfig
    claim: Claim | None
    weights: StartWeights
    pictures: TrainingSet


class Door:
    """Checks everything about a run that can be checked before its first step.

    Args:
        config: of the run.
        base: the base model; its weights are loaded when everything else is right.
        watcher: is told what was found, and prepares its pictures.
        held: keeps the run's lock until it is closed.

    Attributes:
        faults: what was found before the base model was loaded; ``enter`` raises it.
        findings: what is wrong or notable about the data set.
    """

    def __init__(
        self, config: TrainConfig, base: BaseModel[Any], watcher: Watcher, held: ExitStack
    ) -> None:
        self.config, self.base, self.watcher, self.held = config, base, watcher, held
        self.faults = Faults()
        self.findings: tuple[Finding, ...] = ()

    def enter(self, when_it_exists: str = CONTINUE) -> Admitted:
        """Check everything, load the base model, and take the run's files.

        Args:
            when_it_exists: what to do if a run of this name exists, one of ``run_name.MODES``.

        Raises:
            ConfigError, DataError, EnvironmentFault: everything that is wrong, as one error; what
                can be found only with the base model's weights follows when the rest is right.
        """
        base, faults = self.base, self.faults
        with faults:
            self.config = with_resolution(self.config, base.picture_size())
        config = self.config
        checks: list[Callable[[], object]] = [
            lambda: read_preset(config.network),
            lambda: asked_specs(config),
            lambda: check_tracker(config.run),
            lambda: check_workers(config.data.max_data_loader_n_workers),
            lambda: check_precision(config.run.mixed_precision, choose_device(config.run.device)),
            lambda: try_optimizer(config.optimizer),
            *(partial(check_folder, *each) for each in _further_folders(config)),
        ]
        for check in checks:
            with faults:
                check()
        with faults:
            weights = read_start_weights(config.start)
        with faults:
            check_folder(RunPaths.of(config.run).folder, "output_dir")
            if keeps_name(when_it_exists):
                claim = self.held.enter_context(claimed(config))
        with faults:
            pictures = self.read_pictures()
        if not faults.found:
            with faults:
                Rates(config, self._base_rates(), config.run.total_steps(pictures.epochs)).check()
        faults.raise_all()
        for note in (*weights.notes, *optimizer_notes(config)):
            self.watcher.note(note)

        base.load()
        for each in filter(None, (pictures, pictures.held_out_set())):
            with faults:
                check_bucket_sizes(each, base.latent_factor)
        with faults:
            weights.check_layers(base.targets(), config)
        faults.raise_all()
        origin = base.fingerprint(), weights.fingerprint
        if not keeps_name(when_it_exists):
            chosen = choose_name(config, when_it_exists, pictures, *origin)
            config = chosen.config
            if chosen.is_finished:
                return Admitted(config, None, weights, pictures)
            claim = self.held.enter_context(claimed(config))
        elif not config.run.overwrite and is_finished(config, pictures, *origin):
            return Admitted(config, None, weights, pictures)
        claim.check_pictures(pictures)
        return Admitted(config, claim, weights, pictures)

    def _base_rates(self) -> list[float]:
        """Return rates that stand for those of the groups, which are known when layers are."""
        optimizer = self.config.optimizer
        return [
            rate for rate in (optimizer.effective_unet_lr, *optimizer.text_encoder_rates) if rate
        ]

    def read_pictures(self) -> TrainingSet:
        """Read and check all pictures and captions, and tell the watcher what was found."""
        config, watcher = self.config, self.watcher
        kept = KeptChecks(measures_folder(config.data))
        scan = examine(
            config.data,
            partial(watcher.counting, "checking", "pictures"),
            token_limit=self.base.token_limit(),
            seed=config.run.seed,
            kept=kept,
        )
        for line in kept.told():
            watcher.note(line)
        self.findings = scan.findings
        raise_if_errors(scan.findings)
        pictures = TrainingSet(config.data, config.run.seed, scan.checked, scan.findings)
        pictures.count_steps(
            config.run.gradient_accumulation_steps,
            config.run.total_steps(pictures.epochs),
        )
        lines = finding_lines(pictures.findings)
        counted = [counts(pictures.findings)] if lines else []
        for line in (*lines, *counted, *summarize(pictures)):
            watcher.say(line)
        watcher.pictures_read(config, pictures)
        return pictures


def _further_folders(config: TrainConfig) -> list[tuple[Path, str]]:
    """Return each folder that the run writes into besides output_dir, with its option."""
    data, run = config.data, config.run
    caches = data.cache_latents_to_disk or data.cache_text_encoder_outputs_to_disk
    asked = {"cache_dir": data.cache_dir if caches else "", "logging_dir": run.logging_dir or ""}
    return [(expanded(text), option) for option, text in asked.items() if text]


def with_resolution(config: TrainConfig, picture_size: int) -> TrainConfig:
    """Return the config with the base model's picture size as resolution, if that is unset.

    Raises:
        ConfigError: other options contradict this resolution.
    """
    if config.data.resolution is not None:
        return config
    return replace(config, data=replace(config.data, resolution=picture_size))
