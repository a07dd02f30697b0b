"""sd-scripts' arguments about layers of transformers (``img_attn_dim``, ...) become overrides.

They name layers and their ranks. Layers outside of the preset are added with ``include``.

Source: sd-scripts 48d368f; see ``layer_choices``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kohya_adapter.argument_texts import (
    block_numbers,
    pairs,
    patterns_of,
    ranks_of,
    whole,
    wrong,
)
from kohya_adapter.layer_choices import BY_PATTERN, CHOICES, PATTERNS, Choices, Words
from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import FAMILIES, Family
from lycoris_ext.network.overrides import LayerOverride
from lycoris_ext.network.sites import Site
from lycoris_ext.patterns import pattern_fits


@dataclass(frozen=True)
class Chosen:
    """What the arguments ask for.

    Attributes:
        overrides: ranks and learning rates of single layers.
        include: patterns of layers to add to the preset's.
    """

    overrides: tuple[LayerOverride, ...] = ()
    include: tuple[str, ...] = ()


def choose_layers(
    arguments: Mapping[str, str],
    family: Family,
    selected: Sequence[Site],
    known: Iterable[Site],
    alpha: float | None,
) -> Chosen:
    """Turn the arguments into overrides, one for all layers with equal settings.

    Args:
        arguments: those of ``LAYER_ARGUMENTS`` that the user gave: name -> text.
        family: of the denoiser.
        selected: the layers that the preset adapts.
        known: all layers that can be adapted.
        alpha: of every layer that gets a rank; None: as large as the rank.

    Raises:
        ConfigError: an argument is another family's, or its text is not what it should be.
    """
    if not arguments:
        return Chosen()
    choices = CHOICES.get(family.id, Choices())
    _check_family(arguments, choices, family)
    reader = _Reader(arguments, choices, selected)
    inside = {site.name for site in selected}
    ends = [site for site in known if site.target == "unet" and site.name not in inside]
    ranks = {site.name: reader.rank(site) for site in selected}
    added = {site.name: rank for site in ends if (rank := reader.rank_of_end(site))}
    spatial = {site.name for site in ends if site.spec.is_spatial}
    alike: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for site in (*selected, *(site for site in ends if site.name in added)):
        rank = added.get(site.name, ranks.get(site.name))
        settings: dict[str, float] = {}
        if rank is not None:
            settings["network_dim"] = rank
            if rank:
                settings["network_alpha"] = alpha or float(rank)
            if site.name in spatial:
                settings |= {"conv_dim": rank, "conv_alpha": alpha or float(rank)}
        rate = reader.rate(site)
        if rate is not None:
            settings["learning_rate"] = rate
        if settings:
            alike.setdefault(tuple(settings.items()), []).append(re.escape(site.name))
    overrides = tuple(
        LayerOverride(match=f"^(?:{'|'.join(names)})$", **dict(values))
        for values, names in alike.items()
    )
    return Chosen(overrides, tuple(f"^{re.escape(name)}$" for name in added))


def _check_family(arguments: Mapping[str, str], choices: Choices, family: Family) -> None:
    for name in arguments:
        if name in choices.own or name in (*PATTERNS, *BY_PATTERN):
            continue
        homes = [FAMILIES[id].title for id, other in CHOICES.items() if name in other.own]
        raise ConfigError(
            f"{name} is for {' and '.join(homes)}, this model is {family.title}",
            where="network_args",
            fix=f"leave {name} out; a preset file (preset=my.toml) sets ranks in any model",
        )


class _Reader:
    """Answers for each layer what the arguments say about it."""

    def __init__(
        self, arguments: Mapping[str, str], choices: Choices, selected: Sequence[Site]
    ) -> None:
        self.choices = choices
        self.ranks = {
            name: whole(name, arguments[name]) for name in choices.ranks if name in arguments
        }
        self.ends = {
            word: rank
            for name, words in choices.ends.items()
            if name in arguments
            for word, rank in zip(words, ranks_of(name, arguments[name], len(words)), strict=True)
        }
        self.blocks = {
            word: block_numbers(name, arguments[name])
            for name, word in choices.blocks.items()
            if name in arguments
        }
        for name, word in choices.blocks.items():
            _check_numbers(name, self.blocks.get(word, []), word, selected)
        self.part = _part(arguments, choices)
        self.by_pattern = pairs("network_reg_dims", arguments, int)
        self.rates = pairs("network_reg_lrs", arguments, float)
        self.included = patterns_of("include_patterns", arguments)
        self.excluded = patterns_of("exclude_patterns", arguments)
        if choices.usually_excluded and not arguments.keys().isdisjoint(PATTERNS):
            self.excluded = (*self.excluded, choices.usually_excluded)

    def rank(self, site: Site) -> int | None:
        """Return the rank of a layer of the preset; None: that of the network."""
        if _fits_whole(self.excluded, site) and not _fits_whole(self.included, site):
            return 0
        if site.target == "unet" and not any(word in site.key for word in self.part):
            return 0
        return self._of_words(site, None)

    def rank_of_end(self, site: Site) -> int | None:
        """Return the rank of a layer outside of the preset; None or 0: it is not adapted."""
        word = next((word for word in self.ends if word in site.key), None)
        return None if word is None else self._of_words(site, self.ends[word])

    def rate(self, site: Site) -> float | None:
        """Return a layer's learning rate; None: that of its model."""
        return next((rate for at, rate in self.rates if self._fits(at, site)), None)

    def _of_words(self, site: Site, usual: int | None) -> int | None:
        for pattern, number in self.by_pattern:
            if self._fits(pattern, site):
                return int(number)
        if site.target != "unet":
            return usual
        fitting = (
            rank
            for name, rank in self.ranks.items()
            if all(word in site.key for word in self.choices.ranks[name])
        )
        rank = next(fitting, usual)
        for word, kept in self.blocks.items():
            block = _block(word, site)
            if block is not None and not any(block in numbers for numbers in kept):
                return 0
        return rank

    def _fits(self, pattern: str, site: Site) -> bool:
        if self.choices.searches_keys:
            return pattern_fits(pattern, site.key)
        return pattern_fits(pattern, site.path, "fullmatch")


def _fits_whole(patterns: Sequence[str], site: Site) -> bool:
    return any(pattern_fits(pattern, site.path, "fullmatch") for pattern in patterns)


def _block(word: str, site: Site) -> int | None:
    """Return the number of the block of one kind in which a layer is."""
    found = re.search(rf"_{word}_blocks_(\d+)_", site.key)
    return int(found[1]) if found else None


def _check_numbers(name: str, given: Sequence[range], word: str, selected: Sequence[Site]) -> None:
    there = {block for site in selected if (block := _block(word, site)) is not None}
    for numbers in given:
        if there and numbers.start > max(there):
            raise ConfigError(
                f"{name} names block {numbers.start}, the last one of the model is {max(there)}",
                where="network_args",
                fix=f"count from 0 to {max(there)}",
            )


def _part(arguments: Mapping[str, str], choices: Choices) -> Words:
    text = arguments.get("train_blocks", "all") if choices.parts else "all"
    if choices.parts and text not in choices.parts:
        raise wrong("train_blocks", text, f"one of {', '.join(choices.parts)}")
    return choices.parts.get(text, ("",))
