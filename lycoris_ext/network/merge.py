"""Merging a network's updates into the weights of its layers, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import torch

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats.container import is_finite
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer, MergedLayer, MergedUpdate, merge_update
from lycoris_ext.network.checks import check_mergeable
from lycoris_ext.network.sites import Site
from lycoris_ext.words import and_more, count

#: Strengths of adapters are between this and its negative; far larger ones overflow any weight.
MOST_STRENGTH = 100.0


class Merge:
    """One merge of a network: what it adds to the weights, and what is needed to undo it.

    Args:
        layers, sites: the adapters, and the layers that they adapt, by key.
        multiplier: strength of all updates; None: of each adapter its own multiplier.
        keep: whether ``undo`` is to work; False saves the memory of the old weights.

    Raises:
        ConfigError: an update cannot be added to a layer's weight or bias; nothing is changed.
    """

    def __init__(
        self,
        layers: Mapping[str, AdapterLayer],
        sites: Mapping[str, Site],
        multiplier: float | None,
        keep: bool,
    ) -> None:
        check_mergeable(list(sites.values()))
        self.sites = dict(sites)
        self.keep = keep
        self.planned = {
            key: MergedUpdate.of(
                layer, layer.multiplier if multiplier is None else multiplier, lasts=not keep
            )
            for key, layer in layers.items()
        }
        self.merged: dict[str, MergedUpdate] = {}
        for key, update in self.planned.items():
            _check_bias(self.sites[key], update)

    def apply(self) -> None:
        """Add all updates to the weights.

        After an error (memory is used up, Ctrl-C, a sum that overflows) the weights are as they
        were before; with keep=False some layers are merged then, and the model has to be loaded
        again.

        Raises:
            FormatError: a weight became NaN or infinite.
        """
        with ExitStack() as after_an_error:
            after_an_error.callback(self._drop_all)
            for key, update in self.planned.items():
                site = self.sites[key]
                merged = merge_update(site.module, site.spec, update)
                if merged is not None:
                    self.merged[key] = merged
                _check_sum(site, update)
            after_an_error.pop_all()
        self.planned = {}

    def undo(self) -> None:
        """Take the updates out of the weights again, whatever was merged before or after them.

        Raises:
            ConfigError: the old weights were not kept, or the weights of some layers have been
                changed since; nothing is changed then.
        """
        if not self.keep:
            raise ConfigError(
                "the old weights were not kept", fix="load the model again, or merge with keep=True"
            )
        changed = [
            self.sites[key].name for key in self.merged if not self._record(key, intact=True)
        ]
        if changed:
            raise ConfigError(
                f"the weights of {count(len(changed), 'layer')} were changed after the merge, and "
                f"unmerging would undo that, too: {and_more(changed)}",
                fix="load the model again; forget_merge() then lets the network be used again",
            )
        self._drop_all()

    @torch.no_grad()
    def _drop_all(self) -> None:
        for key, update in reversed([*self.merged.items()]):
            record = self._record(key)
            assert record is not None
            record.drop(update)
            del self.merged[key]  # after an error the rest stays, and undo can be called again

    def forget(self) -> None:
        """Note that a host has put the old weights back itself."""
        for key in self.merged:
            record = self._record(key)
            if record is not None:
                record.forget()

    def _record(self, key: str, intact: bool = False) -> MergedLayer | None:
        """Return the record of a layer, if this merge's update is still in its weight."""
        record = MergedLayer.of(self.sites[key].module)
        if record is None or self.merged[key] not in record.updates:
            return None
        return record if not intact or record.is_intact() else None


def _check_sum(site: Site, update: MergedUpdate) -> None:
    """Refuse a weight or bias that is NaN or infinite with its update."""
    for what, numbers in (("weight", site.weight), ("bias", site.bias)):
        if numbers is None or is_finite(numbers):
            continue
        largest = torch.finfo(numbers.dtype).max
        raise FormatError(
            f"its {what} with the update at strength {update.strength:g} is NaN or beyond the "
            f"largest number of {str(numbers.dtype).removeprefix('torch.')}, {largest:.3g}",
            where=site.name,
            fix="use another adapter or a lower strength, or load the model in float32",
        )


def _check_bias(site: Site, update: MergedUpdate) -> None:
    """Refuse an update of the bias of a layer that has none."""
    if site.bias is not None:
        return
    # On the meta device, where a decomposition of the weight (T-LoRA) costs nothing.
    base = FrozenLayer(site.spec, site.weight.detach().to("meta"), None, site.module.forward)
    if update.delta(base).bias() is not None:
        raise ConfigError(
            "the adapter has an update of the bias, the layer has no bias to add it to",
            where=site.name,
            fix="inject the network instead of merging it",
        )
