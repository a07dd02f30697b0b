"""Block weights: an adapter's strength by block of the U-Net, as LoRA Block Weight writes them.

The blocks have ldm's numbers: IN00 to IN11, M00, OUT00 to OUT11 (SDXL: IN00 to IN08, OUT00 to
OUT08). BASE stands for every other layer: those of the text encoders, and those of the U-Net before
and after its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.formats.keys import unet_block
from lycoris_ext.network.sites import Site
from lycoris_ext.words import count

BASE = "BASE"


def _names(inputs: Iterable[int], outputs: Iterable[int]) -> tuple[str, ...]:
    return (
        BASE,
        *(f"IN{number:02d}" for number in inputs),
        "M00",
        *(f"OUT{number:02d}" for number in outputs),
    )


#: Length of a list of numbers -> the blocks that the numbers are for, in order. The short lists
#: leave out the blocks without attention, as LoRA Block Weight does; those blocks keep strength 1.
LISTS = {
    len(names): names
    for family in FAMILIES.values()
    if (cut := family.blocks)
    for names in (_names(*cut.attentive), _names(range(cut.sides), range(cut.sides)))
}


@dataclass(frozen=True)
class BlockWeights:
    """Strengths by block; a block that is not named has 1.

    Args:
        weights: block -> strength; "IN" and "OUT" stand for all of their blocks that are not named.
    """

    weights: Mapping[str, float]

    @staticmethod
    def parse(text: str) -> BlockWeights:
        """Read "1,0,0.5,..." or "IN04=0.5, OUT=0, BASE=1"; an empty text gives every block 1.

        Raises:
            ConfigError: a strength is no number, a block is unknown, or no family has a list of
                this length.
        """
        parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
        if not any("=" in part for part in parts):
            return BlockWeights(_by_position(parts))
        weights = {}
        for part in parts:
            name, _, value = part.partition("=")
            name = name.strip().upper()
            known = {"IN", "OUT", *(block for names in LISTS.values() for block in names)}
            if name not in known:
                raise ConfigError(
                    f"there is no block {name!r}",
                    where="block_weights",
                    fix="name BASE, IN00 to IN11, M00, OUT00 to OUT11, or all of them: IN, OUT",
                )
            weights[name] = _number(value)
        return BlockWeights(weights)

    def of(self, site: Site) -> float:
        """Return the strength for one layer, from the block that it lies in."""
        block = block_of(site)
        return self.weights.get(block, self.weights.get(block.rstrip("0123456789"), 1.0))


def block_of(site: Site) -> str:
    """Return a layer's block: "IN04", "M00", "OUT11", or "BASE" if it lies in no numbered block."""
    if site.target != "unet":
        return BASE
    part, number = unet_block(site.path) or ("END", 0)
    if part == "M":
        return "M00"
    return f"{part}{number:02d}" if part in ("IN", "OUT") else BASE


def _by_position(parts: list[str]) -> dict[str, float]:
    if not parts:
        return {}
    if len(parts) not in LISTS:
        raise ConfigError(
            f"{count(len(parts), 'number is', 'numbers are')} given",
            where="block_weights",
            fix="give 17 or 26 numbers for SD1 and SD2, 12 or 20 for SDXL, or name blocks: "
            "IN04=0.5, OUT=0",
        )
    return dict(zip(LISTS[len(parts)], map(_number, parts), strict=True))


def _number(text: str) -> float:
    with suppress(ValueError):
        number = float(text)
        if math.isfinite(number):
            return number
    raise ConfigError(
        f"{text.strip()!r} is no number", where="block_weights", fix="write 0.5, or IN04=0.5"
    )
