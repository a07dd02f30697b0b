"""What ComfyUI's modules need before gradients can go through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@torch.inference_mode(False)
def own_tensors(module: nn.Module) -> None:
    """Freeze a module and replace its inference tensors by copies, which autograd may save.

    ComfyUI loads models in inference mode, and what is made there may never take part in a graph.
    One tensor at a time: the model is never there twice. The values are the same.
    """
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_inference():
                part._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
            elif parameter is not None:
                parameter.requires_grad_(False)
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_inference():
                part._buffers[name] = buffer.clone()


@contextmanager
def checkpointed(module: nn.Module) -> Iterator[None]:
    """The blocks of a module compute their activations again in the backward pass, inside the
    ``with``."""
    blocks = list(_blocks(module))
    shadowed = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = _again(block.forward)
    try:
        yield
    finally:
        for block, before in zip(blocks, shadowed, strict=True):
            if before is None:
                del block.forward
            else:
                block.forward = before


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def _blocks(module: nn.Module) -> Iterable[nn.Module]:
    """The outermost modules that are called as a whole. ComfyUI's U-Nets go through the members of
    a Sequential by themselves."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential | nn.ModuleDict):
            yield from _blocks(child)
        elif any(True for _ in child.parameters()):
            yield child


@contextmanager
def unshared_norms(module: nn.Module) -> Iterator[None]:
    """Normalisations keep an input of their own inside the ``with``.

    ComfyUI's CLIP and its transformers add in place to a tensor that a LayerNorm has saved for the
    backward pass.
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
    """torch's own attention in place of ComfyUI's choice, as its `optimized_attention_override`.

    Those that cut the work by the memory that is free at the moment cut it differently when a
    checkpointed block is computed again.
    """
    from comfy.ldm.modules.attention import attention_pytorch

    return attention_pytorch(*args, **kwargs)
