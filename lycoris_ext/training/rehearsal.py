"""What ``train`` will say of a config, found without reading the base model's weights."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from lycoris_ext.data import TrainingSet
from lycoris_ext.data.findings import Finding
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.files import told_in_words
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.described import describe_run
from lycoris_ext.training.door import Door
from lycoris_ext.training.notes import network_notes
from lycoris_ext.training.optimizers import build_optimizer
from lycoris_ext.training.outcome import would_do
from lycoris_ext.training.pipeline_base import OutlineBase
from lycoris_ext.training.preview_specs import preview_specs
from lycoris_ext.training.rates import Rates
from lycoris_ext.training.space import check_space
from lycoris_ext.training.train import threads_as_found
from lycoris_ext.training.watcher import Watcher


@dataclass(frozen=True)
class Rehearsal:
    """What a run will meet at its door.

    Args:
        findings: what is wrong or notable about the data set.
        faults: all other things for which ``train`` will refuse the run.
        missing_package: a package that is not installed, so that not everything could be checked.
        held_out: number of pictures that are held out for validation.
        plan: lines on what the run would do and write; none if it cannot start.
    """

    findings: tuple[Finding, ...]
    faults: tuple[LycorisExtError, ...]
    missing_package: str = ""
    held_out: int = 0
    plan: tuple[str, ...] = ()

    @property
    def can_start(self) -> bool:
        """Whether ``train`` will begin to train."""
        wrong = any(found.severity == "error" for found in self.findings)
        return not (wrong or self.faults or self.missing_package)


class _Audience(Watcher):
    """Reads the prompts of the pictures that the run will draw; another watcher shows the rest."""

    held_out = 0

    def __init__(self, shows: Watcher) -> None:
        self.say, self.note = shows.say, shows.note  # type: ignore[method-assign]
        self.counting = shows.counting  # type: ignore[method-assign]

    def pictures_read(self, config: TrainConfig, pictures: TrainingSet) -> None:
        self.held_out = len(pictures.held_out)
        preview_specs(config, pictures)


def rehearse(config: TrainConfig, shows: Watcher | None = None) -> Rehearsal:
    """Do all that ``train`` does before the first step, without weights and without writing.

    Pictures are decoded, the files of the run are looked at, and the network is built on a base
    model that has shapes alone. Damaged weights of the base model are not found.

    Args:
        config: of the run.
        shows: is told what ``train`` tells before the first step; None tells nobody.
    """
    error: LycorisExtError | None = None
    package, audience, plan = "", _Audience(shows or Watcher()), list[str]()
    with threads_as_found(), ExitStack() as held:
        door = Door(config, OutlineBase(config), audience, held)
        try:
            with told_in_words():
                plan += _go_through(door)
        except LycorisExtError as found:
            error = found
        except ModuleNotFoundError as found:
            package = (found.name or "").partition(".")[0]
    told = {found.as_error().what for found in door.findings}
    parts = () if error is None else error.parts
    faults = tuple(part for part in parts if part.what not in told)
    return Rehearsal(door.findings, faults, package, audience.held_out, tuple(plan))


def _go_through(door: Door) -> list[str]:
    admitted = door.enter()
    config, weights, base = admitted.config, admitted.weights, door.base
    if admitted.claim is not None and admitted.claim.saved is not None:
        admitted.claim.check_base(base.fingerprint(), weights.fingerprint)
    for _ in weights.merge_into(base):
        pass
    network = weights.build_network(base.targets(), config)
    check_space(network, config)
    optimizer = build_optimizer(network.param_groups(**config.optimizer.rates), config.optimizer)
    total = config.run.total_steps(admitted.pictures.epochs)
    rates = Rates(config, [group["base_lr"] for group in optimizer.param_groups], total)
    for note in network_notes(network):
        door.watcher.note(note)
    return [
        describe_run(config, network, total),
        rates.describe(),
        *would_do(admitted),
    ]
