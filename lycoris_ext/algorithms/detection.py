"""Find out from the tensors of one layer in a file which algorithm they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from math import prod

from torch import Tensor

from lycoris_ext.algorithms import dora
from lycoris_ext.algorithms.base import Algorithm, Plan, Sizes
from lycoris_ext.algorithms.beside import Beside, beside_in
from lycoris_ext.algorithms.parts import KNOWN_AXES, Alternative, Factor
from lycoris_ext.algorithms.registry import algorithm, algorithm_names
from lycoris_ext.errors import FormatError
from lycoris_ext.functional import LayerSpec
from lycoris_ext.words import and_more

#: An alpha beyond this is as good as infinite: times the sizes of a layer it overflows float32, in
#: which updates are computed.
_MOST_ALPHA = 1e30


def detect(tensors: Mapping[str, Tensor], where: str, layer: LayerSpec | None = None) -> Plan:
    """Find the algorithm of one layer's tensors in a file; return its plan for them.

    The keys must be exactly those that one algorithm stores. The sizes of rank, inputs, outputs and
    so on are then solved from the tensors' shapes.

    Args:
        tensors: key without the layer's prefix -> tensor; ``alpha`` may be missing.
        where: the layer's name, for messages.
        layer: shapes of the adapted layer. None: they are inferred from the tensors, as far as
            possible (stride and padding are not in a file).

    Raises:
        FormatError: no algorithm stores these keys, the shapes contradict each other or the layer,
            weights are whole numbers, or alpha is not one finite number.
    """
    keys = {key for key in tensors if key != "alpha"}
    extra = beside_in(keys)
    own = keys.difference(*(one.keys for one in extra))
    plan = _detect(keys, tensors, where, layer)  # that of full has diff_b as a part of its own
    if plan is None and own:
        plan = _detect(own, tensors, where, layer)
        plan = plan and _with_beside(plan, extra, tensors, where)
    if plan is None:
        raise FormatError(
            f"no algorithm stores the keys [{and_more(map(repr, sorted(keys)), 20)}]",
            where=where,
            fix="the file is incomplete, or of an algorithm that this version does not know",
        )
    _refuse_whole_numbers(plan, tensors, where)
    return plan


def _detect(
    keys: Set[str], tensors: Mapping[str, Tensor], where: str, layer: LayerSpec | None
) -> Plan | None:
    """Return the plan of the algorithm that stores exactly these keys; None if none does."""
    inner = keys - {dora.KEY}
    for candidate in map(algorithm, algorithm_names()):
        if candidate.trains:
            continue  # its files are saved as another algorithm's
        for chosen in _selections(candidate):
            stored = [part[i] for part, i in zip(candidate.parts.values(), chosen, strict=True)]
            factors = [factor for part in stored for factor in part.factors]
            expected = inner if issubclass(candidate.Options, dora.DoraOptions) else keys
            if {factor.key for factor in factors} == expected and _belong(factors, tensors):
                return _unify(candidate, chosen, stored, tensors, where, layer)
    return None


def _with_beside(
    plan: Plan, extra: tuple[Beside, ...], tensors: Mapping[str, Tensor], where: str
) -> Plan:
    """Return the plan with what is stored beside the algorithm's tensors, after checking that.

    Raises:
        FormatError: its shapes or numbers do not fit the layer.
    """
    sizes: Sizes = {"out": plan.layer.out_features}
    for one in extra:
        for factor in one.factors:
            _solve(factor, tuple(tensors[factor.key].shape), sizes, where)
        flaw = one.flaw(tensors, plan.layer)
        if flaw is not None:
            raise FormatError(flaw, where=where, fix="the file is damaged, or of another model")
    axes = ((axis, size) for axis, size in sizes.items() if axis not in KNOWN_AXES)
    return replace(plan, beside=extra, extra_axes=(*plan.extra_axes, *axes))


def _selections(candidate: type[Algorithm]) -> list[tuple[int, ...]]:
    selections: list[tuple[int, ...]] = [()]
    for alternatives in candidate.parts.values():
        selections = [(*head, i) for head in selections for i in range(len(alternatives))]
    return [chosen for chosen in selections if candidate.allows(chosen)]


def _belong(factors: list[Factor], tensors: Mapping[str, Tensor]) -> bool:
    """Return True if the tensors belong to these factors, given that their keys agree.

    Two algorithms, or two forms of one, may store the same keys. diag-OFT and BOFT both store
    ``oft_blocks``; BOFT's has one axis more (its stages), so the number of axes decides. (IA)^3 on
    inputs and (IA)^3 on outputs both store ``weight`` and ``on_input``; the constant in
    ``on_input`` decides.
    """
    return all(
        (factor.constant is None or bool((tensors[factor.key] == factor.constant).all()))
        and (not factor.has_extra_axes or tensors[factor.key].ndim == len(factor.axes.split()))
        for factor in factors
    )


def _unify(
    candidate: type[Algorithm],
    chosen: tuple[int, ...],
    stored: list[Alternative],
    tensors: Mapping[str, Tensor],
    where: str,
    layer: LayerSpec | None,
) -> Plan:
    """Solve the sizes of all axes from the tensors' shapes, check them, and return the plan.

    Raises:
        FormatError: the shapes contradict each other or the layer.
    """
    if layer is not None and layer.is_norm != candidate.of_norms:
        kind = "a normalisation" if layer.is_norm else "no normalisation"
        raise FormatError(
            f"the file has an update of {candidate.name}, the layer is {kind}",
            where=where,
            fix="the adapter was trained on another model family or another layer",
        )
    shared: Sizes = {}
    sizes: list[Sizes] = []
    kernel: tuple[int, ...] = ()
    for part in stored:
        of_part: Sizes = {} if candidate.splits else shared
        if "rank" in shared:
            of_part["rank"] = shared["rank"]
        for factor in part.factors:
            kernel = _solve(factor, tuple(tensors[factor.key].shape), of_part, where) or kernel
        if "rank" in of_part:
            shared["rank"] = of_part["rank"]
        sizes.append(of_part)
    rank = shared.get("rank", 0)
    if rank < 1 and any("rank" in of_part for of_part in sizes):
        raise FormatError("rank 0", where=where, fix="the file is damaged")
    for factor in (factor for part in stored for factor in part.factors):
        if not tensors[factor.key].numel():
            shape = tuple(tensors[factor.key].shape)
            raise FormatError(
                f"{factor.key} has shape {shape}, so it holds no number",
                where=where,
                fix="the file is damaged",
            )
    if layer is None:
        layer = dora.with_kernel(_layer(candidate.widths(tuple(sizes)), kernel), tensors)
    flaw = candidate.flaw(tuple(sizes))
    if flaw is not None:
        raise FormatError(flaw, where=where, fix="the file is damaged")
    plan = Plan(
        candidate,
        layer,
        chosen,
        rank,
        _alpha(tensors, rank, where),
        candidate.part_layers(layer, tuple(sizes)),
        tuple((axis, size) for axis, size in shared.items() if axis not in KNOWN_AXES),
        dora.axis_in_file(tensors, layer, where),
    )
    _check_shapes(plan, tensors, where)
    _check_widths(candidate.widths(tuple(sizes)), layer, where)
    return _with_finite_alpha(plan, where)


def _alpha(tensors: Mapping[str, Tensor], rank: int, where: str) -> float:
    """Return the alpha that is stored; without one it is the rank.

    Raises:
        FormatError: it is not one number.
    """
    stored = tensors.get("alpha")
    if stored is None:
        return rank
    if stored.numel() != 1:
        raise FormatError(
            f"its alpha has the shape {tuple(stored.shape)}, and should be one number",
            where=where,
            fix="the file is damaged",
        )
    return float(stored)


def _refuse_whole_numbers(plan: Plan, tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights without fractions: they are packed in a way that only their writer knows.

    Raises:
        FormatError: a tensor that is trained holds integers or truth values.
    """
    for factor in plan.factors():
        dtype = tensors[factor.key].dtype
        if factor.trained and not dtype.is_floating_point:
            raise FormatError(
                f"{factor.key} holds whole numbers ({str(dtype).removeprefix('torch.')}), and "
                "weights have fractions",
                where=where,
                fix="get the adapter in float16, bfloat16 or float32; this file is damaged, or "
                "quantised in a form that no program reads as an adapter",
            )


