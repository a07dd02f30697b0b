"""DoRA applied to another algorithm: its options and its magnitudes; docs/algorithms/dora.md.

Source: DoRA, Liu et al. 2024, arXiv:2402.09353; the names and the input axis are LyCORIS's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from lycoris_ext.algorithms.parts import Factor
from lycoris_ext.errors import ConfigError, FormatError, LycorisExtError
from lycoris_ext.functional import LayerSpec, weight_norms
from lycoris_ext.options import Section, option

KEY = "dora_scale"

AXES = {
    False: Factor(KEY, "1 in 1k"),
    True: Factor(KEY, "out 1 1k"),
}
"""How magnitudes are stored: False: one for each input channel, True: for each output channel."""


@dataclass(frozen=True, init=False)
class DoraOptions(Section):
    """The options of DoRA, for algorithms to which it can be applied."""

    dora_wd: bool = option(
        False,
        "DoRA: train the length (magnitude) of the weights of each channel separately from their "
        "direction.",
        aliases=("weight_decompose",),
    )
    wd_on_output: bool = option(
        False,
        "With dora_wd: train a length for each output channel instead of each input channel. "
        "ComfyUI computes files with lengths of output channels wrongly.",
        aliases=("wd_on_out",),
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if self.wd_on_output and not self.dora_wd:
            yield ConfigError(
                "wd_on_output says where DoRA's magnitudes are, and dora_wd is false",
                where="wd_on_output",
                fix="set dora_wd = true, or remove wd_on_output",
            )


def initial_magnitudes(
    factor: Factor, weight: Annotated[Tensor, "out in *kernel"]
) -> Annotated[Tensor, "channels"]:
    """Return DoRA's initial magnitudes: the norms of the frozen weight along one axis.

    With these a new adapter changes nothing.

    Args:
        factor: one of ``AXES``: decides between input and output channels.
        weight: (out, in, *kernel), of the frozen layer.
    """
    return weight_norms(weight, on_input=factor is AXES[False])


def with_kernel(layer: LayerSpec, tensors: Mapping[str, Tensor]) -> LayerSpec:
    """Separate the kernel from the inputs of a layer that was inferred from a file.

    Some algorithms store inputs and kernel in one dimension, so ``layer.in_features`` may be inputs
    * kernel area. DoRA's magnitudes of input channels give the true number of inputs.

    Returns:
        A convolution with a flat kernel if the magnitudes show one; otherwise the layer unchanged.
    """
    shape = tensors[KEY].shape if KEY in tensors else ()
    if layer.kernel or len(shape) < 3 or shape[0] != 1 or not shape[1]:
        return layer
    if layer.in_features % shape[1]:
        return layer
    area = layer.in_features // shape[1]
    return LayerSpec(layer.out_features, shape[1], (area,), (1,), (0,), (1,))


def axis_in_file(tensors: Mapping[str, Tensor], layer: LayerSpec, where: str) -> Factor | None:
    """Return the one of ``AXES`` that a file's magnitudes have; None if the file has no DoRA.

    Args:
        tensors: key -> tensor of one layer in the file.
        layer: shapes of the adapted layer.
        where: the layer's name, for messages.

    Raises:
        FormatError: the magnitudes fit neither the input nor the output channels.
    """
    if KEY not in tensors:
        return None
    shape = tuple(tensors[KEY].shape)
    for on_output in (False, True):
        expected = AXES[on_output].shape(layer, 0)
        if shape[:2] == expected[:2] and set(shape[2:]) <= {1}:
            return AXES[on_output]
    raise FormatError(
        f"{KEY} has shape {shape}, expected {AXES[False].shape(layer, 0)} "
        f"or {AXES[True].shape(layer, 0)}",
        where=where,
        fix="the adapter was trained on another model family or another layer",
    )
