"""What `lycoris-ext dataset tags DIR --core` prints: the tags that belong to concepts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping, Sequence

from lycoris_ext.data.core_tags import (
    CoreTag,
    Shown,
    core_of,
    find_core_tags,
    precision_and_recall,
)
from lycoris_ext.data.tag_changes import Captioned
from lycoris_ext.data.tag_lists import read_table
from lycoris_ext.errors import ConfigError
from lycoris_ext.printable import printable
from lycoris_ext.words import count, short, table


def core_tags(pictures: Sequence[Captioned], options: argparse.Namespace) -> list[CoreTag]:
    """Return the frequent tags of all concepts.

    Raises:
        ConfigError: a limit is out of range.
    """
    if not 0 < options.threshold <= 1:
        raise ConfigError(
            f"{options.threshold:g} is no share from 0 to 1",
            where="--threshold",
            fix="write a number such as 0.35",
        )
    shown = [Shown.of(one.levels, one.concepts, one.free_tags) for one in pictures]
    return find_core_tags(shown, options.threshold, options.lift)


def show_core(found: Sequence[CoreTag], options: argparse.Namespace) -> None:
    """Print the tags, and precision and recall where the truth is known."""
    truth = read_table(options.truth) if options.truth else {}
    by_rate: dict[str, set[str]] = {}
    for one in found:
        by_rate.setdefault(one.concept, set()).add(one.tag)
    rules: dict[str, Mapping[str, Collection[str]]] = {
        "rate alone": by_rate,
        "rate and lift": core_of(found),
    }
    told = {name: precision_and_recall(tags, truth) for name, tags in rules.items()}
    if options.json:
        each = [vars(one) for one in found]
        numbers = {name: {"precision": p, "recall": r} for name, (p, r) in told.items()}
        print(json.dumps({"tags": each} | ({"rules": numbers} if truth else {})))
        return
    rows = [["concept", "tag", "inside", "outside", "lift", "belongs"]]
    for one in found:
        belongs = "yes" if one.is_core else "no"
        rates = (f"{one.inside:.0%}", f"{one.outside:.0%}", f"{one.lift:.1f}")
        rows.append([short(one.concept, 40), short(one.tag, 40), *rates, belongs])
    print(printable("\n".join(table(rows, left=(0, 1)))))
    core = sum(one.is_core for one in found)
    print(
        f"{count(core, 'tag belongs', 'tags belong')} to a concept; by the rate inside alone "
        f"({options.threshold:g} or more) it would be {len(found):,}"
    )
    for name, (precision, recall) in told.items() if truth else ():
        print(f"{name}: precision {precision:.2f}, recall {recall:.2f}")
    if not truth:
        print("--prune removes them from the captions of their concepts")
