"""Write docs/performance.md, its chart and docs/reliability.md from benchmarks/results.

    python benchmarks/document.py

Do not edit these files by hand; a test compares them with the results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import data_page
import reliability
from bars import Bar, bar_chart
from contestants import CASES
from measuring import RESULTS
from pages import table
from pages import write as write_files

from lycoris_ext.plots.charts import chart_bytes

DOCS = RESULTS.parent.parent / "docs"
PAGE = DOCS / "performance.md"
PICTURE = DOCS / "images" / "performance.svg"
Row = dict[str, Any]
TITLES = {**{name: case.title for name, case in CASES.items()}, "": "frozen"}
MODELS = {"sd15": "SD1.5", "sdxl": "SDXL", "tiny": "tiny"}
CONTESTANTS = {"ours": "ours", "lycoris-lora": "lycoris-lora", "peft": "PEFT"}
HEAD = """\
# Performance

This page is written by `python benchmarks/document.py` from the files in `benchmarks/results/`.

The floor is the time of the frozen model's forward and backward, which every training step needs.
Figures are ratios to the floor: medians over rounds in which every library takes its turn, with
quartiles in brackets. All libraries adapt the same layers of the same random weights, and a step
includes building the factors. "LoHa 8/4" has rank 8 in Linear layers and 4 in convolutions. An
empty field was not measured.

