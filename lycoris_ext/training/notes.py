"""What is said once, before training, of the network that is trained."""

from __future__ import annotations

from collections.abc import Iterator

from lycoris_ext.network import Network


def network_notes(network: Network) -> Iterator[str]:
    """A line for each thing that is not as everywhere, whatever the number of layers."""
    axes = {
        "wd_on_output" in layer.plan.shown_options()
        for layer in network.layers.values()
        if layer.plan.dora is not None
    }
    if False in axes:
        yield (
            "DoRA's lengths are of the inputs, not of the outputs (wd_on_output): these ComfyUI "
            "computes wrongly"
        )
    if True in axes:
        yield (
            "DoRA's lengths are of the outputs (wd_on_output), which ComfyUI computes wrongly; of "
            "the inputs, which is the default, it computes them right"
        )
