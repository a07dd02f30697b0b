"""`lycoris-ext dataset balance DIR`: share an epoch among folders, level by level."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lycoris_ext.cli.new_config import unused_path
from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.config.commented import commented_toml
from lycoris_ext.data.balance import ROUNDINGS, Share, balance, read_weights
from lycoris_ext.data.folder_tree import FolderTree, read_tree
from lycoris_ext.data.rebalance import changes, take_back, write_repeats
from lycoris_ext.formats import atomic_write
from lycoris_ext.words import command, count, table


def main(options: argparse.Namespace) -> int:
    """Print the repeats, and write them if asked; return the exit code."""
    folder: Path = options.folder
    if options.undo:
        print(f"{count(take_back(folder), 'folder is', 'folders are')} as before")
        return 0
    output = None if options.config is None else unused_path(options.config)
    tree = read_tree(folder)
    weights = read_weights(options.weights) if options.weights else {}
    shares = balance(tree, weights, options.rounding, options.most)
    wanted = changes(tree, {share.leaf.folder: share.repeats for share in shares})
    if options.json:
        print(json.dumps(_as_json(tree, shares, options.rounding), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_as_text(shares, options.rounding, options.most)))
    if output is not None:
        atomic_write(output, _config(shares).encode("utf-8"))
    elif options.write:
        write_repeats(tree, wanted)
    if not options.json:
        print(_done(options, output, len(wanted)))
    return 0


def _as_text(shares: Sequence[Share], rounding: str, most: int) -> list[str]:
    """Return a table of the folders, and of the epoch before and after."""
    whole = [name for name in ROUNDINGS if name == rounding or name != "fractional"]
    rows = [["folder", "pictures", "share", "exact", *whole, "now", "samples", "new share"]]
    samples = sum(share.weighted for share in shares) or 1
    for share in shares:
        rounded = [f"{min(ROUNDINGS[name](share.exact), most):g}" for name in whole]
        rows.append(
            [
                share.leaf.name,
                f"{len(share.leaf.pictures):,}",
                f"{float(share.probability):.2%}",
                f"{float(share.exact):.2f}",
                *rounded,
                f"{share.leaf.repeats:g}",
                f"{share.weighted:,.0f}",
                f"{share.weighted / samples:.2%}",
            ]
        )
    same = sum(share.repeats == share.leaf.repeats for share in shares)
    now = sum(share.leaf.weighted for share in shares)
    pictures = sum(len(share.leaf.pictures) for share in shares)
    before = f"{count(round(samples), 'sample')} with {rounding}, and {now:,.0f} now"
    return [
        *table(rows),
        f"{count(len(shares), 'folder')}, {count(pictures, 'picture')}; an epoch has {before}",
        f"{same} of {count(len(shares), 'folder')} have these repeats already",
    ]


def _as_json(tree: FolderTree, shares: Sequence[Share], rounding: str) -> dict[str, Any]:
    return {
        "folder": str(tree.root),
        "layout": "nested" if tree.is_nested else "named",
        "rounding": rounding,
        "samples": sum(share.weighted for share in shares),
        "folders": [
            {
                "folder": share.leaf.folder.relative_to(tree.root).as_posix(),
                "levels": share.leaf.levels,
                "pictures": len(share.leaf.pictures),
                "probability": float(share.probability),
                "exact": float(share.exact),
                **{name: rounded(share.exact) for name, rounded in ROUNDINGS.items()},
                "now": share.leaf.repeats,
                "repeats": share.repeats,
            }
            for share in shares
        ],
    }


def _config(shares: Sequence[Share]) -> str:
    """Return the TOML of a config whose subsets are the folders."""
    subsets = [
        {
            "image_dir": share.leaf.folder.resolve().as_posix(),
            **_repeats(share.repeats),
            "class_tokens": share.leaf.name,
        }
        for share in shares
        if share.repeats
    ]
    config = build_config([OptionSource("balance", {"subsets": subsets})])
    return commented_toml(config, ["The folders of a data set, with balanced repeats."])


def _repeats(repeats: float) -> dict[str, float]:
    return {"multiply": repeats} if repeats % 1 else {"num_repeats": int(repeats)}


def _done(options: argparse.Namespace, output: Path | None, changed: int) -> str:
    if output is not None:
        return f"written: {output}"
    if not options.write:
        return "nothing is written; --write changes the folders, --config FILE.toml writes a config"
    if not changed:
        return "nothing had to be changed"
    back = command("lycoris-ext", "dataset", "balance", options.folder, "--undo")
    return (
        f"{count(changed, 'folder has', 'folders have')} new repeats; take them back with: {back}"
    )
