"""What is strange about an adapter file that can be read: damage, and numbers without a use.

None of it is an error, because a file that another tool has edited must stay usable. Whoever reads
an adapter for a user shows these sentences, in the way in which it shows its other notes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod

import torch
from torch import Tensor

from lycoris_ext.algorithms import Plan
from lycoris_ext.formats.adapter_file import AdapterState
from lycoris_ext.formats.hashes import HashCheck

#: The largest number of float16, in which base models are mostly loaded. Weights of Stable
#: Diffusion are below 100; an update beyond this makes pictures black or NaN.
LARGEST = 65504.0
NO_EFFECT = "it changes nothing: the updates of all its layers are zero"

Tensors = Mapping[str, Tensor]


def doubts(state: AdapterState, plans: Mapping[str, Plan]) -> tuple[str, ...]:
    """Return what a user should know about the content of an adapter, one sentence each.

    Args:
        state: the adapter; its hash is compared if the state is as a file holds it.
        plans: what ``detect`` found for its layers, by any names that ``state.layers()`` has.
    """
    return (*changed(state.hash_check()), *doubtful_values(plans, state.layers()))


def changed(check: HashCheck | None) -> tuple[str, ...]:
    """Return a sentence if the tensors are not those that the file's stored hash is of."""
    if check is None or check.agrees is not False:
        return ()
    said = (
        f"its tensors do not fit the hash that is stored in the file ({check.computed[:12]}, not "
        f"{check.stored[:12]}): the file is damaged, or a tool has changed it and kept the old "
        "hash; unless you know of such a change, get the file again"
    )
    return (said,)


def doubtful_values(plans: Mapping[str, Plan], layers: Mapping[str, Tensors]) -> tuple[str, ...]:
    """Return what is strange about the numbers in the layers of an adapter, one sentence each.

    Args:
        plans: layer's name -> what ``detect`` found.
        layers: layer's name -> key -> tensor; more layers than plans do no harm.
    """
    found = {name: (plan, layers[name]) for name, plan in plans.items()}
    if not found:
        return ()
    if not any(changes_something(plan, tensors) for plan, tensors in found.values()):
        return (NO_EFFECT,)
    return tuple(_strange(found.values()))


def changes_something(plan: Plan, tensors: Tensors) -> bool:
    """Return whether a layer has moved from where a fresh adapter begins, which changes nothing."""
    if plan.dora is not None:
        return True
    if plan.has_rank and not plan.alpha and not plan.beside:
        return False
    at_zero = [factor.key for factor in plan.factors() if factor.zero]
    keys = at_zero or [key for key in tensors if key != "alpha"]
    return any(bool(_readable(tensors[key]).count_nonzero()) for key in keys if key in tensors)


def largest(plan: Plan, tensors: Tensors) -> float:
    """Return the largest number of a layer's update, or a bound of it that is below ``LARGEST``.

    If the update depends on the weight of the model, it is the bound in any case.
    """
    sizes = {
        factor.key: _size(tensors[factor.key])
        for factor in plan.factors()
        if factor.trained and tensors[factor.key].numel()
    }
    parts = [
        prod(sizes.get(factor.key, 0.0) for factor in part.factors)
        * float(max(plan.rank, 1)) ** (len(part.factors) - 1)
        for _, part, _ in plan.stored
    ]
    of_parts = {factor.key for _, part, _ in plan.stored for factor in part.factors}
    beside = [size for key, size in sizes.items() if key not in of_parts]
    bound = max(abs(plan.scale) * max([*parts, prod(parts)]), *beside, 0.0)
    if bound <= LARGEST or plan.needs_base:
        return bound
    with torch.no_grad():
        shapes = plan.shapes()
        whole = {key: tensors[key].detach().float().reshape(shapes[key]) for key in shapes}
        update = plan.delta(whole).dense().abs().amax()
    return max(float(update.nan_to_num(nan=torch.inf, posinf=torch.inf)), *beside, 0.0)


def _size(tensor: Tensor) -> float:
    """Return the largest magnitude in a tensor."""
    low, high = torch.aminmax(_readable(tensor))
    return max(-float(low), float(high))


def _readable(tensor: Tensor) -> Tensor:
    """Return a tensor in a dtype that torch reduces, which float8 is not."""
    tensor = tensor.detach()
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor


def _strange(layers: Collection[tuple[Plan, Tensors]]) -> Iterator[str]:
    alphas = [plan.alpha for plan, _ in layers if plan.has_rank]
    for number, what in (
        (sum(alpha < 0 for alpha in alphas), "negative, which turns the update around"),
        (sum(alpha == 0 for alpha in alphas), "0, so that the update is zero"),
    ):
        if number:
            yield f"{_some(number, len(layers))} an alpha that is {what}"
    sizes = [largest(plan, tensors) for plan, tensors in layers]
    wrong = [size for size in sizes if not size <= LARGEST]
    if wrong:
        yield (
            f"{_some(len(wrong), len(layers))} an update with numbers up to {max(wrong):.3g}, "
            f"which overflows: models in float16 hold no number above {LARGEST:.0f}; pictures "
            "become black or noise, so the file is damaged or its training has diverged"
        )


def _some(number: int, total: int) -> str:
    if total == 1:
        return "its only layer has"
    return f"{number} of its {total} layers {'has' if number == 1 else 'have'}"
