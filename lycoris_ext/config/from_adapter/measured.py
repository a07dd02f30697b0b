"""Find the options of a network whose layers are adapted as those of a file are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from lycoris_ext.algorithms import Algorithm, Plan, algorithm
from lycoris_ext.config.from_adapter.base_model import FileLayer
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.network.layer_options import LayerOptions

Values = dict[str, Any]
_SIZES = ("network_dim", "network_alpha")
_CONV_SIZES = ("conv_dim", "conv_alpha")
#: Options of sizes -> those of convolutions larger than 1x1.
_CONV = dict(zip(_SIZES, _CONV_SIZES, strict=True))


@dataclass(frozen=True)
class Told:
    """What the metadata of a file tell of its network, and its tensors do not show.

    Attributes:
        trained_as: the algorithm, if its files are those of another one: "dylora"; else "".
        block_size: of DyLoRA.
        rs_lora: whether the alphas in the file are multiplied by sqrt(rank).
    """

    trained_as: str = ""
    block_size: int = 1
    rs_lora: bool = False


def base_options(layers: Sequence[FileLayer], told: Told) -> Values:
    """Return the options for all layers: the commonest algorithm with its options and sizes."""
    normed = [layer for layer in layers if layer.plan.algorithm.of_norms]
    others = [layer for layer in layers if layer not in normed] or normed
    if not others:
        return {}
    chosen = Counter(layer.plan.algorithm for layer in others).most_common(1)[0][0]
    own = [layer for layer in others if layer.plan.algorithm is chosen]
    found: Values = {"algo": chosen.name, **_options(own)}
    if _may_be_dylora(own, told):
        found |= {"algo": told.trained_as, "block_size": told.block_size}
    if told.rs_lora:
        found["rs_lora"] = True
    wide = [layer for layer in own if layer.wide]
    narrow = [layer for layer in own if not layer.wide] or wide
    found |= _sizes(narrow, found, _SIZES, told)
    if any(layer.wide is None for layer in others):
        found |= _for_convolutions(found)
    elif any(layer.wide for layer in others):
        found |= {**_for_convolutions(found), **_sizes(wide, found, _CONV_SIZES, told)}
    else:
        found["conv_dim"] = 0
    if found["algo"] == "lora" and found["conv_dim"]:
        found["algo"] = "locon"
    if normed and others is not normed:
        found["train_norm"] = True
    return _without_rare(own, found, told)


def own_options(layer: FileLayer, base: Values, told: Told) -> Values:
    """Return what must be set for one layer beside the options for all; {} if those fit it."""
    if fits(layer, base, told):
        return {}
    plan = layer.plan
    rank, alpha = _wanted(layer, told)
    now = _possible_sizes(layer, base)
    sizes: Values = {}
    if rank is not None and any(size != rank for size, _ in now):
        sizes["network_dim"] = rank
    if alpha is not None and any(size != alpha for _, size in now):
        sizes["network_alpha"] = alpha
    if fits(layer, _with(base, sizes), told):
        return sizes
    settings: Values = {}
    chosen = LayerOptions(algo=base["algo"]).algorithm
    if plan.algorithm is not _stored_as(chosen) and not plan.algorithm.of_norms:
        settings["algo"] = plan.algorithm.name
    options = _options([layer])
    for name, known in plan.algorithm.Options.options().items():
        if options.get(name, known.default) != base.get(name, known.default):
            settings[name] = options.get(name, known.default)
    if plan.algorithm.split_by == "network_dim":
        sizes |= _split([layer], {**base, **settings}, "network_dim")
    return settings | sizes


def fits(layer: FileLayer, options: Values, told: Told) -> bool:
    """Return True if a new network with these options has the layer as it is in the file."""
    own = _layer_options(options)
    return all(
        _same(_planned(layer, own, rank, alpha, told), layer, told)
        for rank, alpha in _possible_sizes(layer, options)
    )


def is_planned(layer: FileLayer, options: LayerOptions, rank: int, alpha: float) -> bool:
    """Return True if a layer with these options is adapted as it is in the file."""
    told = Told(rs_lora=options.rs_lora)
    return _same(_planned(layer, options, rank, alpha, told), layer, told)


def _may_be_dylora(layers: Sequence[FileLayer], told: Told) -> bool:
    """Whether the layers may have been trained by the algorithm that the metadata tell."""
    if not told.trained_as or algorithm(told.trained_as).trains != layers[0].plan.algorithm.name:
        return False
    return not any(layer.plan.rank % told.block_size or layer.plan.uses_core for layer in layers)


def _without_rare(layers: Sequence[FileLayer], options: Values, told: Told) -> Values:
    """Leave out options that fewer layers were trained with than without."""
    shown = [layer.plan.shown_options() for layer in layers]
    for name in {name for one in shown for name in one if name in options}:
        if all(name in one for one in shown):
            continue
        fewer = {option: value for option, value in options.items() if option != name}
        if sum(fits(layer, fewer, told) for layer in layers) > sum(
            fits(layer, options, told) for layer in layers
        ):
            options = fewer
    return options


def _for_convolutions(values: Values) -> Values:
    """Return the sizes among some options as those of convolutions larger than 1x1."""
    return {_CONV[name]: value for name, value in values.items() if name in _CONV}


def _options(layers: Sequence[FileLayer]) -> Values:
    """Return the options with which an algorithm makes these layers; all are of one algorithm."""
    found: Values = {}
    for layer in layers:
        for name, value in layer.plan.shown_options().items():
            exact = _shortest(value, _dtype(layer)) if isinstance(value, float) else value
            found.setdefault(name, exact)
    chosen = layers[0].plan.algorithm
    if chosen.reads("full_matrix") and not any(layer.plan.has_rank for layer in layers):
        found["full_matrix"] = True
    if chosen.split_by and chosen.split_by not in _SIZES:
        found |= _split(layers, {"algo": chosen.name, **found}, chosen.split_by)
    return found


def _split(layers: Sequence[FileLayer], options: Values, name: str) -> Values:
    """Return the option that says how outputs are split, at a value that splits these layers so.

    If no value does it for all of them, that of the commonest layer is returned.

    Args:
        options: the other options.
        name: of the option to return.
    """
    alike: dict[object, list[FileLayer]] = {}
    for layer in layers:
        plan = layer.plan
        key = plan.layer.out_features, plan.layer.in_features, plan.extra_axes, plan.part_layers
        alike.setdefault((*key, plan.chosen), []).append(layer)
    groups = sorted(alike.values(), key=len, reverse=True)
    samples = [group[0] for group in groups]
    chosen = samples[0].plan.algorithm
    usual = LayerOptions.options()[chosen.split_by].default
    widest = max(layer.plan.layer.out_features for layer in samples)
    own = {name: value for name, value in options.items() if chosen.reads(name)}

    def splits(layer: FileLayer, size: int) -> bool:
        plan = layer.plan
        if not chosen.matches_split(plan, size):
            return False
        if chosen.split_by in _SIZES:
            return True
        settings = chosen.Options(**{**own, chosen.split_by: size})
        new = chosen.plan(plan.layer, plan.rank or 1, plan.alpha, settings)
        return _parts(new, layer.sure) == _parts(plan, layer.sure)

    nearest: Values = {}
    for size in (usual, *range(1, widest + 1)):
        if splits(samples[0], size):
            nearest = nearest or {name: size}
            if all(splits(layer, size) for layer in samples[1:]):
                return {name: size}
    return nearest


def _parts(plan: Plan, sure: bool) -> list[tuple[int, int]]:
    """Return outputs and inputs of a plan's matrices; if not sure, 0 for inputs with a kernel."""
    known = [True] + [sure or bool(plan.layer.kernel)] * len(plan.part_layers)
    return [
        (part.out_features, part.in_features if told else 0)
        for part, told in zip(plan.part_layers, known, strict=False)
    ]


