"""`--network_module lycoris_ext.kohya` in the real scripts: train, resume, continue, draw."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

from lycoris_ext.cli.sample import main as sample
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.metadata import json_object
from lycoris_ext.formats.summary import summarize
from tests.hosts.base_model import base_model
from tests.hosts.checkouts import ROOT, Checkout, Run
from tests.hosts.sd_scripts import generate, step_seconds, train_network
from tests.kohya_gui import GUI_ARGUMENTS
from tests.tiny_pictures import write_pictures

pytestmark = pytest.mark.hosts

MODULE = "lycoris_ext.kohya"
RATE = 1e-4
#: Rank and options as the users of networks.lora would give them.
SETTINGS: dict[str, tuple[str, ...]] = {
    "loha": ("--network_args", "algo=loha", "conv_dim=4", "conv_alpha=1"),
    "locon": ("--network_dim=16", "--network_args", "algo=locon", "conv_dim=8", "conv_alpha=1"),
}
#: tensors of a layer times the layers of SD1.x, default preset; numbers as tests/oracles has them.
TENSORS = {"loha": 5 * 354, "locon": 3 * 354}
NUMBERS = 15_207_744
#: Bytes that sdxl_train_network.py takes while it loads the checkpoint, and some to spare.
SDXL_MEMORY = 16_000_000_000

Trained = tuple[str, Run, Path]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures", size=(64, 64))


@pytest.fixture(scope="module", params=SETTINGS)
def trained(
    request: pytest.FixtureRequest,
    sd_scripts: Checkout,
    pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """Train two steps of SD1 with each algorithm; return (algorithm, run, folder of the file)."""
    folder = tmp_path_factory.mktemp(request.param)
    run = train_network(sd_scripts, pictures, folder, MODULE, *SETTINGS[request.param])
    return request.param, run, folder


@pytest.fixture
def file(trained: Trained) -> Path:
    return trained[2] / "network.safetensors"


@pytest.fixture(scope="module", params=SETTINGS)
def narrow(
    request: pytest.FixtureRequest,
    sd_scripts: Checkout,
    pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """Train two steps of a narrow model in the same way, and save the state, too."""
    folder = tmp_path_factory.mktemp(f"narrow-{request.param}")
    more = (*SETTINGS[request.param], "--save_state_on_train_end")
    run = train_network(sd_scripts, pictures, folder, MODULE, *more, narrow=True)
    return request.param, run, folder


def moved(first: Path, second: Path) -> float:
    """Return the largest difference of any number between two files with the same keys."""
    mine, other = load_adapter(first).tensors, load_adapter(second).tensors
    assert mine.keys() == other.keys()
    return max((mine[key].float() - other[key].float()).abs().max().item() for key in mine)


def test_two_steps_write_a_file_in_which_every_layer_was_trained(
    trained: Trained, file: Path, record_property: Any
) -> None:
    algo, run, _ = trained
    record_property("step_seconds", [round(seconds, 2) for seconds in step_seconds(run)])
    record_property("peak_gb", run.peak and round(run.peak / 1e9, 2))
    record_property("data_sha256", read_adapter_file(file).data_hash())
    state = load_adapter(file)  # refuses a number that is not finite
    assert len(state.tensors) == TENSORS[algo]
    assert (
        sum(t.numel() for key, t in state.tensors.items() if not key.endswith("alpha")) == NUMBERS
    )
    summary = summarize(file)
    assert summary.modules == {"unet": 282, "text_encoder": 72}
    assert summary.hash.agrees
    trained_keys = [key for key in state.tensors if key.endswith(("hada_w2_a", "lora_up.weight"))]
    assert all(state.tensors[key].abs().max() > 0 for key in trained_keys)


def test_the_metadata_hold_module_options_and_hash(trained: Trained, file: Path) -> None:
    algo, _, _ = trained
    metadata = load_adapter(file).metadata
    assert metadata["ss_network_module"] == MODULE
    assert metadata["ss_network_dim"] == ("16" if algo == "locon" else "8")
    arguments = json_object(metadata["ss_network_args"])
    assert arguments["algo"] == algo and arguments["preset"] == "full"
    assert arguments["conv_dim"] == ("8" if algo == "locon" else "4")
    assert arguments["conv_alpha"] == "1"
    assert metadata["sshs_model_hash"] == read_adapter_file(file).data_hash()


def test_a_resumed_run_goes_on_from_its_state(
    narrow: Trained, pictures: Path, sd_scripts: Checkout, tmp_path: Path
) -> None:
    algo, _, folder = narrow
    more = (*SETTINGS[algo], f"--resume={folder / 'network-state'}", "--skip_until_initial_step")
    train_network(sd_scripts, pictures, tmp_path, MODULE, *more, steps=3, narrow=True)
    step = moved(folder / "network.safetensors", tmp_path / "network.safetensors")
    assert 0 < step < 20 * RATE  # AdamW's steps are a few rates long; a fresh factor is far away


def test_network_weights_continue_from_the_file(
    narrow: Trained, pictures: Path, sd_scripts: Checkout, tmp_path: Path
) -> None:
    algo, _, folder = narrow
    file = folder / "network.safetensors"
    options = ("--dim_from_weights",) if algo == "loha" else SETTINGS[algo]
    more = (*options, f"--network_weights={file}")
    train_network(sd_scripts, pictures, tmp_path, MODULE, *more, steps=1, narrow=True)
    assert 0 < moved(file, tmp_path / "network.safetensors") < 20 * RATE


def test_our_sampler_draws_another_picture_with_the_file(file: Path, tmp_path: Path) -> None:
    adapter = strengthened(file, tmp_path / "strong.safetensors")
    model = f"--model={base_model('sd1')}"
    small = ("--width=64", "--height=64", "--steps=1", "--seed=1", "--device=cpu")
    options = [model, "--prompt=a cat", "--cfg-scale=1", *small]
    drawn = []
    for name, uses in (("with", ["--adapter", str(adapter)]), ("without", [])):
        assert sample([*options, *uses, "--output-dir", str(tmp_path / name)]) == 0
        (path,) = (tmp_path / name).glob("*.png")
        drawn.append(Image.open(path).convert("RGB"))
    assert drawn[0].tobytes() != drawn[1].tobytes()


@pytest.mark.parametrize("narrow", ["loha"], indirect=True)
def test_gen_img_draws_the_same_applied_merged_and_calculated_before(
    narrow: Trained, sd_scripts: Checkout, tmp_path: Path
) -> None:
    adapter = strengthened(narrow[2] / "network.safetensors", tmp_path / "strong.safetensors")
    ways = {"applied": (), "merged": ("--network_merge",), "before": ("--network_pre_calc",)}
    drawn = {
        name: generate(sd_scripts, tmp_path / name, MODULE, adapter, *options, narrow=True)
        for name, options in ways.items()
    }
    plain = generate(sd_scripts, tmp_path / "plain", narrow=True)
    for picture in drawn.values():
        assert distance(picture, plain) > 10 * max(1, distance(picture, drawn["applied"]))
    text = {k: t for k, t in load_adapter(adapter).tensors.items() if k.startswith("lora_te_")}
    save_adapter(tmp_path / "text.safetensors", AdapterState(text))
    only_text = generate(
        sd_scripts, tmp_path / "text", MODULE, tmp_path / "text.safetensors", narrow=True
    )
    assert distance(only_text, plain) > 1, "a list of one text encoder has the prefix lora_te"


def test_a_step_of_sdxl_writes_all_788_layers_of_the_unet(
    sd_scripts: Checkout, pictures: Path, tmp_path: Path, record_property: Any
) -> None:
    """One step of the U-Net in half precision is all that 16 GB of memory allow."""
    if (free := available_memory()) < SDXL_MEMORY:
        pytest.skip(f"needs {SDXL_MEMORY / 1e9:.0f} GB of memory, {free / 1e9:.0f} GB are free")
    less = ("--network_train_unet_only", "--cache_text_encoder_outputs", "--mixed_precision=bf16",
            "--full_bf16", "--save_precision=fp16", "--lowram")  # fmt: skip
    more = (*SETTINGS["loha"], *less)
    run = train_network(
        sd_scripts, pictures, tmp_path, MODULE, *more,
        script="sdxl_train_network.py", family="sdxl", steps=1,
    )  # fmt: skip
    record_property("peak_gb", run.peak and round(run.peak / 1e9, 2))
    summary = summarize(tmp_path / "network.safetensors")
    assert summary.modules == {"unet": 788}
    metadata = load_adapter(tmp_path / "network.safetensors").metadata
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"


def available_memory() -> int:
    """Bytes that a program could still take; 0 where the system does not say."""
    info = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text()) if info.is_file() else None
    return int(found[1]) * 1024 if found else 0


def test_the_example_config_trains_with_one_command(sd_scripts: Checkout, tmp_path: Path) -> None:
    """The config is changed only where this needs a GPU, bitsandbytes or much time."""
    picture = write_pictures(tmp_path / "pictures", count=1, repeats=1, size=(64, 64))
    example = ROOT / "examples" / "kohya" / "seed_default.toml"
    slow = ("--optimizer_type=AdamW", "--max_train_epochs=1", "--min_bucket_reso=64")
    more = (f"--config_file={example}", *slow, "--network_dim=8", "--network_alpha=1")
    train_network(sd_scripts, picture, tmp_path, MODULE, *more, narrow=True)
    summary = summarize(tmp_path / "network.safetensors")
    assert {(group.rank, group.alpha) for group in summary.layers} == {(8, 1.0), (4, 1.0)}
    assert summary.algorithms == ("loha",)


def test_a_config_that_the_kohya_ss_gui_writes_trains(
    sd_scripts: Checkout, pictures: Path, tmp_path: Path
) -> None:
    """Its config file names lycoris.kohya; its additional parameters come behind the file."""
    config = {
        "network_module": "lycoris.kohya",
        "network_dim": 8,
        "network_alpha": 1.0,
        "network_args": [*GUI_ARGUMENTS["loha"].split()],
    }
    path = tmp_path / "gui.toml"
    path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in config.items()), "utf-8")
    train_network(
        sd_scripts, pictures, tmp_path, MODULE, f"--config_file={path}", steps=1, narrow=True
    )
    metadata = load_adapter(tmp_path / "network.safetensors").metadata
    assert metadata["ss_network_module"] == MODULE
    assert json_object(metadata["ss_network_args"])["algo"] == "loha"


def test_a_step_takes_little_more_memory_than_with_networks_lora(
    sd_scripts: Checkout, pictures: Path, tmp_path: Path, record_property: Any
) -> None:
    """LoHa 8/4 with convolutions against networks.lora of dim 8 without, alternating.

    The ratio of the times is recorded in the receipt and not asserted: it depends on the kind of
    processor, and on what else the machine does.
    """
    seconds: dict[str, list[float]] = {"networks.lora": [], MODULE: []}
    peaks: dict[str, int] = dict.fromkeys(seconds, 0)
    for round_ in range(2):
        for module, taken in seconds.items():
            more = SETTINGS["loha"] if module == MODULE else ()
            folder = tmp_path / f"{module}-{round_}"
            run = train_network(sd_scripts, pictures, folder, module, *more, steps=7)
            taken += step_seconds(run)[1:]
            peaks[module] = max(peaks[module], run.peak or 0)
    ratio = median(seconds[MODULE]) / median(seconds["networks.lora"])
    record_property("steps", {name: len(taken) for name, taken in seconds.items()})
    record_property("step_ratio", round(ratio, 3))
    record_property("peak_gb", {name: round(peak / 1e9, 2) for name, peak in peaks.items()})
    assert all(len(taken) >= 6 for taken in seconds.values())
    assert all(peaks.values()) or not sys.platform.startswith("linux")
    assert peaks[MODULE] <= 1.1 * peaks["networks.lora"]


def strengthened(file: Path, path: Path) -> Path:
    """Save the same adapter with alphas so large that two steps become visible."""
    state = load_adapter(file)
    tensors = {k: t * 20 if k.endswith("alpha") else t for k, t in state.tensors.items()}
    save_adapter(path, AdapterState(tensors, state.metadata))
    return path


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root of the mean square between two pictures, in 1/255."""
    counts = torch.tensor(ImageChops.difference(one, other).histogram(), dtype=torch.float64)
    values = torch.arange(256, dtype=torch.float64).repeat(3)
    return math.sqrt(float((counts * values**2).sum() / counts.sum()))
