"""sd-scripts' arguments that set ranks and learning rates for each block of a U-Net.

SD1 and SD2 have 25 blocks (12 down, 1 mid, 12 up), SDXL has 23 (embeddings, 9 down, 3 mid, 9 up,
out). The arguments are turned into ``overrides`` for the layers in these blocks.

Source: sd-scripts 48d368f, networks/lora.py, get_block_lr_weight and get_block_index. sd-scripts'
networks do not adapt the layers before the first and after the last block, so these have no block
there; here those of SD1 belong to the first and to the last block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import FAMILIES, Blocks, Family
from lycoris_ext.formats.keys import unet_block
from lycoris_ext.network.overrides import LayerOverride
from lycoris_ext.words import count

_SIZES = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
_NAMES = dict(zip(_SIZES, ("network_dim", "network_alpha", "conv_dim", "conv_alpha"), strict=True))
_WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_THRESHOLD = "block_lr_zero_threshold"
BLOCK_ARGUMENTS = (*_SIZES, *_WEIGHTS, _THRESHOLD)

_CURVES: dict[str, Callable[[float], float]] = {
    "sine": lambda share: math.sin(math.pi * share / 2),
    "cosine": lambda share: math.sin(math.pi * (1 - share) / 2),
    "linear": lambda share: share,
    "reverse_linear": lambda share: 1 - share,
    "zeros": lambda share: 0.0,
}


def block_overrides(
    arguments: Mapping[str, str],
    family: Family,
    paths: Iterable[str],
    ranks: tuple[int, int],
    conv: tuple[int, float] | None,
) -> tuple[LayerOverride, ...]:
    """Turn the arguments about blocks into overrides, one for all layers with equal settings.

    Args:
        arguments: those of ``BLOCK_ARGUMENTS`` that the user gave: name -> text.
        family: the family of the U-Net.
        paths: module paths of the U-Net's adapted layers.
        ranks: the network's rank, and its rank for convolutions larger than 1x1.
        conv: rank and alpha for convolutions larger than 1x1, or None if the user gave no conv_dim.

    Raises:
        ConfigError: models of this family have no numbered blocks, or a list has the wrong length.
    """
    if not arguments.keys() - {_THRESHOLD}:
        return ()
    if family.blocks is None:
        known = ", ".join(one.title for one in FAMILIES.values() if one.blocks)
        raise ConfigError(
            f"blocks have numbers in the U-Nets of {known}, this model is {family.title}",
            where=f"network_args, {next(iter(arguments))}",
            fix="use a preset file with a name_algo_map (preset=my.toml)",
        )
    blocks = family.blocks
    settings = _settings(arguments, blocks, ranks, conv)
    alike: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for path in paths:
        own = settings[_number_of(path, blocks)]
        if own:
            alike.setdefault(tuple(own.items()), []).append(re.escape(path))
    return tuple(
        LayerOverride(match=rf"^unet\.(?:{'|'.join(own)})$", **dict(values))
        for values, own in alike.items()
    )


def block_tables(
    arguments: Mapping[str, str],
    ranks: tuple[int, int],
    conv: tuple[int, float] | None,
    resnets: bool,
) -> list[dict[str, object]]:
    """Turn the arguments about blocks into tables of overrides, without having seen the model.

    The tables are for a U-Net with diffusers' names; whether it is SDXL's or that of SD1 and SD2
    follows from the lengths of the lists. Blocks without adapted layers get no table.

    Args:
        arguments, ranks, conv: as for ``block_overrides``.
        resnets: whether resnets and samplers are adapted; if not, blocks without attention are
            skipped.

    Raises:
        ConfigError: the lengths fit no family, or a list has the wrong length.
    """
    if not arguments.keys() - {_THRESHOLD}:
        return []
    blocks = _blocks_of(arguments)
    usual: dict[str, float] = {"network_dim": ranks[0]}
    alike: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for number, options in enumerate(_settings(arguments, blocks, ranks, conv)):
        pattern = _pattern(number - blocks.has_ends, blocks, resnets)
        own = {name: value for name, value in options.items() if usual.get(name) != value}
        if pattern and own:
            alike.setdefault(tuple(own.items()), []).append(pattern)
    return [
        {"match": rf"^unet\.(?:{'|'.join(own)})\.", **dict(values)} for values, own in alike.items()
    ]


def _blocks_of(arguments: Mapping[str, str]) -> Blocks:
    """Find the blocks for which the arguments' lists have the right lengths.

    Raises:
        ConfigError: the lists have other lengths, or there is none.
    """
    lengths = {
        name: arguments[name].count(",") + 1
        for name in (*_SIZES, *_WEIGHTS)
        if name in arguments and arguments[name].partition("+")[0] not in _CURVES
    }
    known = {family.id: family.blocks for family in FAMILIES.values() if family.blocks}
    for blocks in known.values():
        of_weights = (blocks.sides, blocks.middles, blocks.sides)
        right = {
            **dict.fromkeys(_SIZES, blocks.count),
            **dict(zip(_WEIGHTS, of_weights, strict=True)),
        }
        if lengths and all(right[name] == length for name, length in lengths.items()):
            return blocks
    found = ", ".join(f"{name} has {length} numbers" for name, length in lengths.items())
    raise ConfigError(
        f"{found or 'no list of numbers tells the model'}, and SD1 and SD2 have 25 blocks "
        "(12 down, 1 mid, 12 up), SDXL has 23 (1, 9 down, 3 mid, 9 up, 1)",
        where="network_args",
        fix="give as many numbers",
    )


def _pattern(number: int, blocks: Blocks, resnets: bool) -> str:
    """Return a pattern for the layers of one block, as diffusers names them; "" if it adapts none.

    Args:
        number: of the block, counted from the first input block.
        blocks: of the U-Net.
        resnets: whether resnets and samplers are adapted; if not, attention alone is.
    """
    sides, middles = blocks.sides, blocks.middles
    if sides <= number < sides + middles:
        parts = ("resnets.0", "attentions.0", "resnets.1") if middles > 1 else ("",)
        part = parts[number - sides]
        attends = "attentions" in part or middles == 1
        return f"mid_block.{part}".rstrip(".").replace(".", r"\.") if resnets or attends else ""
    up = number >= sides + middles
    number -= (sides + middles) if up else 1  # input block 0 is conv_in
    if not 0 <= number < sides - (not up):
        return ""
    attentive = blocks.attentive[up]
    level, place = divmod(number, 3)
    if not resnets:
        of_block = number if up else number + 1
        return _block(up, level, "attentions", place) if of_block in attentive else ""
    sampler = "upsamplers" if up else "downsamplers"
    if place == 2 and not up:
        return _block(up, level, sampler, 0)
    layers = _block(up, level, "(?:attentions|resnets)", place)
    return f"{layers}|{_block(up, level, sampler, 0)}" if place == 2 and level < 3 else layers


def _block(up: bool, level: int, kind: str, number: int) -> str:
    return rf"{'up' if up else 'down'}_blocks\.{level}\.{kind}\.{number}"


def _number_of(path: str, blocks: Blocks) -> int:
    """Return sd-scripts' number of the block to which a layer belongs, counted from 0."""
    block = unet_block(path)
    if block is None:
        raise ConfigError(
            "belongs to no block that has a number",
            where=f"unet.{path}",
            fix="leave the layer out with exclude",
        )
    part, number = block
    middle = blocks.has_ends + blocks.sides
    return {
        "START": 0,
        "IN": blocks.has_ends + number,
        "M": middle + min(number, blocks.middles - 1),
        "OUT": middle + blocks.middles + number,
        "END": blocks.count - 1,
    }[part]


