"""Nothing is lost in any trial of any kind."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.trials import Kind, all_kinds

KINDS = [pytest.param(kind, id=kind.name) for kind in all_kinds()]
QUICK = [pytest.param(kind, id=kind.name) for kind in all_kinds() if kind.quick]


@pytest.mark.parametrize("kind", QUICK)
def test_some_trials_lose_nothing(kind: Kind, tmp_path: Path) -> None:
    _check(kind, kind.quick, seed=1, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_trials_lose_nothing(kind: Kind, tmp_path: Path) -> None:
    _check(kind, kind.full, seed=secrets.randbits(32), folder=tmp_path)


def _check(kind: Kind, number: int, seed: int, folder: Path) -> None:
    if kind.needs:
        pytest.skip(kind.needs)
    here = Path.cwd()
    trials = list(kind.run(number, seed, folder))
    assert trials and Path.cwd() == here
    bad = [f"{trial.name}: {trial.bad}" for trial in trials if trial.bad]
    told = "\n".join([f"seed {seed}: {len(bad)} of {len(trials)} trials went wrong", *bad])
    assert not bad, told
