"""`lycoris-ext lr-equiv`: convert a learning rate between alphas, ranks and algorithms."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lycoris_ext.algorithms import algorithm_options
from lycoris_ext.cli.arguments.lr_equiv import parser
from lycoris_ext.config import OptionSource, Reading, TrainConfig, build_config, read_config
from lycoris_ext.errors import ConfigError
from lycoris_ext.models import build_meta
from lycoris_ext.network.build import plan_layers
from lycoris_ext.printable import printable
from lycoris_ext.tools.rate_law import Equivalence, common_factor, compare
from lycoris_ext.words import count, table

_SHORT = {"dim": "network_dim", "alpha": "network_alpha", "lr": "learning_rate"}
_RATES = ("learning_rate", "unet_lr", "text_encoder_lr")
_FILES = (".toml", ".json", ".yaml", ".yml")
_EXACT = (
    "exact with Adam if the initial factors are multiplied by the number of the rate, too, and "
    "weight_decay, the optimizer's eps and max_grad_norm are divided by it"
)
_START = (
    "Training programs draw the initial factors in the same way whatever alpha is. The first steps "
    "then go alike at the rate for the first steps. The more training moves the factors away from "
    "their initial values, the better is the exact law's rate. In between lies what suits a run."
)
_THUMB = (
    "For another rank or algorithm only the first steps can be compared: at this rate they change "
    "the loss as fast. It is a rule of thumb, and no law for the whole run."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rates of a setting that are equivalent to those of another; return 0."""
    options = parser().parse_args(arguments)
    before, after, named = _configs(options.before, options.after)
    base = build_meta(options.family)
    groups, apart = compare(
        plan_layers(base, before.effective_network), plan_layers(base, after.effective_network)
    )
    result: dict[str, object] = {
        "groups": [_row(group) for group in groups],
        "rates": _rates(before, groups),
        "notes": [*_notes(before, after, groups, apart)],
    }
    if named:
        result["given"] = after.optimizer.learning_rate
    print(json.dumps(result) if options.json else printable("\n".join(_lines(result, groups))))
    return 0


def _configs(before: str, after: str) -> tuple[TrainConfig, TrainConfig, bool]:
    """Build both configs; also tell whether the settings after name a learning rate."""
    reading = Reading(skip_unsupported=True)
    first, second = _source(before, "--from"), _source(after, "--to")
    of_before = build_config([first], reading)
    alone = OptionSource("--from", {}) if _is_file(after) else first
    algo = second.values.get("algo")
    if algo not in (None, of_before.network.algo):
        own = {option.name for option in algorithm_options()}
        kept = {name: value for name, value in alone.values.items() if name not in own}
        alone = OptionSource(alone.where, kept, alone.is_foreign, alone.defaults)
    of_after = build_config([alone, second], reading)
    for text in reading.notes:
        print(printable(f"note: {text}"), file=sys.stderr)
    return of_before, of_after, "learning_rate" in second.values


def _is_file(text: str) -> bool:
    return text.lower().endswith(_FILES)


def _source(text: str, where: str) -> OptionSource:
    """Read a config file, or settings such as "lora dim 32 alpha 16 lr 1e-4"."""
    if _is_file(text):
        return read_config(Path(text))
    words = text.replace("=", " ").replace(",", " ").split()
    values: dict[str, object] = {}
    if len(words) % 2:
        values["algo"] = words.pop(0)
    for name, value in zip(words[::2], words[1::2], strict=True):
        name = _SHORT.get(name, name)
        if name in values:
            raise ConfigError(f"{name} is given twice", where=where, fix="name each setting once")
        values[name] = _value(value)
    return OptionSource(where, values)


def _value(text: str) -> object:
    """Return a number or a truth value for a text that is one, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _row(group: Equivalence) -> dict[str, object]:
    return {
        "layers": group.kind,
        "count": group.layers,
        "from": group.before.words,
        "to": group.after.words,
        "scale_from": group.before.plan.scale,
        "scale_to": group.after.plan.scale,
        "factors": group.before.factors if group.factor is not None else None,
        "rate_factor": group.factor,
        "first_steps_factor": group.first,
        "exact": group.exact,
        "why": group.why,
    }


def _rates(before: TrainConfig, groups: Sequence[Equivalence]) -> dict[str, dict[str, object]]:
    """Return rate option -> its value before and after, where one number fits all layers."""
    factors = {
        "after": common_factor(groups, "factor"),
        "first_steps": common_factor(groups, "first"),
    }
    rates: dict[str, dict[str, object]] = {}
    for name in _RATES:
        value = getattr(before.optimizer, name)
        if isinstance(value, (int, float)):
            times = {key: by and value * by for key, by in factors.items()}
            rates[name] = {"before": value, **times}
    return rates


def _notes(
    before: TrainConfig, after: TrainConfig, groups: Sequence[Equivalence], apart: int
) -> list[str]:
    """Return what makes the law less than exact for these two configs, in sentences."""
    notes = []
    if apart:
        notes.append(f"{count(apart, 'layer')} only one of the two settings adapts.")
    known = [group for group in groups if group.factor not in (None, 1.0)]
    if known:
        notes.append(_START)
    if any(group.factor is None for group in groups):
        notes.append(_THUMB)
    factors = {round(group.factor or 0.0, 9) for group in known}
    if len(factors) > 1:
        notes.append(
            "The numbers differ between kinds of layers: give layers rates of their own by "
            "[[overrides]] with match and lr_weight."
        )
    for config, flag in ((before, "--from"), (after, "--to")):
        optimizer = config.optimizer
        name = optimizer.kind.name
        family = "lion" in name.lower() or "adam" in name.lower()
        if name.lower().startswith("sgd"):
            notes.append(f"{flag} has {name}: there the rate takes the square of the number.")
        elif optimizer.kind.finds_rate or not family:
            notes.append(f"{flag} has {name}: the law is that of Adam and Lion, and holds roughly.")
        elif optimizer.kind.own_rate_unless:
            notes.append(f"{flag} has {name}, which may set the rate itself.")
    return list(dict.fromkeys(notes))


def _lines(result: dict[str, object], groups: Sequence[Equivalence]) -> list[str]:
    rows = [("layers", "number", "from", "to", "rate", "first steps")]
    for group in groups:
        number, first = (_times(group.factor), _times(group.first))
        rows.append(
            (group.kind, str(group.layers), group.before.words, group.after.words, number, first)
        )
    lines = [*table(rows, left=(0, 2, 3)), ""]
    rates = result["rates"]
    assert isinstance(rates, dict)
    for name, values in rates.items():
        after, first = values["after"], values["first_steps"]
        told = [] if after is None else [f"{after:.4g} by the law"]
        told += [] if first is None else [f"{first:.4g} for the first steps"]
        if after is None:
            told += [
                f"{values['before'] * group.factor:.4g} by the law in {group.kind}"
                for group in groups
                if group.factor is not None
            ]
        lines.append(f"{name} {values['before']:g} -> {', '.join(told) or 'see the table'}")
        given = result.get("given")
        if name == "learning_rate" and isinstance(given, float) and after:
            lines.append(f"  {given:g} of --to is {given / after:.3g} times that of the law")
    exact = [group for group in groups if group.exact and group.factor != 1.0]
    if exact:
        lines.append(f"rate: {_EXACT}")
    lines += [f"{kind}: {why}" for kind, why in {g.kind: g.why for g in groups if g.why}.items()]
    notes = result["notes"]
    assert isinstance(notes, list)
    return [*lines, *(f"note: {note}" for note in notes)]


def _times(number: float | None) -> str:
    return "-" if number is None else f"x {number:.4g}"
