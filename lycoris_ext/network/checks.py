"""What cannot be built: options without effect, ranks larger than the layers, packed weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from lycoris_ext.algorithms import Plan, algorithm_options
from lycoris_ext.errors import ConfigError, Faults
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.selection import LayerChoice
from lycoris_ext.network.sites import Site
from lycoris_ext.words import count

Planned = Sequence[tuple[LayerChoice, Plan]]

_OTHERWISE = "use plain loha or lora; or exclude the layer, or load the model unquantised"


def check_plans(planned: Planned) -> None:
    """Refuse what the layers that it is for cannot do.

    Raises:
        ConfigError: options that no algorithm among them reads, ranks above all of them, or a
            formula that reads a packed weight.
    """
    Faults(
        [*_unread_options(planned), *_ranks_too_large(planned), *_packed_weights(planned)]
    ).raise_all()


def check_path(choice: LayerChoice, layer: AdapterLayer) -> None:
    """Refuse a layer that must be adapted on activations, and cannot.

    Raises:
        ConfigError: ``bypass_mode``, or a packed weight, and no way through thin activations.
    """
    site, name = choice.site, choice.options.algo
    if not (layer.bypass_mode or is_packed(site)):
        return
    has_way = layer.delta(FrozenLayer.of(site.module, site.spec)).thin_cost() is not None
    if layer.bypass_mode and not (has_way and site.spec.groups == 1):
        raise ConfigError(
            "bypass_mode goes through thin activations, and "
            + ("a grouped convolution" if has_way else f'algo = "{name}"')
            + " has no such way",
            where=f"{site.name}, {choice.option('bypass_mode')}",
            fix="remove bypass_mode, set it to false for this layer in overrides, or "
            + ("exclude the layer" if has_way else "choose another algorithm, such as loha"),
        )
    if is_packed(site) and not has_way:
        raise ConfigError(
            f"{described(site)}: it can be adapted on its activations alone, and "
            f'algo = "{name}" has no such way',
            where=f"{site.name}, {choice.option('algo')}",
            fix=_OTHERWISE,
        )


def check_mergeable(sites: Sequence[Site]) -> None:
    """Refuse to add an update to weights that are packed.

    Raises:
        ConfigError: some are; the first is named.
    """
    packed = [site for site in sites if is_packed(site)]
    if packed:
        others = len(packed) - 1
        more = f" (and {count(others, 'more layer')})" if others else ""
        raise ConfigError(
            f"{described(packed[0])}, which no update can be added to{more}",
            where=packed[0].name,
            fix="inject the network instead of merging it, or load the model unquantised",
        )


def is_packed(site: Site) -> bool:
    """Whether the layer's weight is not the numbers that it computes with, as quantised ones."""
    return not site.spec.holds(site.module.weight)


def described(site: Site) -> str:
    """A packed layer in words, with what it holds."""
    weight = site.module.weight
    form = ""
    if isinstance(weight, Tensor):
        form = f" of {str(weight.dtype).removeprefix('torch.')} {tuple(weight.shape)}"
    return f"{type(site.module).__name__} holds a packed weight{form}"


def _unread_options(planned: Planned) -> Iterator[ConfigError]:
    """Options of an algorithm that none of the layers that they were set for reads."""
    readers = {known.name: known.kinds for known in algorithm_options()}
    unread: dict[str, tuple[str, LayerChoice]] = {}
    read: set[str] = set()
    for choice, plan in planned:
        for name, _ in choice.options.more:
            option = choice.option(name)
            if plan.algorithm.name in readers[name]:
                read.add(option)
            else:
                unread.setdefault(option, (name, choice))
    for option, (name, choice) in unread.items():
        if option in read:
            continue
        yield ConfigError(
            f'algo = "{choice.options.algo}" has no {name} (first layer: {choice.site.name})',
            where=option,
            fix=f"remove {name}, or choose an algorithm that has it: {', '.join(readers[name])}",
        )


def _ranks_too_large(planned: Planned) -> Iterator[ConfigError]:
    """Ranks that are larger than every layer that they were set for.

    Only then: with usual settings the first and the last convolution of a U-Net are narrower than
    the rank, and files must have the sizes that everybody's have (docs/decisions/009).
    """
    widest: dict[str, tuple[int, LayerChoice, Plan]] = {}
    for choice, plan in planned:
        option = choice.option("rank")
        useful = plan.rank if plan.useful_rank is None else plan.useful_rank
        if option not in widest or useful > widest[option][0]:
            widest[option] = useful, choice, plan
    for option, (useful, choice, plan) in widest.items():
        if plan.rank > useful:
            spec = plan.layer
            yield ConfigError(
                f"rank {plan.rank} is larger than every layer it is for; the largest, "
                f"{choice.site.name}, has a weight of {spec.out_features} x {spec.fan_in}",
                where=option,
                fix=f"use {useful} or less",
            )


def _packed_weights(planned: Planned) -> Iterator[ConfigError]:
    """The first layer whose weight is packed, although a formula reads it."""
    for choice, plan in planned:
        site = choice.site
        if not (plan.needs_base_weight and is_packed(site)):
            continue
        option, reader = "algo", f'algo = "{choice.options.algo}"'
        if plan.dora is not None:
            option, reader = "dora_wd", "dora_wd"
        yield ConfigError(
            f"{described(site)}, and {reader} reads the weight's numbers",
            where=f"{site.name}, {choice.option(option)}",
            fix=_OTHERWISE,
        )
        return  # all layers alike would be a page
