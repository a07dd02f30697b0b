"""Configs, prompts, captions and patterns that are small to write and large to read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lycoris_ext.config import read_config
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.examine import examine
from lycoris_ext.data.metadata_file import read_metadata
from lycoris_ext.network import NetworkConfig
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.patterns import pattern_fits
from lycoris_ext.sampling.prompts import read_prompts
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.trials import Kind, Trial
from tests.tiny_pictures import write_picture

_MB = 990_000
_NAME = "unet.down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_out.0"


def _doubled(start: str, line: str, deep: int = 40) -> str:
    """Return lines of which each uses the one before twice."""
    return start + "".join(line.format(now=n + 1, before=n) for n in range(deep))


CONFIGS: dict[str, str] = {
    "lists in lists.toml": "a = " + "[" * 100_000,
    "tables in tables.toml": "a = " + "{a = " * 100_000,
    "a name of many parts.toml": ".".join("a" * 100_000) + " = 1",
    "a heading of many parts.toml": "[" + ".".join("a" * 400_000) + "]",
    "quoted parts.toml": ".".join(['"a"'] * 200_000) + " = 1",
    "many headings.toml": "".join(f"[a{n}]\n" for n in range(80_000)),
    "many lists.toml": "a = [" + "[]," * 300_000 + "]",
    "one long text.toml": f'output_name = "{"x" * _MB}"',
    "a number of many digits.toml": "network_dim = " + "9" * 100_000,
    "an unknown option of a long name.toml": "x" * _MB + " = 1",
    "more than is read.toml": "# \n" * 40_000_000,
    "lists in lists.json": "[" * _MB,
    "deep tables.json": '{"a":' * 900 + "1" + "}" * 900,
    "an open text.json": '{"a": "' + '\\"' * 490_000,
    "commas.json": '{"a": [' + "," * _MB,
    "a number of many digits.json": '{"network_dim": ' + "9" * 100_000 + "}",
    "many empty lists.json": '{"a": [' + "[]," * 300_000 + "[]]}",
    "laughs.yaml": "a0: &a0 [x]\n" + _doubled("", "a{now}: &a{now} [*a{before}, *a{before}]\n"),
    "merged.yaml": "a0: &a0 {x: 1}\n"
    + _doubled("", "a{now}: &a{now} {{<<: [*a{before}, *a{before}]}}\n"),
    "itself.yaml": "a: &a [*a]",
    "flow.yaml": "a: " + "[" * 20_000,
    "sixties.yaml": "a: 1" + ":10" * 100_000,
    "a number of many digits.yaml": "a: " + "9" * 100_000,
    "no day.yaml": "a: 2001-99-99",
    "wrong tags.yaml": "a: !!int x\nb: !!timestamp x",
    "no flag.yaml": "a: !!bool x",
    "python.yaml": "a: !!python/object/apply:os.system [exit]",
    "variables.sh": "A0=xxxxxxxxxx\n"
    + _doubled("", "A{now}=$A{before}$A{before}\n")
    + "accelerate launch train_network.py --output_name=$A40",
    "spaces.sh": "python train_network.py --a" + " " * _MB + "b",
    "trainers.sh": "python " + "train" * 190_000 + "! --a",
    "quotes.sh": "python train_network.py --a " + '"\\"' * 300_000,
    "dollars.sh": "python train_network.py --a " + "$(" * 490_000,
    "flags.txt": "python train_network.py\n" + "--a\n" * 240_000,
    "percents.bat": "python train_network.py --a " + "%a" * 490_000,
    "hcp.yaml": "model: {x: 1}\ntrain: {x: 1}\ndata: {}\nlora_unet: [{rank: 4}]\nl0: xxxxxxxxxx\n"
    + _doubled("", 'l{now}: "' + "${{l{before}}}" * 9 + '"\n', 19),
}

PROMPTS: dict[str, str] = {
    "six million lines.txt": "a cat on a mat\n" * 6_600_000,
    "many lines.txt": "a\n" * 490_000,
    "one line.txt": "a" * _MB,
    "steps.txt": "a cat --s 1000000000",
    "digits.txt": "a cat --s " + "9" * 100_000,
    "width.txt": "a cat --w 1000000000",
    "height.txt": "a cat --h 9223372036854775808",
    "scale.txt": "a cat --l 1e999",
    "no number.txt": "a cat --l nan",
    "no seed.txt": "a cat --d -1",
    "an unknown option.txt": "a cat --" + "x" * 900_000,
    "options.txt": "a" + " --s 20" * 140_000,
    "nested.json": "[" * _MB,
    "many.json": "[" + '"a",' * 240_000 + '"a"]',
    "nested.toml": "prompt = " + "[" * 100_000,
    "many tables.toml": "[[prompt.subset]]\n" * 50_000,
}

CAPTIONS: dict[str, bytes] = {
    "100 MB": b"a cat, " * 15_000_000,
    "no space": b"a" * _MB,
    "commas": b"," * _MB,
    "brackets": b"(" * _MB,
    "a weight": b"(a:" + b"1" * _MB,
    "underscores": b"a_" * 490_000,
    "lines": b"a\n" * 490_000,
    "spaces": b"a" + b" " * _MB + b"b",
    "wildcards": b"{a|b}" * 190_000,
    "tags": b", ".join(b"t%d" % n for n in range(100_000)),
    "windows": b"\xe9a " * 300_000,
    "zeros": bytes(_MB),
}

METADATA: dict[str, str] = {
    "lists in lists.json": '{"a": ' + "[" * 1_000_000,
    "digits.json": '{"a": ' + "9" * 100_000 + "}",
    "a caption of 20 MB.json": '{"a": {"caption": "' + "x" * 20_000_000 + '"}}',
    "no lines.jsonl": "1\n" * 100_000,
    "more than is read.json": " " * 200_000_001,
}

PATTERNS: list[str] = [
    "^(([a-z0-9_.])+)+!$",
    "(.*.*.*.*.*)*!",
    "(a|a)*!",
    ".*.*.*.*.*.*.*!",
    "[a-z0-9_.]+[a-z0-9_.]+[a-z0-9_.]+[a-z0-9_.]+!",
    "(?:[a-z]|[a-z_]){60}!",
    "(" * 5000,
    "(?:" * 3000 + ")*" * 3000,
    "x" * 900_000,
]


def _config(path: Path, text: str) -> object:
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def _prompts(path: Path, text: str) -> object:
    path.write_text(text, encoding="utf-8")
    from lycoris_ext.sampling.specs import PromptSpec

    return [PromptSpec(**fields) for fields in read_prompts([str(path)])]


def _caption(folder: Path, raw: bytes) -> object:
    folder.mkdir()
    write_picture(folder / "a.png")
    (folder / "a.txt").write_bytes(raw)
    return examine(DataConfig(image_dir=str(folder), resolution=32))


def _metadata(path: Path, text: str) -> object:
    path.write_text(text, encoding="utf-8")
    return read_metadata(path)


def _pattern(pattern: str) -> object:
    NetworkConfig(include=[pattern])
    return [pattern_fits(pattern, f"{_NAME}.{number}") for number in range(1000)]


def _preset(path: Path, pattern: str) -> object:
    path.write_text(f"unet_target_name = ['{pattern}']", encoding="utf-8")
    return read_preset(NetworkConfig(preset=str(path)))


def _pipe(folder: Path, read: Callable[[Path], object]) -> object:
    import os

    folder.mkdir()
    os.mkfifo(folder / "a.toml")
    return read(folder / "a.toml")


def _all(folder: Path) -> dict[str, Callable[[], object]]:
    acts: dict[str, Callable[[], object]] = {}
    for name, text in CONFIGS.items():
        acts[f"config: {name}"] = partial(_config, folder / name, text)
    for name, text in PROMPTS.items():
        acts[f"prompts: {name}"] = partial(_prompts, folder / f"prompts {name}", text)
    for name, raw in CAPTIONS.items():
        acts[f"caption: {name}"] = partial(_caption, folder / name, raw)
    for name, text in METADATA.items():
        acts[f"metadata: {name}"] = partial(_metadata, folder / f"metadata {name}", text)
    for number, pattern in enumerate(PATTERNS):
        acts[f"pattern: {pattern[:50]}"] = partial(_pattern, pattern)
        acts[f"preset: {pattern[:50]}"] = partial(_preset, folder / f"{number}.toml", pattern)
    reads: dict[str, Callable[[Path], object]] = {
        "config": read_config,
        "prompts": lambda path: read_prompts([str(path)]),
        "preset": lambda path: read_preset(NetworkConfig(preset=str(path))),
        "metadata": read_metadata,
    }
    for name, read in reads.items():
        acts[f"{name}: a pipe"] = partial(_pipe, folder / f"pipe of {name}", read)
    return acts


def _texts(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    acts = _all(folder)
    names = random.Random(seed).sample(sorted(acts), min(number, len(acts)))
    yield from read_or_refused((name, acts[name]) for name in names)


KINDS = [
    Kind(
        "a config, prompt, caption or pattern that is small to write and large to read",
        _texts,
        12,
        1000,
        before=(73, 21),
        needs=NEEDS,
    )
]