def _with_finite_alpha(plan: Plan, where: str) -> Plan:
    """Return the plan, with an alpha of 0 if its alpha is infinite and has no effect.

    LyCORIS writes such files: the rank that was set for two full LoKr matrices, in float16.

    Raises:
        FormatError: alpha is infinite or NaN, and the strength of the update depends on it.
    """
    if abs(plan.alpha) <= _MOST_ALPHA:
        return plan
    if plan.uses_alpha:
        raise FormatError(
            f"its alpha is {plan.alpha:g}, so the strength of its update is lost",
            where=where,
            fix="save the adapter again in float32, with an alpha near its rank; float16 holds no "
            f"alpha above 65504, and none above {_MOST_ALPHA:g} is read",
        )
    return replace(plan, alpha=0.0)


def _check_shapes(plan: Plan, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise FormatError if a tensor has another shape than the plan, apart from axes of size 1."""
    for key, expected in plan.shapes().items():
        found = tuple(tensors[key].shape)
        if _squeezed(found) not in (_squeezed(expected), _squeezed(_flat(expected))):
            raise FormatError(
                f"{key} has shape {found}, the layer needs {expected}",
                where=where,
                fix="the adapter was trained on another model family or another layer",
            )


def _solve(factor: Factor, shape: tuple[int, ...], sizes: Sizes, where: str) -> tuple[int, ...]:
    """Add the sizes of one tensor's axes to ``sizes``; return the shape of its kernel or ()."""
    rest = list(shape)
    kernel: tuple[int, ...] = ()
    for axis in factor.axes.split():
        if axis == "k":
            kernel, rest = tuple(rest), []
        elif axis == "1k":
            rest = []  # ones: compared with the plan's shapes afterwards
        elif axis == "1conv" and len(rest) < 2:
            pass  # of a Linear, which lacks this axis
        elif not rest:
            raise _misfit(factor, shape, where)
        elif axis in ("1", "1conv"):
            rest.pop(0)
        else:
            size = rest.pop(0)
            if sizes.setdefault(axis, size) != size:
                raise FormatError(
                    f"{factor.key} of shape {shape} says {axis} = {size}, "
                    f"other tensors of the layer say {sizes[axis]}",
                    where=where,
                    fix="the file mixes two adapters or is damaged",
                )
    if rest:
        raise _misfit(factor, shape, where)
    return kernel


def _misfit(factor: Factor, shape: tuple[int, ...], where: str) -> FormatError:
    return FormatError(
        f"{factor.key} has shape {shape}, expected axes ({factor.axes})", where=where
    )


def _layer(widths: tuple[int, int], kernel: tuple[int, ...]) -> LayerSpec:
    """Return the layer's shapes as inferred from a file; a flat kernel counts as inputs."""
    ones = (1,) * len(kernel)
    return LayerSpec(*widths, kernel, ones, ones, ones)


def _check_widths(widths: tuple[int, int], layer: LayerSpec, where: str) -> None:
    """Check that the sizes of Kronecker factors or blocks multiply to those of the layer."""
    out, width = widths
    if out not in (0, layer.out_features) or width not in (0, layer.in_features, layer.fan_in):
        raise FormatError(
            f"the tensors are those of a layer of {out or 'any'} x {width or 'any'}, "
            f"this one is {layer.out_features} x {layer.fan_in}",
            where=where,
            fix="the adapter was trained on another model family or another layer",
        )


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape with inputs and kernel in one dimension, as ComfyUI's trainer stores it."""
    return (*shape[:1], prod(shape[1:]))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape without ones: a 1x1 convolution and a Linear store the same numbers."""
    return tuple(size for size in shape if size != 1)
