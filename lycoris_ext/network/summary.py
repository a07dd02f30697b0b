"""What a network is, in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.sites import Site
from lycoris_ext.words import count, file_size

Layers = Mapping[str, AdapterLayer]
Sites = Mapping[str, Site]


def described(layers: Layers, sites: Sites) -> str:
    """Describe a network: "loha on 192 layers of unet, 72 layers of text_encoder"."""
    kinds = Counter(layer.plan.algorithm.name for layer in layers.values())
    models = Counter(site.target for site in sites.values())
    where = ", ".join(f"{count(number, 'layer')} of {target}" for target, number in models.items())
    return f"{' and '.join(kinds)} on {where}"


def summary(layers: Layers, sites: Sites, base_numbers: int, notices: Collection[str]) -> str:
    """Return the lines of ``Network.print_summary``.

    Args:
        layers, sites: the adapters, and the layers that they adapt, by key.
        base_numbers: how many numbers the models hold.
        notices: what else to know.
    """
    parameters = [p for layer in layers.values() for p in layer.parameters()]
    learning = sum(p.numel() for p in parameters if p.requires_grad)
    stored = sum(t.numel() for layer in layers.values() for t in layer.tensors().values())
    share = f", {100 * learning / base_numbers:.4g} % of the models' {base_numbers:,}"
    lines = [
        described(layers, sites),
        *_sizes(layers),
        f"trained: {count(learning, 'number')}{share if base_numbers else ''}",
        f"in a file: {count(stored, 'number')}, {file_size(2 * stored)} in float16",
        *notices,
    ]
    return "\n".join(lines)


def _sizes(layers: Layers) -> list[str]:
    """Return the line with ranks and alphas; none if no adapter has a rank."""
    plans = [layer.plan for layer in layers.values() if layer.plan.has_rank]
    if not plans:
        return []
    ranks, alphas = ({plan.rank for plan in plans}, {plan.alpha for plan in plans})
    return [f"rank {_range(ranks)}, alpha {_range(alphas)}"]


def _range(numbers: Collection[float]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
