"""Models of real size with random weights: loaded from one file, trained on, and drawn with."""

from __future__ import annotations

import math
import os
import time

import pytest
import torch

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.formats import load_adapter
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.sampling.adapters import AdapterUse
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.specs import PromptSpec
from lycoris_ext.training.terminal import train_in_terminal
from tests.recorded import loss_curve
from tests.single_files import write_random_model
from tests.tiny_pictures import write_pictures

FACTS = {
    # Parameters of a LoHa 8/4 with preset full; for SD1.5 counted in a peer's network, too.
    "sd1": (15_207_744, "sd_v1"),
    "sdxl": (None, "sdxl_base_v1-0"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("family", "precision"), [("sd1", "no"), ("sdxl", "bf16")])
def test_a_model_of_full_size_trains_saves_reloads_and_samples(
    family, precision, tmp_path, capsys, request
):
    if family == "sdxl" and physical_memory() < 20e9:
        pytest.skip("SDXL needs 20 GB of memory")
    started = time.monotonic()

    def note(what: str) -> None:
        with capsys.disabled():
            print(f"\n{family}: {what} after {time.monotonic() - started:.0f} s, {memory()}")

    model = write_random_model(tmp_path / f"{family}.safetensors", family)
    request.addfinalizer(model.unlink)  # pytest keeps its folders for a while
    note("file written")
    options = {
        "pretrained_model_name_or_path": str(model),
        "train_data_dir": str(write_pictures(tmp_path / "pictures")),
        "output_dir": str(tmp_path / "out"),
        "output_name": "test",
        "resolution": 64,
        "algo": "loha",
        "network_dim": 8,
        "conv_dim": 4,
        "mixed_precision": precision,
        "optimizer_type": "AdamW",
        "max_train_steps": 2,
        "network_train_unet_only": family == "sdxl",
        "device": "cpu",
    }
    path = train_in_terminal(build_config([OptionSource("test", options)]))
    note("two steps trained")
    losses = [loss for _, loss in loss_curve(tmp_path / "out" / "test.events.jsonl")]
    assert len(losses) == 2 and all(0.1 < loss < 10 for loss in losses)
    state = load_adapter(path)
    count, version = FACTS[family]
    assert state.metadata["ss_base_model_version"] == version
    if count is not None:
        assert sum(t.numel() for k, t in state.tensors.items() if not k.endswith("alpha")) == count
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    pipeline = load_pipeline(ModelConfig(pretrained_model_name_or_path=str(model)), "cpu", dtype)
    spec = PromptSpec("a cat", steps=2, width=64, height=64)
    with_adapter = draw(pipeline, [spec], [AdapterUse(path)])[0].picture
    without = draw(pipeline, [spec])[0].picture
    note("drawn")
    assert with_adapter.size == (64, 64)
    assert with_adapter.tobytes() != without.tobytes()


def physical_memory() -> float:
    """Return the bytes of memory of this machine, or infinity if the system does not say."""
    if not hasattr(os, "sysconf"):  # Windows
        return math.inf
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def memory() -> str:
    """Return a text of the most memory that this process has held, if the system says so."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return "memory unknown"
    return f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB"