def _settings(
    arguments: Mapping[str, str],
    blocks: Blocks,
    ranks: tuple[int, int],
    conv: tuple[int, float] | None,
) -> list[dict[str, float]]:
    """Return for each block the options that differ from the network's, named as in
    ``LayerOverride``.

    The arguments are those of ``block_overrides``.
    """
    numbers = {
        name: _numbers(name, arguments[name], blocks.count) for name in _SIZES if name in arguments
    }
    if "block_dims" in numbers and "conv_block_dims" not in numbers and conv is not None:
        numbers["conv_block_dims"] = [float(conv[0])] * blocks.count
        numbers.setdefault("conv_block_alphas", [conv[1]] * blocks.count)
    weights = _weights(arguments, blocks)
    settings = []
    for block in range(blocks.count):
        own = {name: values[block] for name, values in numbers.items()}
        rank = own.get("block_dims", ranks[0])
        conv_rank = own.get("conv_block_dims", own.get("block_dims", ranks[1]))
        options: dict[str, float] = {}
        for name, value in own.items():
            if name.endswith("dims"):
                options[_NAMES[name]] = int(value)
            else:  # 0: as large as the rank; with rank 0 nothing is adapted, and any number will do
                same = conv_rank if name.startswith("conv") else rank
                options[_NAMES[name]] = value or float(same) or 1.0
        if weights is not None and weights[block] != 1.0:
            options["lr_weight"] = weights[block]
        settings.append(options)
    return settings


def _weights(arguments: Mapping[str, str], blocks: Blocks) -> list[float] | None:
    """Return the factor of each block's learning rate; None if no argument sets any."""
    if not any(name in arguments for name in _WEIGHTS):
        return None
    threshold = _numbers(_THRESHOLD, arguments.get(_THRESHOLD, "0"), 1)[0]
    lengths = dict(zip(_WEIGHTS, (blocks.sides, blocks.middles, blocks.sides), strict=True))
    ends = [1.0] * blocks.has_ends
    weights = [*ends]
    for name, length in lengths.items():
        text = arguments.get(name)
        own = [1.0] * length if text is None else _curve(name, text, length)
        weights += own if text is None else [w if w > threshold else 0.0 for w in own]
    return weights + ends


def _curve(name: str, text: str, length: int) -> list[float]:
    """Read a factor for each block from a list of numbers or the name of a curve.

    Args:
        name: of the argument, for messages.
        text: numbers between commas, or a curve such as ``cosine+0.25``.
        length: number of blocks.
    """
    word, _, base = text.partition("+")
    if word not in _CURVES:
        return _numbers(name, text, length)
    lift = _numbers(name, base or "0", 1)[0]
    last = max(length - 1, 1)
    return [_CURVES[word](step / last) + lift for step in range(length)]


def _numbers(name: str, text: str, length: int) -> list[float]:
    """Read numbers between commas; an empty text between commas is 0.

    Args:
        name: of the argument, for messages.
        text: the numbers.
        length: how many there must be.

    Raises:
        ConfigError: the text has something else, ranks that are not whole, or another count of
            numbers.
    """
    wanted = "whole numbers" if name.endswith("dims") else "numbers"
    try:
        numbers = [float(part) if part.strip() else 0.0 for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(n.is_integer() if name.endswith("dims") else math.isfinite(n) for n in numbers):
        raise ConfigError(
            f"{name} is {text!r}, expected {wanted} between commas"
            + (f", or one of {', '.join(_CURVES)}" if name in _WEIGHTS else ""),
            where="network_args",
            fix=f"change {name}",
        )
    if len(numbers) != length:
        raise ConfigError(
            f"{name} has {count(len(numbers), 'number')}, the model {count(length, 'such block')}",
            where="network_args",
            fix=f"give {count(length, 'number')}",
        )
    return numbers
