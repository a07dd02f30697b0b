"""DoRA around another algorithm: the one tensor that it stores; docs/algorithms/dora.md.

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
"""The lengths, by whether each output channel has one (else each input channel)."""


@dataclass(frozen=True, init=False)
class DoraOptions(Section):
    """Whether DoRA is put around an algorithm; for those that allow it."""

    dora_wd: bool = option(
        False,
        "Train the length of the weights of each channel apart from their direction (DoRA).",
        aliases=("weight_decompose",),
    )
    wd_on_output: bool = option(
        False,
        "With dora_wd: train one length for each output channel, instead of one for each input "
        "channel. ComfyUI computes files with lengths of output channels wrongly.",
        aliases=("wd_on_out",),
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if self.wd_on_output and not self.dora_wd:
            yield ConfigError(
                "wd_on_output says where DoRA's magnitudes are, and dora_wd is false",
                where="wd_on_output",
                fix="set dora_wd = true, or remove wd_on_output",
            )


def lengths(
    factor: Factor, weight: Annotated[Tensor, "out in *kernel"]
) -> Annotated[Tensor, "channels"]:
    """Those of the frozen weight (out, in, *kernel), flat: a fresh adapter changes nothing."""
    return weight_norms(weight, on_input=factor is AXES[False])


def narrowed(layer: LayerSpec, tensors: Mapping[str, Tensor]) -> LayerSpec:
    """A layer read off a file's factors, whose kernel may hide in its width: lengths over the input
    tell the two apart."""
    shape = tensors[KEY].shape if KEY in tensors else ()
    if layer.kernel or len(shape) < 3 or shape[0] != 1 or layer.in_features % shape[1]:
        return layer
    area = layer.in_features // shape[1]
    return LayerSpec(layer.out_features, shape[1], (area,), (1,), (0,), (1,))


def of_file(tensors: Mapping[str, Tensor], layer: LayerSpec, where: str) -> Factor | None:
    """Which axis a file's lengths are of; None without DoRA.

    Raises:
        FormatError: their shape fits neither.
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
