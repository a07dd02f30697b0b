"""The average of the checkpoints of a run, with power-function weights (post-hoc EMA).

Karras et al. 2024, arXiv:2312.02696, section 3.1, weight the parameters of a moment tau of a run of
length t in proportion to tau ** gamma. The relative width of this profile,

    sigma = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)),

takes the place of gamma. A checkpoint stands for the steps since the one before it, so its weight
is the integral of the profile over them: (t_i ** (gamma + 1) - t_{i-1} ** (gamma + 1)) divided by
t_n ** (gamma + 1). For equal distances this is what the paper's running average with
beta(t) = (1 - 1 / t) ** (gamma + 1) gives (equation 127).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import expm1, log, sqrt
from pathlib import Path

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError, DataError, Faults, FormatError
from lycoris_ext.formats import AdapterState, open_adapter
from lycoris_ext.formats.hashes import HASH_KEY
from lycoris_ext.words import and_more, count

METADATA = "lycoris_ext_ema"
"""The field of an averaged file that says how it was made, as JSON."""
UNIFORM = 1 / sqrt(12)
"""The sigma at which all steps weigh the same (gamma = 0)."""
_LARGEST_GAMMA = 1e12


def gamma_of(sigma: float) -> float:
    """Return the exponent gamma >= 0 of the profile whose relative width is sigma.

    Args:
        sigma: above 0, and at most ``UNIFORM``.

    Raises:
        ConfigError: it is not.
    """
    low, high = 0.0, _LARGEST_GAMMA
    if not _width(high) < sigma <= UNIFORM * (1 + 1e-12):
        raise ConfigError(
            f"{sigma:g} is no relative width of the average",
            where="--sigma",
            fix="use a number above 0 and at most 0.2886, at which all steps weigh the same; 0.05 "
            "to 0.2 are usual",
        )
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _width(middle) > sigma else (low, middle)
    return high if sigma < UNIFORM else 0.0


def _width(gamma: float) -> float:
    return sqrt(gamma + 1) / ((gamma + 2) * sqrt(gamma + 3))


def weights_of(steps: Sequence[float], sigma: float) -> list[float]:
    """Return the weight of each checkpoint; their sum is 1.

    Args:
        steps: after which the checkpoints were saved: above 0, in rising order.
        sigma: relative width of the average, see ``gamma_of``.
    """
    power = gamma_of(sigma) + 1
    last = steps[-1]
    weights = []
    for before, at in pairwise((0.0, *steps)):
        share = -expm1(power * log(before / at)) if before else 1.0
        weights.append((at / last) ** power * share)
    return weights


@dataclass
class Average:
    """The average of some checkpoints.

    Attributes:
        state: the averaged tensors, in the precision of the last checkpoint, and its metadata.
        files: the checkpoints in the order of their steps.
        steps: after which each was saved.
        weights: of each.
        notes: what the user should know, in sentences.
    """

    state: AdapterState
    files: list[Path]
    steps: list[float]
    weights: list[float]
    notes: list[str] = field(default_factory=list)


def average(files: Sequence[Path], sigma: float) -> Average:
    """Average the tensors of checkpoints of one run.

    The files are mapped and averaged tensor by tensor, so that memory is needed for the result
    alone. The stored factors are averaged, as an average during training averages them
    (ema_decay), and not their products. The sums are computed in float64.

    Args:
        files: at least two adapters with the same keys, shapes and alphas. Their order is that of
            ``ss_steps`` in their metadata; without it the given order, at equal distances.
        sigma: relative width of the average, see ``gamma_of``.

    Raises:
        ConfigError: sigma is no such width, there are fewer than two files, or one is named twice.
        DataError, FormatError: files cannot be read, or do not go together; all that is found.
    """
    gamma_of(sigma)
    if len(files) < 2 or len({file.resolve() for file in files}) < len(files):
        raise ConfigError(
            f"an average needs different checkpoints, and {count(len(files), 'file')} "
            f"{'is' if len(files) == 1 else 'are'} given: {and_more(map(str, files), 10)}",
            where="FILES",
            fix="name two or more checkpoints of one run, each once",
        )
    notes: list[str] = []
    states: dict[Path, AdapterState] = {}
    faults = Faults()
    for file in files:
        with faults:
            states[file] = open_adapter(file)
    faults.raise_all()
    order, steps = _order(states, notes)
    weights = weights_of(steps, sigma)
    last = states[order[-1]]
    for file in order[:-1]:
        with faults:
            _check_alike(states[file], last)
    faults.raise_all()
    tensors = {
        key: _mean(key, [states[file].tensors[key] for file in order], weights)
        for key in last.tensors
    }
    made = {
        "sigma": sigma,
        "files": [file.name for file in order],
        "steps": steps,
        "weights": weights,
    }
    metadata = {key: value for key, value in last.metadata.items() if key != HASH_KEY}
    metadata[METADATA] = json.dumps(made, ensure_ascii=False)
    return Average(AdapterState(tensors, metadata), order, steps, weights, notes)


def _order(states: Mapping[Path, AdapterState], notes: list[str]) -> tuple[list[Path], list[float]]:
    """Return the files in the order of their steps, and the steps."""
    found = {file: _step(state.metadata) for file, state in states.items()}
    unknown = [file.name for file, step in found.items() if not step]
    if unknown:
        notes.append(
            f"the step is not recorded in {and_more(unknown)}: the files are taken in the given "
            "order, at equal distances"
        )
        return list(states), [float(number) for number in range(1, len(states) + 1)]
    order = sorted(states, key=lambda file: found[file] or 0)
    for file, following in pairwise(order):
        if found[file] == found[following]:
            raise DataError(
                f"was saved after step {found[file]}, as {following} was",
                where=str(file),
                fix="leave one of the two out",
            )
    runs = {states[file].metadata.get("ss_session_id", "") for file in order}
    if len(runs) > 1:
        notes.append("the files are of several runs, by ss_session_id; an average is of one run")
    return order, [float(found[file] or 0) for file in order]


def _step(metadata: Mapping[str, str]) -> int | None:
    """Return the step after which a file was saved; None if the metadata do not say it."""
    text = metadata.get("ss_steps", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _check_alike(state: AdapterState, last: AdapterState) -> None:
    """Raise a FormatError if a checkpoint has other tensors than the last one."""
    mine = {key: tuple(tensor.shape) for key, tensor in state.tensors.items()}
    wanted = {key: tuple(tensor.shape) for key, tensor in last.tensors.items()}
    what = []
    if missing := sorted(wanted.keys() - mine.keys()):
        what.append(f"lacks {count(len(missing), 'tensor')} such as {missing[0]!r}")
    if more := sorted(mine.keys() - wanted.keys()):
        what.append(f"has {count(len(more), 'tensor')} more, such as {more[0]!r}")
    both = [key for key in wanted if key in mine]
    if other := [key for key in both if mine[key] != wanted[key]]:
        first = other[0]
        what.append(f"has {first!r} of shape {mine[first]}, not {wanted[first]}")
    alphas, wanted_alphas = _alphas(state), _alphas(last)
    if others := [name for name in alphas if alphas[name] != wanted_alphas.get(name, alphas[name])]:
        layer = others[0]
        what.append(f"has alpha {alphas[layer]:g} in {layer!r}, not {wanted_alphas[layer]:g}")
    places = [key for key in both if not last.tensors[key].is_floating_point()]
    if moved := [key for key in places if not torch.equal(state.tensors[key], last.tensors[key])]:
        what.append(f"has other whole numbers in {moved[0]!r}")
    if what:
        raise FormatError(
            f"{', '.join(what)}; compared with {last.source}",
            where=state.source,
            fix="average checkpoints of one run: their layers, ranks and alphas are the same",
        )


def _alphas(state: AdapterState) -> dict[str, float]:
    """Return layer -> alpha; that of PEFT's files is in their config."""
    with state.named_in_errors():
        layers = state.layers()
    return {name: float(of["alpha"]) for name, of in layers.items() if "alpha" in of}


def _is_fixed(key: str, tensor: Tensor) -> bool:
    """Whether a tensor is no trained number: an alpha, or whole numbers such as places."""
    return key.rpartition(".")[2] == "alpha" or not tensor.is_floating_point()


def _mean(key: str, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    last = tensors[-1]
    if _is_fixed(key, last):
        return last.clone()
    total = torch.zeros(last.shape, dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.to(torch.float64), alpha=weight)
    return total.to(last.dtype)
