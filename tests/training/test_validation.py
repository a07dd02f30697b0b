"""Validation: when it happens, what it computes, and that it changes nothing in training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from lycoris_ext.data import DataConfig, open_training_set
from lycoris_ext.errors import ConfigError, RunInterrupted
from lycoris_ext.formats import load_adapter
from lycoris_ext.runs.events import read_events
from lycoris_ext.training import optimizer_kinds
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.run import Run
from lycoris_ext.training.train import train
from lycoris_ext.training.validation import TIMESTEPS, spread
from tests.training.outside_optimizers import AVERAGING
from tests.training.test_train import Base, Told, config  # noqa: F401 - a fixture

STEP, EPOCH = "loss/validation/step_average", "loss/validation/epoch_average"


def validations(adapter: Path) -> dict[int, dict[str, float]]:
    events = read_events(adapter.with_name(f"{adapter.stem}.events.jsonl"))
    return {one["step"]: one["losses"] for one in events if one["event"] == "validation"}


def same(one: Path, other: Path) -> bool:
    a, b = load_adapter(one).tensors, load_adapter(other).tensors
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _take_out(pictures: Path, names: set[str]) -> None:
    for name in names:
        (pictures / "2_shapes" / name).unlink()
        (pictures / "2_shapes" / name).with_suffix(".txt").unlink()


def _held_out(pictures: Path, seed: int) -> set[str]:
    own = DataConfig(train_data_dir=str(pictures), validation_split=0.34, resolution=32)
    return {one.picture.path.name for one in open_training_set(own, seed).held_out}


ALWAYS = {"train_batch_size": 2, "seed": 3, "max_train_steps": 5}
VALIDATED = {"validation_split": 0.34, "validate_every_n_steps": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"shuffle_caption": True, "flip_aug": True, "caption_dropout_rate": 0.3, "dropout": 0.2},
        {"algo": "loha", "gradient_checkpointing": True, "gradient_accumulation_steps": 2},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_a_run_with_validation_trains_as_one_without_these_pictures(run, pictures, changes):
    validated = run(**ALWAYS, **VALIDATED, **changes)
    assert sorted(validations(validated)) == [1, 2, 3, 4, 5]
    _take_out(pictures, _held_out(pictures, seed=3))
    assert same(validated, run(output_name="without", **ALWAYS, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.5, "rank_dropout": 0.5, "ema_decay": 0.9, "gradient_accumulation_steps": 2},
        {"cache_text_encoder_outputs_to_disk": True, "cache_latents_to_disk": True},
        {"optimizer_type": "Averaging", "noise_offset": 0.1, "alpha_mask": True},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_validation_changes_no_optimizer_no_average_and_no_cache(
    config: Callable[..., TrainConfig],  # noqa: F811
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    kinds = {**optimizer_kinds._KINDS, AVERAGING.name: AVERAGING}
    monkeypatch.setattr(optimizer_kinds, "_KINDS", kinds)
    validated = train(config(**ALWAYS, **VALIDATED, **changes), Base(), Told())
    assert sorted(validations(validated)) == [1, 2, 3, 4, 5]
    _take_out(pictures, _held_out(pictures, seed=3))
    without = train(config(output_name="without", **ALWAYS, **changes), Base(), Told())
    assert same(validated, without)
    if "ema_decay" in changes:
        assert same(*(path.with_stem(f"{path.stem}-ema") for path in (validated, without)))


def test_validation_follows_its_intervals_and_the_end_of_the_run(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    def found(**changes: Any) -> dict[int, set[str]]:
        # 4 pictures x 2 repeats: an epoch has 8 steps.
        options = {"validation_split": 0.34, "max_train_steps": 20, "overwrite": True}
        path = train(config(**options, **changes), Base(), Told())
        return {step: set(losses) for step, losses in validations(path).items()}

    epoch = {EPOCH, "loss/validation/epoch_divergence"}
    assert found() == dict.fromkeys((8, 16, 20), epoch)
    step = {STEP, "loss/validation/step_divergence"}
    every = found(validate_every_n_steps=8, validate_every_n_epochs=2)
    assert every == {8: step, 16: step | epoch, 20: epoch}


def test_the_average_of_the_weights_is_validated_too(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    found = validations(train(config(**VALIDATED, ema_decay=0.999), Base(), Told()))
    losses = [one[STEP] for one in found.values()]
    assert all(0 < loss < 10 for loss in losses) and len(set(losses)) == len(losses)
    assert all(f"{STEP}_ema" in one for one in found.values())
    assert found[1][STEP] == found[1][f"{STEP}_ema"]  # after one step they are the same
    assert found[4][STEP] != found[4][f"{STEP}_ema"]


class Watched(Base):
    """Remembers what it is asked to predict when no gradient is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    def predict(self, noisy: Any, timesteps: Any, text: Any, size_ids: Any) -> Any:
        if not torch.is_grad_enabled():
            rows = zip(noisy, timesteps.tolist(), text.tolist(), strict=True)
            self.seen += [(row[0].sum().item(), *row[1:]) for row in rows]
        return super().predict(noisy, timesteps, text, size_ids)


