"""Make ComfyUI's modules fit for training: gradients, checkpointing, attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lycoris_ext.functional.layer import PLAIN


@torch.inference_mode(False)
def own_tensors(module: nn.Module) -> None:
    """Freeze a module, and replace tensors made in inference mode by copies of the same values.

    ComfyUI loads models in inference mode; autograd refuses to save such tensors. They are replaced
    one by one, so that memory never holds the model twice.
    """
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_inference():
                part._parameters[name] = nn.Parameter(_copied(parameter), requires_grad=False)
            elif parameter is not None:
                parameter.requires_grad_(False)
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_inference():
                part._buffers[name] = buffer.clone()


def _copied(parameter: Tensor) -> Tensor:
    """Copy a tensor, also of a class whose clone is itself, such as ComfyUI-GGUF's."""
    plain = parameter.as_subclass(Tensor).clone()
    if type(parameter) in PLAIN:
        return plain
    copied = plain.as_subclass(type(parameter))
    vars(copied).update(vars(parameter))
    return copied


@contextmanager
def checkpointed(module: nn.Module) -> Iterator[None]:
    """Inside the ``with`` the blocks of a module use gradient checkpointing: they keep no
    activations and compute them a second time in the backward pass."""
    blocks = list(_blocks(module))
    shadowed = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = _recomputing(block.forward)
    try:
        yield
    finally:
        for block, before in zip(blocks, shadowed, strict=True):
            if before is None:
                del block.forward
            else:
                block.forward = before


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def _blocks(module: nn.Module) -> Iterable[nn.Module]:
    """Return the outermost modules whose forward is called as a whole.

    Members of lists and of a Sequential count singly: ComfyUI's U-Nets call them one by one.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential | nn.ModuleDict):
            yield from _blocks(child)
        elif any(True for _ in child.parameters()):
            yield child


@contextmanager
def unshared_norms(module: nn.Module) -> Iterator[None]:
    """Inside the ``with`` every LayerNorm of a module works on a copy of its input.

    ComfyUI's CLIP adds in place to the tensor that a LayerNorm has saved for the backward pass,
    which autograd would refuse.
    """

    def copied(norm: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].clone(), *inputs[1:])

    norms = [part for part in module.modules() if isinstance(part, nn.LayerNorm)]
    hooks = [norm.register_forward_pre_hook(copied) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def plain_attention(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Compute attention with torch's own function; for ComfyUI's `optimized_attention_override`.

    ComfyUI's other kinds split the work by the memory that is free, so that a checkpointed block
    would be split differently when it is computed the second time.
    """
    from comfy.ldm.modules.attention import attention_pytorch

    return attention_pytorch(*args, **kwargs)
