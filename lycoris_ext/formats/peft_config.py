"""The alpha of layers whose file has no ``alpha`` tensors, from wherever the writer put it.

PEFT and diffusers store alphas as the fields of a config. There are several places for it, and the
first one that says something about a layer counts:

1. ``lora_adapter_metadata`` in the file's metadata, with the model in front of the field
   (``unet.lora_alpha``: ``save_lora_weights`` of diffusers' pipelines);
2. the same without the model (``lora_alpha``: ``save_lora_adapter`` of diffusers' models);
3. ``adapter_config.json`` beside the file (PEFT), or a copy of it in the metadata;
4. ``network_alphas`` or single fields, such as ``lora_alpha``, in the metadata.

If none does, alpha is the rank, as diffusers assumes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from lycoris_ext.errors import FormatError
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.formats.keys import split_key

CONFIG_FILE = "adapter_config.json"
#: The metadata key under which we keep the content of ``CONFIG_FILE`` after reading a file.
CONFIG_KEY = "peft_adapter_config"
_DIFFUSERS_KEY = "lora_adapter_metadata"
_NETWORK_ALPHAS = "network_alphas"
#: Metadata keys with a whole config as JSON, besides ``_DIFFUSERS_KEY``.
_WHOLE = (CONFIG_KEY, "adapter_config", "lora_config")
#: The config's field for alpha: of LoRA, and of LoHa and LoKr.
_ALPHAS = ("lora_alpha", "alpha")
_RANKS = ("r",)
#: Fields that are also read if they stand in the metadata by themselves.
_SINGLE = ("lora_alpha", "alpha_pattern", "rank_pattern", "r", "use_rslora", "init_lora_weights")

#: Values of ``init_lora_weights`` with which PEFT also changes the base model. The file then holds
#: an update of that other base.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

# A pattern is a regular expression that comes with the file, and a malicious one could take for
# ever: what takes long needs many repetitions or groups, or a repeated group. 200 characters are
# more than the names of layers have. Numbers between dots can be found in one way only.
_NUMBER = re.compile(r"\\d\+\\\.")
_REPETITION = re.compile(r"[*+{]|(?<!\()\?")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_MOST = 3
_LONGEST = 200


class Strength(NamedTuple):
    """What a config says about one layer.

    Attributes:
        alpha: None if the config has none for this layer.
        rank: as the config has it; None if it does not say. Files of LoKr may show no rank.
        rslora: whether the update is divided by the root of the rank rather than by the rank.
    """

    alpha: float | None = None
    rank: float | None = None
    rslora: bool = False


class Configs:
    """All configs that belong to one file.

    Args:
        metadata: of the file, with PEFT's config under ``CONFIG_KEY``.

    Raises:
        FormatError: a config is no JSON object, or its update is not one of the base model.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._joint = _object(metadata, _DIFFUSERS_KEY)
        single = {name: _value(metadata[name]) for name in _SINGLE if name in metadata}
        self._others = [*(_object(metadata, key) for key in _WHOLE), single]
        alphas = _object(metadata, _NETWORK_ALPHAS)
        self._alphas = {split_key(key)[0]: alpha for key, alpha in alphas.items()}
        for config in (self._joint, *self._others):
            for field, value in config.items():
                if field.rpartition(".")[2] == "init_lora_weights":
                    _refuse_changed_base(value)

    def of_layer(self, layer: str) -> Strength:
        """Return what the configs say about a layer.

        Args:
            layer: the layer's name in the file, without PEFT's prefix.

        Raises:
            FormatError: an alpha or rank is no number above 0, or a pattern cannot be read.
        """
        model, _, below = layer.partition(".")
        start = f"{model}."
        of_model = {
            field.removeprefix(start): value
            for field, value in self._joint.items()
            if field.startswith(start)
        }
        for config, path in (
            (of_model, below),
            *((config, layer) for config in (self._joint, *self._others)),
        ):
            alpha = _number(config, path, "alpha_pattern", _ALPHAS)
            if alpha is not None:
                rank = _number(config, path, "rank_pattern", _RANKS)
                return Strength(alpha, rank, config.get("use_rslora") in (True, "True"))
        if layer in self._alphas:
            return Strength(_checked(self._alphas[layer], _ALPHAS, layer))
        return Strength()


def _number(
    config: Mapping[str, Any], path: str, pattern: str, names: tuple[str, ...]
) -> float | None:
    """Look up a number of one layer in a config.

    Args:
        config: of the layer's model.
        path: of the layer.
        pattern: field of the config that maps patterns of paths to numbers.
        names: fields of the config with the number for all other layers.

    Returns:
        None if the config has neither.
    """
    patterns = config.get(pattern) or {}
    if not isinstance(patterns, dict):
        raise FormatError(f"{pattern} is {patterns!r:.80}, expected an object", where=CONFIG_FILE)
    fits = (
        number
        for one, number in patterns.items()
        if _expression(one, pattern).match(path[: _LONGEST + 1])  # too long: no layer's name
    )
    default = next((config[name] for name in names if config.get(name) is not None), None)
    number = next(fits, default)
    return None if number is None else _checked(number, names, path)


def _checked(number: object, names: tuple[str, ...], path: str) -> float:
    if type(number) not in (int, float) or not 0 < number < 1e30:  # type: ignore[operator]
        what = "alpha" if names == _ALPHAS else "rank"
        raise FormatError(f"{what} is {number!r:.80}", where=f"{CONFIG_FILE}, layer {path!r}")
    return float(number)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _expression(pattern: str, field: str) -> re.Pattern[str]:
    """Compile a pattern as PEFT reads it: for the whole path, or for its last parts.

    Raises:
        FormatError: it is no regular expression, or one that may take very long.
    """
    what = "may take very long to search for"
    try:
        if _is_quick(pattern):
            return re.compile(rf"(?:.{{0,{_LONGEST}}}\.)?(?:{pattern})$")
    except (re.error, RecursionError, OverflowError) as error:
        what = f"is no regular expression ({error})"
    raise FormatError(
        f"the pattern {pattern!r:.80} {what}",
        where=f"{CONFIG_FILE}, {field}",
        fix="write the layers' names out, or save the adapter with kohya's keys",
    )


def _is_quick(pattern: str) -> bool:
    return (
        len(pattern) <= _LONGEST
        and len(_REPETITION.findall(_NUMBER.sub("", pattern))) <= _MOST
        and pattern.count("(") <= _MOST
        and not _REPEATED_GROUP.search(pattern)
    )


def _refuse_changed_base(value: object) -> None:
    if isinstance(value, str) and value.lower().startswith(_CHANGES_BASE):
        raise FormatError(
            f'init_lora_weights is "{value:.40}": PEFT changed the base model when it began to '
            "train, and this update belongs to the changed base",
            where=CONFIG_FILE,
            fix="save the adapter in PEFT once more, with save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...)",
        )


def _object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Parse a metadata field that should be a JSON object; {} if the field is missing."""
    try:
        content = parse_json(metadata.get(key, "{}"))
    except ValueError as error:
        raise FormatError(f"is not JSON ({error})", where=key) from error
    if not isinstance(content, dict):
        raise FormatError("is not a JSON object", where=key)
    return content


def _value(text: str) -> Any:
    """Return what a metadata field holds, which is text; as it is if it is no JSON."""
    try:
        return parse_json(text)
    except ValueError:
        return text