def test_every_validation_of_a_run_looks_at_the_same_noise_and_timesteps(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    base = Watched()
    options = {"validation_split": 0.5, "validate_every_n_steps": 1, "flip_aug": True}
    train(config(**options, shuffle_caption=True, caption_dropout_rate=0.5), base, Told())
    one = 3 * TIMESTEPS
    first, *others = [base.seen[start : start + one] for start in range(0, 4 * one, one)]
    assert len(base.seen) == 4 * one and all(other == first for other in others)
    assert len({timestep for _, timestep, _ in first}) == one  # spread over all pictures
    again = Watched()
    train(config(**options, output_name="b", train_batch_size=3), again, Told())
    assert Counter(again.seen[:one]) == Counter(first)  # whatever the batches are


def test_a_validation_seed_makes_runs_of_other_seeds_comparable(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    def first(**changes: Any) -> list[tuple[Any, ...]]:
        base = Watched()
        name = "-".join(map(str, changes.values()))
        train(config(validation_split=0.5, output_name=name, **changes), base, Told())
        return base.seen[: 3 * TIMESTEPS]

    assert first(seed=1, validation_seed=5) == first(seed=2, validation_seed=5)
    assert first(seed=1) != first(seed=2)


def test_timesteps_are_spread_evenly_over_their_range():
    for pictures in (1, 3, 10, 100):
        places = sorted(spread(one, part) for one in range(pictures) for part in range(TIMESTEPS))
        assert places[0] >= 0 and places[-1] < 1
        edges = [0.0, *places, 1.0]
        widest = max(b - a for a, b in pairwise(edges))
        assert widest <= 2.7 / len(places)  # random ones leave gaps of ln(n) / n


def test_max_validation_steps_limits_the_batches(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    base = Watched()
    train(config(validation_split=0.5, max_validation_steps=2), base, Told())
    assert len(base.seen) == 2 * TIMESTEPS  # at the end of the run alone


def test_all_held_out_captions_and_pictures_are_encoded_before_the_first_step(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    base = Base()
    train(config(validation_split=0.5, cache_text_encoder_outputs=True), base, Told())
    captions = [caption for caption, prepared in base.asked if not prepared]
    assert len(captions) == 7 and captions[-1] == "released"


class StopsInValidation(Told):
    """Asks to stop while the first validation is going on."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []

    def counting(self, what: str, unit: str, total: int | None = None) -> Any:
        self.counted.append(what)
        return super().counting(what, unit, total)

    def stop_asked(self) -> bool:
        return "validating" in self.counted


def test_a_run_stopped_during_a_validation_validates_when_it_goes_on(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    options = config(validation_split=0.5, validate_every_n_steps=2, ema_decay=0.9)
    with pytest.raises(RunInterrupted, match="after step 2"):
        train(options, Base(), StopsInValidation())
    path = train(options, Base(), Told())
    whole = train(config(validation_split=0.5, validate_every_n_steps=2, ema_decay=0.9,
                         output_name="whole"), Base(), Told())  # fmt: skip
    assert validations(path) == validations(whole) and sorted(validations(whole)) == [2, 4]
    assert same(path, whole)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_continued_run_has_the_same_validations(
    config: Callable[..., TrainConfig],  # noqa: F811
    stop: int,
) -> None:
    options = {
        "validation_split": 0.5,
        "validate_every_n_steps": 1,
        "gradient_accumulation_steps": 2,
    }
    with pytest.raises(RunInterrupted):
        train(config(**options), Base(), Told(stop_after=stop))
    path = train(config(**options), Base(), Told())
    whole = train(config(**options, output_name="whole"), Base(), Told())
    assert validations(path) == validations(whole)
    assert same(path, whole)


def test_intervals_may_change_when_a_run_goes_on_and_the_split_may_not(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    train(config(validation_split=0.34, max_train_steps=2), Base(), Told())
    longer = config(validation_split=0.34, max_train_steps=3, validate_every_n_steps=1)
    assert sorted(validations(train(longer, Base(), Told()))) == [2, 3]
    with pytest.raises(ConfigError, match="validation_split"):
        train(config(validation_split=0.5, max_train_steps=4), Base(), Told())


def test_a_loss_that_is_not_finite_is_told_and_ends_no_run(
    config: Callable[..., TrainConfig],  # noqa: F811
) -> None:
    class Broken(Base):
        def predict(self, noisy: Any, timesteps: Any, text: Any, size_ids: Any) -> Any:
            answer = super().predict(noisy, timesteps, text, size_ids)
            return answer if torch.is_grad_enabled() else answer * float("inf")

    class Listens(Told):
        def __init__(self) -> None:
            super().__init__()
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

        def after_validation(self, run: Run, losses: Any) -> None:
            self.notes.append(str(dict(losses)))

    told = Listens()
    path = train(config(validation_split=0.5), Broken(), told)
    assert path.is_file() and validations(path) == {4: {}}
    assert told.notes[-2:] == [
        "the loss on the held-out pictures is no finite number after step 4", "{}"
    ]  # fmt: skip


def test_the_metadata_says_what_was_held_out_as_sd_scripts_does(run):
    metadata = load_adapter(run(validation_split=0.34, validation_seed=5)).metadata
    assert metadata["ss_validation_split"] == "0.34" and metadata["ss_validation_seed"] == "5"
    assert metadata["ss_num_validation_images"] == "2" and metadata["ss_num_train_images"] == "8"
    for name in ("max_validation_steps", "validate_every_n_epochs", "validate_every_n_steps"):
        assert metadata[f"ss_{name}"] == "None"
    dirs = json.loads(metadata["ss_dataset_dirs"])
    assert dirs == {"2_shapes": {"n_repeats": 2, "img_count": 4}}


def test_terminal_shows_the_loss_under_sd_scripts_name(run, capsys, monkeypatch):
    # Shown without a tty.
    monkeypatch.setattr("lycoris_ext.training.terminal.bar_options", lambda _: {})
    run(validation_split=0.34, max_train_steps=1)
    shown = capsys.readouterr().err
    assert "val_avg_loss=" in shown and "validating: 100%" in shown
    assert "2 pictures held out for validation" in shown
