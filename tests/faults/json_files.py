"""JSON that is damaged or made to cost much, wherever a file of JSON is read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from lycoris_ext.data.metadata_file import read_metadata
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.grids.page import end_page, single_file
from lycoris_ext.grids.plan_file import read_faults, read_form, read_keys, read_plan
from lycoris_ext.grids.votes import FILE, read_votes
from lycoris_ext.models.config import ModelConfig
from lycoris_ext.models.load import load_pipeline
from lycoris_ext.models.outline import load_outline, picture_size_of
from lycoris_ext.runs.events import EventLog, read_events
from lycoris_ext.sampling.prompts import read_prompts
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.trials import Kind, Trial
from tests.tiny_pipeline import write_tiny_folder

TEXTS: dict[str, Callable[[], bytes]] = {
    **{
        f"{text!r:.30}": partial(bytes, text, "utf-8")
        for text in (
            "", " ", "null", "true", "0", "-1.5", "NaN", "1e999", '""', '"a"', "[]", "[[]]", "[{}]",
            "[null]", '["a"]', "[1]", "{}", '{"": null}', '{"a": {}}', '{"a": ', "[", "{", "nul",
            '{"step": "a"}', '{"step": null}', '{"version": "a"}', '{"version": 1}',
            '{"version": 1, "votes": [1]}', '{"version": 1, "votes": {}}', '{"prompt": 3}',
            '{"rows": 1}', '{"keys": [1], "faults": 2}', '{"weight_map": []}', '{"form": 3}',
            '{"weight_map": {"a": "../../x"}}', '{"architectures": 3}', '{"r": "a"}', '{"a": "b"}',
        )
    },
    "half a character": lambda: b'{"\\ud800": "\\ud800"}',
    "no UTF-8": lambda: b'{"a": "\xff"}',
    "UTF-16": lambda: '{"a": 1}'.encode("utf-16"),
    "a mark before it": lambda: b'\xef\xbb\xbf{"a": 1}',
    "zeros": lambda: b"\0" * 1000,
    "5,000 digits": lambda: b"9" * 5000,
    "a million digits": lambda: b'{"a": ' + b"9" * 1_000_000 + b"}",
    "900 lists": lambda: b"[" * 900 + b"]" * 900,
    "100,000 lists": lambda: b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a key of 3 MB": lambda: b'{"' + b"x" * 3_000_000 + b'": 1}',
    "lists by the million": lambda: b"[" + b"[]," * 10_000_000 + b"0]",
    "a megabyte of lists": lambda: b"[" + b"[]," * 300_000 + b"0]",
    "texts by the million": lambda: b"[" + b'"",' * 10_000_000 + b"0]",
    "control characters": lambda: b'{"\\u001b]0;x\\u0007": "\\u001b[31m\\n"}' * 1,
}  # fmt: skip


def _read_page(read: Callable[[Path], object], data: Path, page: Path) -> None:
    begin, end = b'<script type="application/json" id="data">', b"</script>"
    page.write_bytes(b"<html>" + begin + data.read_bytes() + end)
    read(page)


def _readers(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Return what is read -> the file of JSON in it, and how it is read."""
    peft = folder / "adapter_model.safetensors"
    factors = {"base_model.model.x.lora_A.weight": torch.ones(1, 4)}
    factors["base_model.model.x.lora_B.weight"] = torch.ones(4, 1)
    save_adapter(peft, AdapterState(factors))
    file = folder / "file.json"
    log = EventLog(folder / "x.events.jsonl")
    page = folder / "grid.html"
    return {
        "PEFT's config": (folder / "adapter_config.json", lambda: load_adapter(peft).layers()),
        "votes": (folder / FILE, lambda: read_votes(folder)),
        "events": (log.path, lambda: list(read_events(log.path))),
        "events to go on from": (log.path, lambda: log.continue_after(1)),
        "prompts": (file, lambda: read_prompts([str(file)])),
        "a metadata file": (file, lambda: read_metadata(file)),
        **{
            f"{read.__name__} of a grid": (file, partial(read, file))
            for read in (read_plan, read_faults, read_keys, read_form)
        },
        **{
            f"{read.__name__} of a page": (file, partial(_read_page, read, file, page))
            for read in (end_page, single_file)
        },
    }


def _model_readers(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Return the same of a base model."""
    model = write_tiny_folder(folder / "model")
    config = ModelConfig(pretrained_model_name_or_path=str(model))
    loaders: dict[str, Callable[..., object]] = {
        "load_outline": load_outline,
        "picture_size_of": picture_size_of,
        "load_pipeline": partial(load_pipeline, device="cpu"),
    }
    parts = (
        "unet/config.json", "vae/config.json", "text_encoder/config.json",
        "scheduler/scheduler_config.json", "tokenizer/vocab.json",
        "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json", "model_index.json",
    )  # fmt: skip
    return {
        f"{part} by {name}": (model / part, partial(load, config))
        for part in parts
        for name, load in loaders.items()
        # By default diffusers makes Stable Diffusion's U-Net, which is larger than the bound.
        if (part, name) != ("unet/config.json", "load_pipeline")
    }


def _tried(
    number: int,
    seed: int,
    readers: dict[str, tuple[Path, Callable[[], object]]],
) -> Iterator[Trial]:
    tried = [(name, text) for name in readers for text in TEXTS]
    random.Random(seed).shuffle(tried)

    def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
        for name, text in tried[:number]:
            path, read = readers[name]
            before = path.read_bytes() if path.exists() else None
            path.write_bytes(TEXTS[text]())
            yield f"{name}: {text}", read
            path.unlink() if before is None else path.write_bytes(before)

    yield from read_or_refused(attempts())


def _files(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    yield from _tried(number, seed, _readers(folder))


def _models(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    yield from _tried(number, seed, _model_readers(folder))


KINDS = [
    Kind("a file of JSON with other content", _files, 40, 2000, needs=NEEDS),
    Kind("a base model's JSON with other content", _models, 1, 2000, needs=NEEDS),
]
