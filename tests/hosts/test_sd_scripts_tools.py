"""What sd-scripts' own tools do to our files: the table in docs/hosts/kohya.md.

They know tensors called lora_down and lora_up. What else is in a file they pass over or fail at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lycoris_ext.errors import LycorisExtError
from lycoris_ext.formats import AdapterState, save_adapter
from lycoris_ext.network import NetworkConfig, build_network, load_network
from tests.hosts.checkouts import ROOT, Checkout
from tests.hosts.narrow import in_one_file, narrow_model, narrow_parts
from tests.hosts.sd_scripts import Ended, run_several

pytestmark = pytest.mark.hosts

#: Row of the table -> options of the network.
FILES: dict[str, dict[str, Any]] = {
    "lora, attn-mlp": {"algo": "lora", "preset": "attn-mlp"},
    "locon, blocks": {"algo": "locon", "preset": "blocks"},
    "locon, full": {"algo": "locon"},
    "locon, use_tucker": {"algo": "locon", "preset": "blocks", "use_tucker": True},
    "dylora": {"algo": "dylora", "preset": "blocks"},
    "train_norm": {"algo": "locon", "preset": "blocks", "train_norm": True},
    "dora_wd": {"algo": "locon", "preset": "blocks", "dora_wd": True},
    "loha": {"algo": "loha"},
    "lokr": {"algo": "lokr"},
    "glora": {"algo": "glora"},
    "ia3": {"algo": "ia3"},
    "diag-oft": {"algo": "diag-oft"},
    "tlora": {"algo": "tlora"},
    "full": {"algo": "full"},
}
TOOLS: dict[str, tuple[str, ...]] = {
    "merge_lora into a model": ("merge_lora.py", "--sd_model={base}", "--models", "{file}",
                                "--ratios", "1", "--save_precision=float"),
    "merge_lora of two files": ("merge_lora.py", "--models", "{file}", "{file}", "--ratios", "0.5",
                                "0.5", "--save_precision=float"),
    "svd_merge_lora": ("svd_merge_lora.py", "--models", "{file}", "{file}", "--ratios", "0.5",
                       "0.5", "--new_rank=16", "--save_precision=float"),
    "resize_lora": ("resize_lora.py", "--model={file}", "--new_rank=8", "--save_precision=float"),
}  # fmt: skip
#: Tool -> how far an update may be from the true one; svd_merge_lora cuts the largest values.
TOLERANCES = {"svd_merge_lora": 0.4}
#: Tool -> row -> what comes out, as the page has it.
TABLE = ("right", "nothing", "a part", "wrong", "fails")


def adapter(path: Path, options: dict[str, Any]) -> Path:
    """Save a network of random factors for the narrow model."""
    parts = narrow_parts()
    targets = {name: parts[name] for name in ("unet", "text_encoder")}
    network = build_network(targets, NetworkConfig(network_dim=8, **options))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    network.save(path, dtype=torch.float32)
    return path


def merged(file: Path) -> dict[str, Tensor]:
    """Return the narrow model's weights with a file merged into them by us."""
    parts = narrow_parts()
    targets = {name: parts[name] for name in ("unet", "text_encoder")}
    load_network(file, targets).merge(keep=False)
    return in_one_file(parts)


def verdict(
    base: dict[str, Tensor], wanted: dict[str, Tensor], found: dict[str, Tensor], tolerance: float
) -> str:
    """Compare what a tool made of the weights with the sum of base and update."""
    changed = [key for key in wanted if not torch.equal(wanted[key], base[key])]
    right = [
        key for key in changed if near(found[key] - base[key], wanted[key] - base[key], tolerance)
    ]
    missed = [key for key in changed if torch.equal(found[key], base[key])]
    if len(right) == len(changed):
        return "right"
    if len(missed) == len(changed):
        return "nothing"
    return "a part" if len(right) + len(missed) == len(changed) else "wrong"


def near(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    return bool((found - wanted).norm() <= tolerance * wanted.norm() + 1e-6)


Answers = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def answers(sd_scripts: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Let every tool work on every file; return tool -> row -> what comes out."""
    folder = tmp_path_factory.mktemp("tools")
    base = load_file(narrow_model())
    files = {name: adapter(folder / f"{number}.safetensors", options)
             for number, (name, options) in enumerate(FILES.items())}  # fmt: skip
    commands = {}
    for tool, (script, *options) in TOOLS.items():
        for number, (name, file) in enumerate(files.items()):
            made = folder / f"{tool} {number}.safetensors"
            texts = [text.format(base=narrow_model(), file=file) for text in options]
            commands[f"{tool}: {name}"] = [f"networks/{script}", *texts, f"--save_to={made}"]
    ended = run_several(sd_scripts, folder, commands)
    wanted = {name: merged(file) for name, file in files.items()}
    return {
        tool: {
            name: outcome(ended[f"{tool}: {name}"], Path(commands[f"{tool}: {name}"][-1][10:]),
                          tool, base, wanted[name])
            for name in files
        }
        for tool in TOOLS
    }  # fmt: skip


def outcome(
    run: Ended, made: Path, tool: str, base: dict[str, Tensor], wanted: dict[str, Tensor]
) -> str:
    if run.error is not None or not made.is_file():
        return "fails"
    if "into a model" in tool:
        return verdict(base, wanted, load_file(made), 0.01)
    plain = {k: t for k, t in load_file(made).items() if re.search(r"\.(lora_|alpha)", k)}
    if not any(".lora_" in key for key in plain):
        return "nothing"
    try:
        path = made.with_name(f"plain {made.name}")
        save_adapter(path, AdapterState(plain, {}))
        return verdict(base, wanted, merged(path), TOLERANCES.get(tool, 0.01))
    except LycorisExtError:
        return "wrong"


def rows_of_the_page() -> dict[str, dict[str, str]]:
    """Return the table of docs/hosts/kohya.md: tool -> row -> what comes out."""
    page = (ROOT / "docs" / "hosts" / "kohya.md").read_text(encoding="utf-8")
    lines = page.partition("## sd-scripts' own tools")[2].split("\n## ")[0].splitlines()
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")]
             for line in lines if line.startswith("|") and "---" not in line]  # fmt: skip
    head, *rows = cells
    return {
        tool: {row[0]: row[column] for row in rows}
        for column, tool in enumerate(head)
        if tool in TOOLS
    }


def test_the_table_of_the_page_is_what_the_tools_do(answers: Answers, record_property: Any) -> None:
    record_property("tools", answers)
    assert rows_of_the_page() == answers
