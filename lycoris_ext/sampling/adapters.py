"""Adapter files with strengths, and their injection into a pipeline while pictures are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError, Faults
from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.doubts import doubts
from lycoris_ext.formats.summary import plans_of
from lycoris_ext.models import Pipeline
from lycoris_ext.network import Network, load_network
from lycoris_ext.network.merge import MOST_STRENGTH
from lycoris_ext.sampling.infotext import AdapterInfo


@dataclass(frozen=True)
class AdapterUse:
    """An adapter file and the strength at which it is used, 1 for the update as trained."""

    path: Path
    strength: float = 1.0

    @classmethod
    def parse(cls, text: str) -> AdapterUse:
        """Read `FILE` or `FILE:STRENGTH`.

        A colon that is not followed by a number belongs to the file name, as in C:/a.safetensors.

        Raises:
            ConfigError: there is no file name, or the strength is not finite or beyond 100.
        """
        path, colon, tail = text.rpartition(":")
        strength = 1.0
        if colon:
            try:
                strength = float(tail)
            except ValueError:
                # C:\loras\a.safetensors
                path = text
        else:
            path = text
        if not path or not math.isfinite(strength):
            raise ConfigError(
                f"{text!r} is neither FILE nor FILE:STRENGTH",
                where="--adapter",
                fix="write FILE.safetensors, or FILE.safetensors:0.8",
            )
        if abs(strength) > MOST_STRENGTH:
            raise ConfigError(
                f"{path} has the strength {strength:g}",
                where="--adapter",
                fix=f"use a strength from -{MOST_STRENGTH:g} to {MOST_STRENGTH:g}, mostly 0 to 1",
            )
        return cls(Path(path), strength)

    @property
    def name(self) -> str:
        """The file's name without extension, by which prompts and grids call the adapter."""
        return self.path.stem


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter that `adapters_applied` has injected into a pipeline.

    Args:
        use: the file and its strength.
        network: the injected network.
        hash: the file's `sshs_model_hash`; "" if it has none.
    """

    use: AdapterUse
    network: Network
    hash: str

    def info(self) -> AdapterInfo:
        """Describe the adapter for a picture's generation parameters."""
        return AdapterInfo(self.use.name, self.use.strength, self.hash)


@contextmanager
def adapters_applied(
    pipeline: Pipeline, uses: Sequence[AdapterUse]
) -> Iterator[tuple[LoadedAdapter, ...]]:
    """Load adapters and inject them into a pipeline for the time of a `with` block.

    Args:
        pipeline: the base model; afterwards its weights are bitwise as before.
        uses: files and strengths; their order makes no difference.

    Yields:
        The adapters in the order of `uses`.

    Raises:
        DataError: a file does not exist.
        FormatError: a file is damaged or for another model.
    """
    refuse_missing(uses)
    with ExitStack() as stack:
        loaded = []
        for use in uses:
            state = load_adapter(use.path)
            network = load_network(state, pipeline.targets(), multiplier=use.strength)
            network.to(pipeline.device).requires_grad_(False).eval()
            stack.enter_context(network.injected())
            loaded.append(LoadedAdapter(use, network, state.metadata.get("sshs_model_hash", "")))
        yield tuple(loaded)


def refuse_unreadable(uses: Sequence[AdapterUse]) -> list[str]:
    """Raise an error that names all adapter files that cannot be read, before a model is loaded.

    Returns:
        What is strange about those that can be read, one sentence each with the file's name.

    Raises:
        DataError: a file does not exist.
        FormatError: a file is damaged, no adapter, or of an algorithm that is not known here.
    """
    refuse_missing(uses)
    faults, notes = Faults(), []
    for path in dict.fromkeys(use.path for use in uses):
        with faults:
            state = load_adapter(path)
            notes += [f"{path.name}: {said}" for said in doubts(state, plans_of(state))]
    faults.raise_all()
    return notes


def refuse_missing(uses: Sequence[AdapterUse]) -> None:
    """Raise an error that names all adapter files that do not exist.

    Raises:
        DataError: at least one file does not exist.
    """
    missing = [str(use.path) for use in uses if not use.path.exists()]
    if missing:
        raise DataError(
            f"there is no such adapter file: {', '.join(missing)}",
            where="--adapter",
            fix="name a .safetensors file that exists; a strength follows after a colon",
        )
