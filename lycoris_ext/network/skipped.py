"""The layers that have a weight but get no adapter, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from lycoris_ext.functional import spec_of
from lycoris_ext.network.sites import Targets
from lycoris_ext.words import and_more

_KINDS: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    (
        (nn.MultiheadAttention,),
        "multiplies by its weights without calling a layer; adapters need separate Linear layers",
    ),
    ((nn.Embedding, nn.EmbeddingBag), "looks vectors up and multiplies by no matrix"),
    ((_ConvTransposeNd,), "is a transposed convolution, for which there are no adapters"),
    ((nn.RNNBase, nn.RNNCellBase), "computes with all of its weights in one step"),
)
_OTHER = "is of a kind for which there are no adapters"


def skipped_layers(targets: Targets) -> dict[str, str]:
    """Return model and path of each layer that cannot be adapted -> its class and the reason.

    Layers count that have a matrix of weights; normalisations do not.

    Args:
        targets: models by name.
    """
    skipped: dict[str, str] = {}
    for target, model in targets.items():
        for path, module in model.named_modules():
            name = f"{target}.{path}" if path else target
            if name.rpartition(".")[0] in skipped:  # the output of a MultiheadAttention
                continue
            why = _reason(module)
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
    """Say why a module cannot be adapted; None if it can be, or has no matrix of its own."""
    for kinds, why in _KINDS:
        if isinstance(module, kinds):
            return why
    if spec_of(module) is not None:
        return None
    own = dict(module.named_parameters(recurse=False))
    return _OTHER if "weight" in own and own["weight"].ndim > 1 else None
