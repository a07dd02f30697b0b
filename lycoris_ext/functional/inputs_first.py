"""Layers that store their weight with the inputs first: embeddings and transposed convolutions.

An algorithm sees such a weight with the outputs first, as any other: (dim, words) of an embedding,
(out, in / groups, *kernel) of a convolution. What such a layer returns is linear in its weight. So
the update's share of the output is what the module's own forward returns with the update in the
place of the weight, whatever its options are (``modules.attachment.LinearAttachment``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lycoris_ext.errors import ShapeError
from lycoris_ext.functional.layer import LayerSpec

_LOOKUPS = (nn.Embedding, nn.EmbeddingBag)
_KINDS: tuple[type[nn.Module], ...] = (
    *_LOOKUPS,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


@dataclass(frozen=True)
class InputsFirst(LayerSpec):
    """The shapes of an Embedding, an EmbeddingBag or a transposed convolution.

    It has no stride and no padding: its own forward knows them.

    Attributes:
        fixed_row: index of the word whose vector is never trained (padding_idx), or None.
    """

    fixed_row: int | None = None

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Return True for a module of one of these kinds that an update can be added to."""
        return torch_kind(module) is not None and unfit(module) is None

    @classmethod
    def from_module(cls, module: nn.Module) -> InputsFirst:
        """Read the shapes of a module.

        Raises:
            ShapeError: it is of another kind, or no update can be added to it.
        """
        if not cls.supports(module):
            raise ShapeError(
                f"{type(module).__name__} {unfit(module) or 'is of another kind'}",
                fix="choose other target layers",
            )
        if isinstance(module, _LOOKUPS):
            sizes = module.embedding_dim, module.num_embeddings
            return cls(*sizes, fixed_row=module.padding_idx)
        return cls(
            out_features=module.out_channels,  # type: ignore[arg-type]
            in_features=module.in_channels // module.groups,  # type: ignore[operator, arg-type]
            kernel=tuple(module.kernel_size),  # type: ignore[arg-type]
            groups=module.groups,  # type: ignore[arg-type]
            has_bias=module.bias is not None,
        )

    @property
    def has_op(self) -> bool:
        return False

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the module's weight: (words, dim) or (in, out / groups, *kernel)."""
        inputs, outputs = self.in_features * self.groups, self.out_features // self.groups
        return (inputs, outputs, *self.kernel)

    def outputs_first(self, stored: Tensor) -> Tensor:
        if self.groups == 1:
            return stored.transpose(0, 1)
        grouped: Tensor = stored.unflatten(0, (self.groups, -1))
        return grouped.transpose(1, 2).flatten(0, 1)

    def as_stored(self, update: Tensor) -> Tensor:
        # Within each group it exchanges outputs and inputs, and so does its inverse.
        stored = self.outputs_first(update)
        if self.fixed_row is None:
            return stored
        return stored.index_fill(0, stored.new_tensor([self.fixed_row]).long(), 0.0)


def torch_kind(module: nn.Module) -> type[nn.Module] | None:
    """Return the class of torch that a module is of, among the kinds of this file, or None."""
    return next((kind for kind in _KINDS if isinstance(module, kind)), None)


def unfit(module: nn.Module) -> str | None:
    """Say in words why no update can be added to a module of these kinds; None if one can."""
    kind = torch_kind(module)
    if kind is not None and type(module).forward is not kind.forward:
        return f"does not compute as torch's {kind.__name__} does, or keeps its weight packed"
    if isinstance(module, _LOOKUPS) and module.max_norm is not None:
        return "shortens vectors of its weight whenever it looks them up (max_norm)"
    if isinstance(module, nn.EmbeddingBag) and module.mode == "max":
        return 'returns the largest numbers of some vectors (mode = "max"), no sum of them'
    return None
