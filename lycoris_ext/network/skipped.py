"""The layers that have a matrix of weights but get no adapter, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from torch import nn

from lycoris_ext.functional import spec_of
from lycoris_ext.functional.inputs_first import unfit
from lycoris_ext.network.sites import Targets
from lycoris_ext.words import and_more

_KINDS: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    (
        (nn.MultiheadAttention,),
        "multiplies by its weights without calling a layer; adapters need separate Linear layers",
    ),
    ((nn.RNNBase, nn.RNNCellBase), "computes with all of its weights in one step"),
)
_ON_REQUEST = "is adapted only if a pattern of include fits it and no layer of another kind"
_OTHER = "is of a kind for which there are no adapters"


def skipped_layers(targets: Targets, adapted: Collection[str] = ()) -> dict[str, str]:
    """Return model and path of each layer that gets no adapter -> its class and the reason.

    Layers count whose kind no preset selects and that have a matrix of weights; normalisations do
    not count.

    Args:
        targets: models by name.
        adapted: names of the layers that get one.
    """
    skipped: dict[str, str] = {}
    for target, model in targets.items():
        for path, module in model.named_modules():
            name = f"{target}.{path}" if path else target
            if name.rpartition(".")[0] in skipped:  # the output of a MultiheadAttention
                continue
            why = None if name in adapted else _reason(module)
            if why:
                skipped[name] = f"{type(module).__name__} {why}"
    return skipped


def listed(skipped: Mapping[str, str], names: Iterable[str]) -> str:
    """Write some of the skipped layers, a reason once: "a, b (Embedding looks ... up); c (...)"."""
    by_reason: dict[str, list[str]] = {}
    for name in names:
        by_reason.setdefault(skipped[name], []).append(name)
    return "; ".join(f"{and_more(found)} ({why})" for why, found in by_reason.items())


def _reason(module: nn.Module) -> str | None:
    """Say why a module is not adapted; None if presets select its kind, or it has no matrix."""
    for kinds, why in _KINDS:
        if isinstance(module, kinds):
            return why
    spec = spec_of(module)
    if spec is not None:
        return None if spec.has_op else _ON_REQUEST
    not_right = unfit(module)
    if not_right is not None:
        return not_right
    own = dict(module.named_parameters(recurse=False))
    return _OTHER if "weight" in own and own["weight"].ndim > 1 else None