def _sizes(
    layers: Sequence[FileLayer], options: Values, names: tuple[str, str], told: Told
) -> Values:
    """Return the commonest rank and alpha of some layers as two options, as far as there are."""
    if not layers:
        return {}
    if layers[0].plan.algorithm.split_by in _SIZES:
        return _split(layers, options, names[0])
    wanted = Counter(_wanted(layer, told) for layer in layers)
    common = max(wanted, key=lambda size: (size[0] is not None, size[1] is not None, wanted[size]))
    return {name: size for name, size in zip(names, common, strict=True) if size is not None}


def _wanted(layer: FileLayer, told: Told) -> tuple[int | None, float | None]:
    """Return the rank and alpha that options must set; None: any will do."""
    plan, stored = layer.plan, layer.tensors.get("alpha")
    if plan.algorithm.split_by in _SIZES:
        return None, None  # alpha is the constraint
    if plan.algorithm.reads("full_matrix") and not plan.has_rank:
        # Of two full matrices the alpha is the rank that was set, which has no effect.
        rank = int(plan.alpha)
        return rank if rank == plan.alpha and rank >= 1 else None, None
    if plan.has_rank and plan.alpha > 0:
        factor = plan.rank**0.5 if told.rs_lora else 1.0
        return plan.rank, _shortest(plan.alpha, _dtype(layer), factor)
    if plan.has_rank or stored is None or plan.alpha <= 0 or not plan.algorithm.stores_alpha:
        return plan.rank or None, None
    return None, None if told.rs_lora else _shortest(plan.alpha, _dtype(layer))