On a CPU our library ("ours") computes the frozen part of the layers that it adapts faster than
torch does ([decision 016](decisions/016-frozen-products.md)), so it can be faster than the floor.
The text above each table says how long the whole frozen model takes when it is computed in this
faster way. The difference to that figure is what the adapter itself costs.
"""


def pages() -> dict[Path, str]:
    """Return the files to write: path -> text."""
    sections: list[tuple[str, Callable[[dict[str, Any]], Iterable[str]]]] = [
        ("step_time", _steps),
        ("accumulation", _accumulation),
        ("compiled", _compiled),
        ("reach", _reach),
        ("gpu", _gpu),
        ("data", data_page.section),
    ]
    lines = [HEAD]
    picture = ""
    for kind, write in sections:
        for result in _results(kind):
            lines += [*write(result), _provenance(result), ""]
            if kind == "step_time" and not picture:
                picture = _picture(result["rows"])
                lines.insert(1, "![Ratio to the floor, by library](images/performance.svg)\n")
    files = {PAGE: "\n".join(lines).rstrip() + "\n"}
    return files | ({PICTURE: picture} if picture else {})


def _results(kind: str) -> list[dict[str, Any]]:
    paths = sorted(RESULTS.glob(f"{kind}_*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _provenance(result: dict[str, Any]) -> str:
    device = result.get("device", {}).get("name") or result["machine"]["cpus"]
    versions = ", ".join(f"{name} {text}" for name, text in result["versions"].items() if text)
    return f"Measured on: {device}; {versions}."


def _table(head: list[str], body: Iterable[list[str]]) -> list[str]:
    return [*table(head, body), ""]


def _ratio(row: Row | None) -> str:
    if row is None:
        return ""
    if "ratio" not in row:
        return row.get("skipped") or "failed"
    if row.get("rounds") == 1:
        return f"{row['ratio']:.2f} (one round)"
    if "ratio_q1" not in row:
        return f"{row['ratio']:.2f}"
    return f"{row['ratio']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})"


def _cases(rows: list[Row]) -> list[str]:
    """Return the cases that occur in the rows, in the order of TITLES."""
    return [case for case in TITLES if case and any(row["case"] == case for row in rows)]


def _steps(result: dict[str, Any]) -> Iterable[str]:
    key = ("model", "latents", "batch", "share_weights")
    lacks = result["unavailable"]
    groups = groupby(result["rows"], lambda row: tuple(row[name] for name in key))
    for (model, latents, batch, shared), group in groups:
        rows = list(group)
        lacking = {(row["case"], row["by"]): {"skipped": row["why"]} for row in lacks}
        found = lacking | {(row["case"], row["by"]): row for row in rows}
        floor = found["", "floor"]
        yield f"## {MODELS[model]}, {latents}x{latents} latents, batch {batch}, CPU\n"
        yield f"The floor takes {floor['cpu_seconds']:.2f} s on one thread, in float32."
        if same := found.get(("", "floor, our products")):
            share = _ratio(same)
            yield f"With our faster products in all its layers it takes {share} of that."
        if shared:
            yield "All frozen weights share one buffer, so that they fit into memory."
        yield ""
        yield from _table(
            ["", *CONTESTANTS.values()],
            (
                [TITLES[case], *(_ratio(found.get((case, by))) for by in CONTESTANTS)]
                for case in _cases(rows)
            ),
        )
        yield from _forced(rows, found)
        yield from _memory(rows, found)


def _forced(rows: list[Row], found: dict[tuple[str, str], Row]) -> Iterable[str]:
    cases = [case for case in _cases(rows) if (case, "ours, chain") in found]
    if cases:
        yield "Our library with one path forced, compared with its own choice for each layer:\n"
        names = ("ours", "ours, chain", "ours, dense")
        yield from _table(
            ["", "chosen", "thin chain", "dense"],
            ([TITLES[case], *(_ratio(found.get((case, by))) for by in names)] for case in cases),
        )


def _memory(rows: list[Row], found: dict[tuple[str, str], Row]) -> Iterable[str]:
    field = "peak_mb_above_rest"
    if not any(field in row for row in rows):
        return
    least = found["", "floor"].get(field)
    yield (
        f"Peak memory of a step above the memory held between steps, in MB, without heap "
        f"fragmentation; the frozen model takes {least:.0f}:\n"
    )

    def cell(case: str, by: str) -> str:
        value = found.get((case, by), {}).get(field, "")
        return f"{value:.0f}" if isinstance(value, float) else value

    yield from _table(
        ["", *CONTESTANTS.values()],
        ([TITLES[case], *(cell(case, by) for by in CONTESTANTS)] for case in _cases(rows)),
    )


def _accumulation(result: dict[str, Any]) -> Iterable[str]:
    yield "## Gradient accumulation\n"
    yield f"{result['what']}. What does not depend on the batch is built once:\n"
    kernels = result["kernels"]
    counts = {
        "floor": str(kernels["batch, frozen"]),
        "built each time": str(kernels["batch, built each time"]),
        "built once": f"{kernels['batch, built once']}, and {kernels['once']} once",
    }
    yield from _table(
        ["", "ratio to the floor", "kernels a batch"],
        ([case, _ratio(row), counts[case]] for case, row in result["cases"].items()),
    )


def _compiled(result: dict[str, Any]) -> Iterable[str]:
    yield "## torch.compile over one transformer block, CPU\n"
    yield f"{result['block']}; `fullgraph=True`; ratios to the frozen eager block.\n"
    yield from _table(
        ["", "eager", "compiled", "first step, s"],
        _eager_and_compiled(result["rows"]),
    )


def _eager_and_compiled(rows: list[Row]) -> Iterable[list[str]]:
    found = {(row["case"], row["compiled"]): row for row in rows}
    for case in dict.fromkeys(row["case"] for row in rows):
        eager, compiled = found[case, False], found[case, True]
        first = compiled.get("first_step_seconds", "")
        yield [TITLES[case], _ratio(eager), _ratio(compiled), f"{first}"]


def _reach(result: dict[str, Any]) -> Iterable[str]:
    for name, title in (("opening", "Opening an adapter"), ("putting_in", "Injecting and merging")):
        yield f"## {title}\n"
        first = next(iter(result[name]))
        yield from _table(
            ["", "ms", f"ratio to: {first}"],
            (
                [case, f"{row['milliseconds']:.1f}", _ratio(row)]
                for case, row in result[name].items()
            ),
        )
    yield f"{result['what'][0].upper()}{result['what'][1:]}.\n"


def _gpu(result: dict[str, Any]) -> Iterable[str]:
    rows = result["rows"]
    steps = [row for row in rows if row["part"] == "steps"]
    key = ("model", "pixels", "batch", "checkpointing")
    settings = dict.fromkeys(tuple(row[name] for name in key) for row in steps if "batch" in row)
    for setting in settings:
        model, pixels, batch, checkpointing = setting
        found = {}
        for row in steps:
            if tuple(row.get(name) for name in key) == setting:
                found.setdefault((row["case"], row["by"]), row)
        floor = found.get(("", "floor"), {})
        suffix = ", gradient checkpointing" if checkpointing else ""
        yield f"## {MODELS[model]}, {pixels} pixels, batch {batch}, bf16, GPU{suffix}\n"
        if "ms" in floor:
            yield f"The floor takes {floor['ms']:.1f} ms.\n"

        def cell(case: str, by: str, found: dict[tuple[str, str], Row] = found) -> str:
            row = found.get((case, by))
            memory = "" if row is None else row.get("peak_mb_above_rest")
            return _ratio(row) + (f", {memory:.0f} MB" if memory else "")

        yield from _table(
            ["ratio, memory of a step", *CONTESTANTS.values()],
            (
                [TITLES[case], *(cell(case, by) for by in CONTESTANTS)]
                for case in _cases(list(found.values()))
            ),
        )
    yield from _gpu_graphs([row for row in rows if row["part"] == "graphs"], steps)
    yield from _gpu_optimizers([row for row in rows if row["part"] == "optimizers"])
    compiled = [row for row in rows if row["part"] == "compile"]
    for model in dict.fromkeys(row["model"] for row in compiled):
        yield f"## torch.compile over one transformer block of {MODELS[model]}, GPU\n"
        body = _eager_and_compiled([row for row in compiled if row["model"] == model])
        yield from _table(["", "eager", "compiled", "first step, s"], body)


def _gpu_graphs(graphs: list[Row], steps: list[Row]) -> Iterable[str]:
    if graphs:
        yield "## Eager steps and CUDA graphs, batch 1, ms\n"
        eager = {
            (row["model"], row["case"]): row
            for row in reversed(steps)
            if row.get("batch") == 1 and not row["checkpointing"] and row["by"] in ("floor", "ours")
        }
        cells = ((row, eager.get((row["model"], row["case"]), {})) for row in graphs)
        yield from _table(
            ["", "", "eager", "graph"],
            (
                [MODELS[row["model"]], TITLES[row["case"]], _milliseconds(was), _milliseconds(row)]
                for row, was in cells
            ),
        )


def _gpu_optimizers(rows: list[Row]) -> Iterable[str]:
    if rows:
        yield "## One optimizer step over a LoHa 8/4, GPU\n"
        yield from _table(
            ["", "", "ms", "state, MB"],
            (
                [MODELS[row["model"]], row["by"], _milliseconds(row), f"{row.get('state_mb', '')}"]
                for row in rows
            ),
        )


def _milliseconds(row: Row) -> str:
    return f"{row['ms']:.2f}" if "ms" in row else row.get("skipped") or row.get("failed", "")


def _picture(rows: list[Row]) -> str:
    """Draw the ratios of the first setting, for our library and the others, as an SVG."""
    first = rows[0]
    same = [row for row in rows if all(row[k] == first[k] for k in ("model", "latents", "batch"))]
    found = {(row["case"], row["by"]): row["ratio"] for row in same if "ratio" in row}
    groups = {
        TITLES[case]: [
            Bar(title, found[case, by]) for by, title in CONTESTANTS.items() if (case, by) in found
        ]
        for case in _cases(same)
    }
    model, latents, batch = MODELS[first["model"]], first["latents"], first["batch"]
    title = f"A training step of {model}, {latents}x{latents} latents, batch {batch}, on one thread"
    axis = "time of a step as a multiple of the frozen model's (less is better)"
    return chart_bytes(bar_chart(title, axis, "frozen model", groups), "svg").decode("utf-8")


if __name__ == "__main__":
    write_files(pages() | reliability.pages())
