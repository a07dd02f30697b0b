"""The optimizer's parameter groups: one for each model, learning rate and LoRA+ role."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.selection import LayerRate
from lycoris_ext.network.sites import DENOISERS, Site

Groups = list[dict[str, Any]]


def param_groups(
    layers: Mapping[str, AdapterLayer],
    sites: Mapping[str, Site],
    rates: Mapping[str, LayerRate],
    target_rates: Mapping[str, float],
    ratios: Mapping[str, float | None],
) -> Groups:
    """Return the optimizer's parameter groups: dicts with "params", "lr" and "name".

    A layer whose rate is 0 is left out, and its parameters are frozen.

    Args:
        layers, sites: the adapters, and the layers that they adapt, by key.
        rates: key -> rate of a layer that differs from its model's.
        target_rates: model's name -> its learning rate.
        ratios: model's name -> LoRA+ ratio: the factors on the output side ("up", "B") get this
            many times their layer's rate; None: all factors get the same rate.

    Raises:
        ConfigError: nothing is left to train, or a ratio is given and no adapter has factors on
            the output side.
    """
    groups: dict[tuple[str, float, bool], dict[str, Any]] = {}
    for key, layer in layers.items():
        target = sites[key].target
        rate = rates.get(key, LayerRate()).of(target_rates[target])
        layer.requires_grad_(rate != 0)
        if not rate:
            continue
        ratio = ratios[target]
        outputs = layer.plan.output_keys if ratio is not None else frozenset()
        for name, parameter in layer.named_parameters():
            plus = name in outputs
            if (target, rate, plus) not in groups:
                words = [target] if rate == target_rates[target] else [target, f"{rate:g}"]
                groups[target, rate, plus] = {
                    "params": [],
                    "lr": rate * (ratio or 1.0) if plus else rate,
                    "name": " ".join([*words, "plus"] if plus else words),
                }
            groups[target, rate, plus]["params"].append(parameter)
    if not groups:
        raise ConfigError("every learning rate is 0", where="learning_rate", fix="set one above 0")
    _check_ratios(groups, ratios)
    return list(groups.values())


def rates_by_target(
    targets: Collection[str], models: Collection[str], of_all: Any, of_unet: Any, of_texts: Any
) -> dict[str, Any]:
    """Give each adapted model its learning rate, or its LoRA+ ratio.

    Args:
        targets: names of the adapted models.
        models: names of all models that the network was built for, adapted or not.
        of_all: for models that get none by the other two.
        of_unet: for denoisers, or None.
        of_texts: for all text encoders; or a list with one for each text encoder in ``models``, of
            which the last one counts for the remaining ones; or None.
    """
    encoders = [name for name in TEXT_ENCODERS if name in models]
    rates = list(of_texts) if isinstance(of_texts, Sequence) else [of_texts]
    rates += [rates[-1] if rates else None] * len(encoders)
    given = {**dict.fromkeys(DENOISERS, of_unet), **dict(zip(encoders, rates, strict=False))}
    found = {target: given.get(target) for target in targets}
    return {target: of_all if value is None else value for target, value in found.items()}


def _check_ratios(
    groups: Mapping[tuple[str, float, bool], object], ratios: Mapping[str, float | None]
) -> None:
    asked = {target for target, _, _ in groups if ratios[target] is not None}
    if asked and not any(plus for _, _, plus in groups):
        raise ConfigError(
            f"it sets the rate of factors on the output side, and no adapter of "
            f"{', '.join(sorted(asked))} is stored as a low-rank product",
            where="loraplus_lr_ratio",
            fix="remove the ratio, or choose an algorithm such as lora or loha",
        )
