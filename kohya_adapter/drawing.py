"""What the network does around each forward of a model: it sees timesteps, and previews.

sd-scripts leaves a network in training mode while it draws its sample pictures. Dropouts, DyLoRA's
random ranks and T-LoRA's ranks by noise would then be in the pictures, and are in no file. So the
network is in eval mode for every forward without gradients.

Source: sd-scripts 48d368f, train_network.py and library/train_util.py, sample_images_common.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lycoris_ext.network import Network

#: What the models' forwards call the timesteps, which are their second positional argument.
_TIMESTEPS = ("timestep", "timesteps")


class ForwardHooks:
    """Hooks around the forwards of the models that a network is injected into.

    Args:
        network: the network.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._handles: list[RemovableHandle] = []
        self._drawing = False

    def attach(self, unet: nn.Module, text_encoders: Iterable[nn.Module]) -> None:
        """Begin to watch the models; the U-Net tells the timesteps."""
        self._watch(unet)
        for encoder in text_encoders:
            self._watch(encoder)
        if any(layer.plan.algorithm.takes_timesteps for layer in self._network.layers.values()):
            hook = unet.register_forward_pre_hook(self._tell_timesteps, with_kwargs=True)
            self._handles.append(hook)

    def detach(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _watch(self, model: nn.Module) -> None:
        self._handles += [
            model.register_forward_pre_hook(self._begin),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def _begin(self, model: nn.Module, args: object) -> None:
        self._drawing = self._network.training and not torch.is_grad_enabled()
        if self._drawing:
            self._network.eval()

    def _end(self, model: nn.Module, args: object, output: object) -> None:
        if self._drawing:
            self._network.train()
        self._drawing = False

    def _tell_timesteps(
        self, unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        named = (kwargs[name] for name in _TIMESTEPS if name in kwargs)
        timesteps: Tensor | float | None = args[1] if len(args) > 1 else next(named, None)
        self._network.set_timesteps(timesteps if self._network.training else None)
