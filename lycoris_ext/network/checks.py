"""Checks of a network before it is built or merged.

They refuse options without effect, ranks larger than every layer, and formulas that read the values
of a quantised weight. Messages call a quantised weight "packed".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from lycoris_ext.algorithms import Plan, algorithm_options
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.selection import SelectedLayer
from lycoris_ext.network.sites import Site
from lycoris_ext.words import count

LayerPlans = Sequence[tuple[SelectedLayer, Plan]]

_OTHERWISE = "use plain loha or lora; or exclude the layer, or load the model unquantised"


def check_plans(planned: LayerPlans) -> None:
    """Refuse options that cannot work for any of the layers that they were set for.

    Raises:
        ConfigError: all faults at once: an option is read by no algorithm of these layers, a rank
            is larger than every one of them, or a formula reads a weight that is quantised.
    """
    Faults(
        [*_unread_options(planned), *_ranks_too_large(planned), *_packed_weights(planned)]
    ).raise_all()


def check_path(selected: SelectedLayer, layer: AdapterLayer) -> None:
    """Refuse an adapter that must multiply activations by its low-rank factors, but has none.

    Raises:
        ConfigError: ``bypass_mode`` is set, the weight is quantised, or each sample has an update
            of its own, and the algorithm or the layer needs the full matrix of the update.
    """
    site, name = selected.site, selected.options.algo
    kind = type(site.module).__name__
    if layer.plan.algorithm.takes_timesteps and not site.spec.has_op:
        raise ConfigError(
            f'algo = "{name}" uses other ranks for each sample, which {kind} cannot do',
            where=f"{site.name}, {selected.option('algo')}",
            fix="choose another algorithm for this layer, such as lora",
        )
    if not (layer.bypass_mode or is_packed(site)):
        return
    base = FrozenLayer.of(site.module, site.spec)
    has_way = site.spec.has_op and layer.delta(base).thin_cost() is not None
    is_algo = site.spec.has_op and not has_way
    of_what = f'algo = "{name}"' if is_algo else kind
    if layer.bypass_mode and not (has_way and site.spec.groups == 1):
        raise ConfigError(
            "bypass_mode computes the adapter's output from its factors, up(down(x)), and "
            + ("a grouped convolution" if has_way else of_what)
            + " cannot be computed so",
            where=f"{site.name}, {selected.option('bypass_mode')}",
            fix="remove bypass_mode, set it to false for this layer in overrides, or "
            + ("choose another algorithm, such as loha" if is_algo else "exclude the layer"),
        )
    if is_packed(site) and not has_way:
        raise ConfigError(
            f"{described(site)}, so the adapter's output must come from its factors, up(down(x)), "
            f"and {of_what} cannot be computed so",
            where=f"{site.name}, {selected.option('algo')}",
            fix=_OTHERWISE,
        )


def check_mergeable(sites: Sequence[Site]) -> None:
    """Refuse to merge an update into weights that cannot take it.

    Raises:
        ConfigError: weights are quantised, computed from other tensors, not in memory, or shared
            with another layer. All faults at once, each with its first layer and the number of the
            others.
    """
    refused: dict[str, list[ConfigError]] = {}
    for site in sites:
        what, fix = "", "inject the network instead of merging it"
        if is_packed(site):
            kind, what = "packed", f"{described(site)}, which no update can be added to"
            fix += ", or load the model unquantised"
        elif site.weight.is_meta:
            kind, what = "meta", "its weight is on the meta device: the numbers are not in memory"
        elif not _is_own(site.weight, site.module):
            kind = "computed"
            what = "its weight is computed anew at every use (weight_norm, parametrize)"
        elif site.shared:
            kind, what = "shared", f"its weight is also that of {site.shared}, which would change"
        if what:
            refused.setdefault(kind, []).append(ConfigError(what, where=site.name, fix=fix))
    faults = Faults()
    for first, *others in refused.values():
        more = f" (and {count(len(others), 'more layer')})" if others else ""
        faults.found.append(ConfigError(f"{first.what}{more}", where=first.where, fix=first.fix))
    faults.raise_all()


def _is_own(weight: Tensor, module: nn.Module) -> bool:
    """Whether a weight is a parameter or buffer of the module, not computed from others."""
    owned = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return any(weight is tensor for tensor in owned)


def is_packed(site: Site) -> bool:
    """Return True if an update cannot be added to the layer's weight as it is stored.

    That is so for quantised weights (8-bit, NF4, fp8): they have another tensor class, dtype or
    shape than the layer's plain weight; see ``LayerSpec.holds``.
    """
    return not site.spec.holds(site.module.weight)


def described(site: Site) -> str:
    """Describe a quantised layer: "Linear4bit holds a packed weight of uint8 (8, 1)"."""
    weight = site.module.weight
    form = ""
    if isinstance(weight, Tensor):
        form = f" of {str(weight.dtype).removeprefix('torch.')} {tuple(weight.shape)}"
    return f"{type(site.module).__name__} holds a packed weight{form}"


def _unread_options(planned: LayerPlans) -> Iterator[ConfigError]:
    """Yield an error for each algorithm's option that none of its layers' algorithms reads."""
    readers = {known.name: known.kinds for known in algorithm_options()}
    unread: dict[str, tuple[str, SelectedLayer]] = {}
    read: set[str] = set()
    for selected, plan in planned:
        for name, _ in selected.options.more:
            option = selected.option(name)
            if plan.algorithm.name in readers[name]:
                read.add(option)
            else:
                unread.setdefault(option, (name, selected))
    for option, (name, selected) in unread.items():
        if option in read:
            continue
        yield ConfigError(
            f'algo = "{selected.options.algo}" has no {name} (first layer: {selected.site.name})',
            where=option,
            fix=f"remove {name}, or choose an algorithm that has it: {', '.join(readers[name])}",
        )


def _ranks_too_large(planned: LayerPlans) -> Iterator[ConfigError]:
    """Yield an error for each rank that is larger than every layer that it was set for.

    A rank that is too large for some of its layers is fine: with usual settings it is so for the
    first and the last convolution of a U-Net, and files must have the same sizes as those of other
    trainers (docs/decisions/009).
    """
    widest: dict[str, tuple[int, SelectedLayer, Plan]] = {}
    for selected, plan in planned:
        option = selected.option("rank")
        useful = plan.rank if plan.useful_rank is None else plan.useful_rank
        if option not in widest or useful > widest[option][0]:
            widest[option] = useful, selected, plan
    for option, (useful, selected, plan) in widest.items():
        if plan.rank > useful:
            spec = plan.layer
            yield ConfigError(
                f"rank {plan.rank} is larger than every layer it is for; the largest, "
                f"{selected.site.name}, has a weight of {spec.out_features} x {spec.fan_in}",
                where=option,
                fix=f"use {useful} or less",
            )


def _packed_weights(planned: LayerPlans) -> Iterator[ConfigError]:
    """Yield an error for the first layer whose formula reads the values of a quantised weight."""
    for selected, plan in planned:
        site = selected.site
        if not (plan.needs_base_weight and is_packed(site)):
            continue
        option, reader = "algo", f'algo = "{selected.options.algo}"'
        if plan.dora is not None:
            option, reader = "dora_wd", "dora_wd"
        yield ConfigError(
            f"{described(site)}, and {reader} reads the weight's numbers",
            where=f"{site.name}, {selected.option(option)}",
            fix=_OTHERWISE,
        )
        return  # naming all of them would fill a page
