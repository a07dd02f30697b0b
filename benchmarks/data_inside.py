"""The parts of `benchmarks/data.py` that are measured in a process of their own.

    python benchmarks/data_inside.py report FOLDER

The last line is a JSON object of the figures.
"""

from __future__ import annotations

import time

START = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from contextlib import contextmanager, suppress  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

BATCHES = 400


def report(folder: Path) -> dict[str, float]:
    """Make a report from the headers of pictures; return seconds, pictures and peak memory."""
    import resource  # not on Windows

    from lycoris_ext.cli.dataset.reading import data_config
    from lycoris_ext.data import examine
    from lycoris_ext.data.report import make_report

    start, worked = time.perf_counter(), time.process_time()
    scan = examine(data_config(folder).data, open_pictures=False)
    made = make_report(scan, folder)
    figures = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - worked,
        "pictures": made.whole.pictures,
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {**figures, "peak_mb": peak}


def first_batch(folder: Path) -> dict[str, float]:
    """Train the demo's LoHa until its first step is done; return the seconds until each mark."""
    from lycoris_ext.cli.demo import DemoSettings, demo_config
    from lycoris_ext.training.pipeline_base import PipelineBase
    from lycoris_ext.training.train import train
    from lycoris_ext.training.watcher import Watcher

    marks = {"imports": time.perf_counter() - START}

    class Stopped(Exception):
        pass

    class Marks(Watcher):
        def pictures_read(self, config, pictures):  # type: ignore[no-untyped-def]
            marks["pictures checked"] = time.perf_counter() - START

        @contextmanager
        def watching(self, run):  # type: ignore[no-untyped-def]
            marks["model loaded, latents read, network built"] = time.perf_counter() - START
            yield

        def after_step(self, run, report):  # type: ignore[no-untyped-def]
            marks["first step done"] = time.perf_counter() - START
            marks["first step done, in CPU seconds"] = time.process_time()
            raise Stopped

    config = demo_config(DemoSettings(folder / "out", device="cpu"))
    data = replace(config.data, cache_latents_to_disk=True, cache_dir=str(folder / "cache"))
    config = replace(config, data=data)
    marks["config"] = time.perf_counter() - START
    with suppress(Stopped):
        train(config, PipelineBase(config), Marks())
    return marks


def batches(folder: Path) -> dict[str, float]:
    """Take batches of one picture of a megapixel; return how many a second."""
    import torch

    from lycoris_ext.data import (
        DataConfig,
        DiskStore,
        cache_latents,
        iterate_batches,
        open_training_set,
    )
    from lycoris_ext.data.store import MemoryStore

    torch.set_num_threads(1)
    captions = {"shuffle_caption": True, "caption_tag_dropout_rate": 0.1, "flip_aug": True}
    config = DataConfig(image_dir=str(folder), resolution=1024, num_repeats=50, **captions)
    pictures = open_training_set(config, seed=0)
    zeros = torch.zeros(1, 4, 128, 128)

    def taken(store: DiskStore | MemoryStore | None) -> float:
        latents = store and cache_latents(pictures, lambda _: (zeros, zeros), store=store)
        start = time.perf_counter()
        for plan in iterate_batches(pictures, 0, BATCHES):
            if latents:
                latents.batch(plan, 0)
        return BATCHES / (time.perf_counter() - start)

    return {
        "captions_and_order": taken(None),
        "latents_in_memory": taken(MemoryStore()),
        "latents_on_disk": taken(DiskStore(folder / "cache")),
    }


PARTS = {part.__name__: part for part in (report, first_batch, batches)}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]))))
