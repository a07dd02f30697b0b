"""A model as a tree of class names and layer sizes, which JSON holds, and an empty model from it.

Numbered children that are alike stand together: {"0-18": {...}}. A layer is
[class, out, in, *kernel] and is rebuilt as torch's own, on meta; anything else is a module of that
class name with nothing in it but its children.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Tree = Any
_LAYERS = {"Linear": nn.Linear, "Conv1d": nn.Conv1d, "Conv2d": nn.Conv2d, "Conv3d": nn.Conv3d}


def tree_of(module: nn.Module) -> Tree:
    if isinstance(module, nn.Linear):
        return ["Linear", module.out_features, module.in_features]
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        kind = next(name for name, known in _LAYERS.items() if isinstance(module, known))
        return [kind, module.out_channels, module.in_channels, *module.kernel_size]
    children = {name: tree_of(child) for name, child in module.named_children()}
    return {"class": type(module).__name__, **({"of": _together(children)} if children else {})}


def model_of(tree: Tree) -> nn.Module:
    if isinstance(tree, list):
        kind, out, inside, *kernel = tree
        with torch.device("meta"):
            if kernel:
                return _LAYERS[kind](inside, out, tuple(kernel))
            return nn.Linear(inside, out)
    module = type(tree["class"], (nn.Module,), {})()
    for names, child in tree.get("of", {}).items():
        first, _, last = names.partition("-")
        numbers = range(int(first), int(last) + 1) if last else [first]
        for name in numbers:
            module.add_module(str(name), model_of(child))
    return module


def _together(children: dict[str, Tree]) -> dict[str, Tree]:
    runs: list[tuple[list[str], Tree]] = []
    for name, tree in children.items():
        if runs and runs[-1][1] == tree and name.isdigit() and runs[-1][0][-1].isdigit():
            runs[-1][0].append(name)
        else:
            runs.append(([name], tree))
    return {
        (f"{names[0]}-{names[-1]}" if len(names) > 1 else names[0]): tree for names, tree in runs
    }
