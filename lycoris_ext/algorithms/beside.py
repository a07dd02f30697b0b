"""Tensors that a file may have beside those of any algorithm: what they add to its update.

New adapters have none of them. They come with the files of ComfyUI's trainer, which trains every
bias, of PEFT (lora_bias) and of LyCORIS' extraction of an adapter from two models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lycoris_ext.algorithms.parts import Factor
from lycoris_ext.functional import BiasUpdate, Delta, Dense, LayerSpec, Sum


@dataclass(frozen=True)
class Beside:
    """Some tensors that are stored together beside an algorithm's, and what they add.

    Attributes:
        title: what it is, in words.
        factors: the stored tensors.
        of_bias: it changes the layer's bias, not the weight, so DoRA has no part in it.
    """

    title: str
    factors: tuple[Factor, ...]
    of_bias: bool = False

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the stored tensors."""
        return frozenset(factor.key for factor in self.factors)

    def added(self, delta: Delta, tensors: Mapping[str, Tensor], scale: float) -> Delta:
        """Return an update with this one added to it.

        Args:
            delta: the update.
            tensors: key -> stored tensor.
            scale: alpha / rank of the algorithm.
        """
        raise TypeError(f"{type(self).__name__} adds nothing")

    def flaw(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> str | None:
        """Return what is wrong with a file's tensors, in words; None if they are fine."""
        return None


class _Bias(Beside):
    """A difference to the bias. As in ComfyUI and LyCORIS it is not multiplied by alpha / rank."""

    def added(self, delta: Delta, tensors: Mapping[str, Tensor], scale: float) -> Delta:
        return Sum(delta.layer, 1.0, (delta, BiasUpdate(delta.layer, 1.0, tensors["diff_b"])))


class _Sparse(Beside):
    """Single numbers of a difference to the weight, with their places in (out, in * kernel).

    LyCORIS calls it a sparse bias. It stores what a low rank has left out, and multiplies it by
    alpha / rank as the low-rank product.
    """

    def added(self, delta: Delta, tensors: Mapping[str, Tensor], scale: float) -> Delta:
        layer, values = delta.layer, tensors["bias_values"]
        rows, columns = tensors["bias_indices"].long()
        empty = values.new_zeros(layer.out_features, layer.fan_in)
        dense = empty.index_put((rows, columns), values, accumulate=True)
        return Sum(layer, 1.0, (delta, Dense(layer, scale, dense)))

    def flaw(self, tensors: Mapping[str, Tensor], layer: LayerSpec) -> str | None:
        size, indices = tensors["bias_size"].tolist(), tensors["bias_indices"].long()
        if size != [layer.out_features, layer.fan_in]:
            return f"its sparse part is of a matrix {size}"
        ends = indices.new_tensor(size).unsqueeze(1)
        if bool(((indices < 0) | (indices >= ends)).any()):
            return "its sparse part has numbers outside of the matrix"
        return None


_ALL = (
    _Sparse(
        "sparse part",
        (
            Factor("bias_values", "entries"),
            Factor("bias_indices", "axes entries", whole=True),
            Factor("bias_size", "axes", whole=True),
        ),
    ),
    _Bias("bias", (Factor("diff_b", "out"),), of_bias=True),
)
KEYS = frozenset[str]().union(*(one.keys for one in _ALL))


def beside_in(keys: Collection[str]) -> tuple[Beside, ...]:
    """Return what is stored beside an algorithm's tensors among these keys of a layer."""
    return tuple(one for one in _ALL if one.keys <= set(keys))


def with_beside(
    delta: Delta,
    stored: Sequence[Beside],
    tensors: Mapping[str, Tensor],
    scale: float,
    of_bias: bool,
) -> Delta:
    """Return an update with what is stored beside it added.

    Args:
        delta: the update.
        stored: what there is.
        tensors: key -> stored tensor.
        scale: alpha / rank of the algorithm.
        of_bias: add what changes the bias; False: what changes the weight.
    """
    for one in stored:
        if one.of_bias is of_bias:
            delta = one.added(delta, tensors, scale)
    return delta
