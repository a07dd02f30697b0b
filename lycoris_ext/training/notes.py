"""Notes about the network that are shown to the user once before training."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.network import Network


def network_notes(network: Network) -> Iterator[str]:
    """Yield the network's own notices, and with DoRA how ComfyUI computes it."""
    yield from network.notices
    axes = {
        "wd_on_output" in layer.plan.shown_options()
        for layer in network.layers.values()
        if layer.plan.dora is not None
    }
    if False in axes:
        yield (
            "DoRA trains the lengths of input channels, which ComfyUI computes correctly; lengths "
            "of output channels (wd_on_output) it computes wrongly"
        )
    if True in axes:
        yield (
            "DoRA trains the lengths of output channels (wd_on_output), which ComfyUI computes "
            "wrongly; lengths of input channels, the default, it computes correctly"
        )
