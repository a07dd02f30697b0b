"""What a run would do and write, told by ``lycoris-ext train --dry-run``."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.files import expanded
from lycoris_ext.training.door import Admitted
from lycoris_ext.words import count


def would_do(admitted: Admitted) -> Iterator[str]:
    """Yield where a run would begin and end, and which files it would write."""
    config, claim, pictures = admitted.config, admitted.claim, admitted.pictures
    run, epochs = config.run, pictures.epochs
    if claim is None:
        yield "this very run is finished: its adapter would be used again as it is"
        return
    total, first = run.total_steps(epochs), 0
    if claim.saved is not None:
        first = claim.saved.progress.step
        yield f"the run would continue after step {first} of {total}"
    elif run.overwrite and claim.paths.results():
        there = [path.name for path in claim.paths.results() if path.exists()]
        if there:
            yield f"overwrite: would be deleted: {', '.join(there)}"
    paths = claim.paths
    yield f"would be written into {paths.folder}:"
    yield f"  {paths.adapter.name}" + (
        f" and {paths.averaged(paths.adapter).name}" if run.ema_decay else ""
    )
    steps = range(first + 1, total + 1)
    yield from _at_intervals(
        f"  {paths.name}-step-N.safetensors",
        run.save_every_n_steps,
        run.save_every_n_epochs,
        [step for step in steps if run.epochs_ending_at(step, epochs)],
        steps,
    )
    yield f"  {', '.join(p.name for p in (paths.state, paths.config, paths.dataset, paths.events))}"
    sample = config.sample
    if sample.wanted:
        yield from _at_intervals(
            f"  {paths.samples.name}/{paths.name}-step-N-00.png and more",
            sample.sample_every_n_steps,
            sample.sample_every_n_epochs,
            [step for step in steps if run.epochs_ending_at(step, epochs)],
            steps,
        )
    data = config.data
    if data.cache_latents_to_disk or data.cache_text_encoder_outputs_to_disk:
        yield f"would be cached in {expanded(data.cache_dir)}: what is not there yet"
    if run.logging_dir is not None:
        yield f"would be logged in {expanded(run.logging_dir) / run.output_name}"


def _at_intervals(
    what: str, every: int | None, every_epochs: int | None, ends: list[int], steps: range
) -> Iterator[str]:
    """Yield how often a file is written, if an interval in steps or epochs asks for it."""
    due = {step for step in steps if every is not None and step % every == 0}
    if every_epochs is not None:
        due |= set(ends[every_epochs - 1 :: every_epochs])
    if due:
        yield f"{what}: {count(len(due), 'time')}, first at step {min(due)}"
