"""What a trial is, and finding all kinds of them."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import tests.faults


@dataclass(frozen=True)
class Trial:
    """Something that was broken once, and what came of it.

    Args:
        name: what was done, so that it can be done again with the same seed.
        bad: what was lost or went wrong, such as "loaded without a word"; "" if nothing.
    """

    name: str
    bad: str = ""


@dataclass(frozen=True)
class Kind:
    """Trials of one kind: a row of docs/reliability.md.

    Args:
        name: what is broken, such as "a state with one flipped bit".
        run: called with the number of trials, a seed and an empty folder; yields the trials.
            Fewer than the number where there are no more.
        quick: how many run in the default tests, in a few seconds; 0 if one takes longer.
        full: how many ``benchmarks/faults.py`` runs.
        before: how many were tried and how many were bad in version 0.1.0, as the page tells; None
            if nobody counted them then.
        needs: why it cannot run here, such as "Linux alone"; "" if it can.
    """

    name: str
    run: Callable[[int, int, Path], Iterator[Trial]]
    quick: int
    full: int
    before: tuple[int, int] | None = None
    needs: str = ""


def all_kinds() -> list[Kind]:
    """Return the kinds of every module here, sorted by the modules' names."""
    modules = [
        import_module(f"tests.faults.{module.name}")
        for module in pkgutil.iter_modules(tests.faults.__path__)
        if not module.name.startswith("test_")
    ]
    return [kind for module in modules for kind in getattr(module, "KINDS", ())]