def _possible_sizes(layer: FileLayer, options: Values) -> list[tuple[int, float]]:
    """Return (rank, alpha) that the options give a layer: two of them if its kind is unsure."""
    narrow: tuple[int, float] = options.get("network_dim", 8), options.get("network_alpha", 1.0)
    wide = options.get("conv_dim", narrow[0]), options.get("conv_alpha", narrow[1])
    return [wide] if layer.wide else [narrow] if layer.wide is False else [narrow, wide]


def _with(base: Values, settings: Values) -> Values:
    """Return the options of a layer for which an override sets some."""
    return {**base, **settings, **_for_convolutions(settings)}


def _planned(
    layer: FileLayer, options: LayerOptions | None, rank: int, alpha: float, told: Told
) -> Plan | None:
    """Return how a new network would adapt a layer; None if it cannot."""
    plan = layer.plan
    if options is None:
        return None
    if told.rs_lora:
        alpha *= rank**0.5
    try:
        if plan.algorithm.of_norms:
            return plan.algorithm.plan(plan.layer, rank, alpha)
        if _stored_as(options.algorithm) is not plan.algorithm:
            return None  # which may not be able to plan sizes that this algorithm does not tell
        return options.algorithm.plan(plan.layer, rank, alpha, options.algorithm_options)
    except LycorisExtError:
        return None


def _layer_options(values: Values) -> LayerOptions | None:
    """Return the options of a layer among all options of a network; None if they contradict."""
    return _checked(tuple(pair for pair in values.items() if not isinstance(pair[1], list)))


@lru_cache(maxsize=256)
def _checked(values: tuple[tuple[str, Any], ...]) -> LayerOptions | None:
    known = LayerOptions.options()
    try:
        return LayerOptions(**{name: value for name, value in values if name in known})
    except LycorisExtError:
        return None


def _same(new: Plan | None, layer: FileLayer, told: Told) -> bool:
    """Whether a new plan stores the layer's tensors, with its rank and alpha."""
    plan = layer.plan
    if new is None or _stored_as(new.algorithm) is not plan.algorithm:
        return False
    if _form(new, layer.sure) != _form(plan, layer.sure):
        return False
    rank, alpha = _wanted(layer, told)
    if plan.algorithm.split_by in _SIZES:
        alpha = plan.alpha
    if rank is not None and rank != new.rank:
        return False
    dtype = _dtype(layer)
    return alpha is None or _rounded(new.alpha, dtype) == _rounded(plan.alpha, dtype)


def _form(plan: Plan, sure: bool) -> tuple[object, ...]:
    """Return in which form a plan stores its tensors, apart from rank and alpha."""
    return plan.chosen, plan.dora, dict(plan.extra_axes), _parts(plan, sure)


def _stored_as(chosen: type[Algorithm]) -> type[Algorithm]:
    """Return the algorithm in whose form a network of an algorithm is saved."""
    return algorithm(chosen.trains or chosen.name)


def _shortest(value: float, dtype: torch.dtype, factor: float = 1.0) -> float:
    """Return the shortest decimal number that, times a factor, is rounded to a value in a file.

    In a file that was saved in half precision an alpha of 0.1 is 0.0999755859375.
    """
    for digits in range(1, 17):
        short = float(f"{value / factor:.{digits}g}")
        if _rounded(short * factor, dtype) == _rounded(value, dtype):
            return short
    return value / factor


def _rounded(value: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(value, dtype=torch.float64).to(dtype))


def _dtype(layer: FileLayer) -> torch.dtype:
    """Return the precision in which the file holds the layer's alpha."""
    stored = layer.tensors.get("alpha")
    return torch.float32 if stored is None or not stored.is_floating_point() else stored.dtype
