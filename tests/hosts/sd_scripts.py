"""sd-scripts' command lines: what its scripts need to run offline, on a CPU, in half a minute.

With a model of real size (see `base_model`) at 64 px a run takes 10 to 25 s before its first step,
3 s a step on one thread, and just under 7 GB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image

from tests.hosts.base_model import base_model, clip_tokenizers
from tests.hosts.checkouts import Checkout, Run, run_script
from tests.hosts.narrow import narrow_model

#: The tokenizers that SD1.x, SD2.x and SDXL ask the hub for.
TOKENIZERS = (
    "openai/clip-vit-large-patch14",
    "stabilityai/stable-diffusion-2",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
)

#: Runs a script with SD1's own classes made narrow.
NARROW = Path(__file__).resolve().parent / "inside" / "sd_scripts_narrow.py"

SEVERAL = NARROW.with_name("sd_scripts_runs.py")

# Workers would be processes of their own, with memory of their own, and half precision is slow on a
# CPU.
ON_A_CPU = ("--mixed_precision=no", "--sdpa", "--max_data_loader_n_workers=0")


def train_network(
    scripts: Checkout,
    pictures: Path,
    output: Path,
    module: str,
    *more: str,
    script: str = "train_network.py",
    family: str = "sd1",
    steps: int = 2,
    narrow: bool = False,
) -> Run:
    """Train a network with the real script; the file is output/NETWORK.safetensors.

    Args:
        scripts: the checkout.
        pictures: parent of the folders N_name.
        output: for everything that it writes.
        module: for --network_module.
        more: further options; they may repeat and so replace those given here.
        script: e.g. sdxl_train_network.py.
        family: of the base model, a key of `FAMILIES`.
        steps: of the optimizer.
        narrow: whether the model has SD1's layers with few channels.
    """
    return run_script(
        scripts,
        *(str(part) for part in _started(script, narrow)),
        f"--pretrained_model_name_or_path={narrow_model() if narrow else base_model(family)}",
        *training_options(pictures, output, module, steps),
        *more,
    )


def training_options(pictures: Path, output: Path, module: str, steps: int = 2) -> list[str]:
    """Return the options of every training but the base model; see ``train_network``."""
    return [
        f"--tokenizer_cache_dir={clip_tokenizers(*TOKENIZERS)}",
        f"--train_data_dir={pictures}",
        f"--output_dir={output}",
        "--output_name=network",
        "--caption_extension=.txt",
        "--resolution=64",
        "--train_batch_size=1",
        f"--network_module={module}",
        "--network_dim=8",
        "--network_alpha=4",
        f"--max_train_steps={steps}",
        "--optimizer_type=AdamW",
        "--learning_rate=1e-4",
        "--gradient_checkpointing",
        "--seed=1",
        *ON_A_CPU,
    ]


@dataclass(frozen=True)
class Ended:
    """How a run of ``train_several`` ended.

    Args:
        error: "ConfigError: what is wrong"; None: it did all steps.
        output: what it printed and logged.
        folder: of its files.
    """

    error: str | None
    output: str
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "network.safetensors"

    @property
    def took_a_step(self) -> bool:
        return "running training" in self.output


def train_several(
    scripts: Checkout, pictures: Path, output: Path, runs: Mapping[str, Sequence[str]]
) -> dict[str, Ended]:
    """Train a narrow model several times in one process, which saves most of the time.

    Args:
        scripts: the checkout.
        pictures: parent of the folders N_name.
        output: for everything that the runs write, each in a folder of its name.
        runs: name -> further options; they may repeat and so replace those given here.
    """
    model = f"--pretrained_model_name_or_path={narrow_model()}"
    commands = {}
    for name, more in runs.items():
        options = training_options(pictures, output / name, "lycoris_ext.kohya")
        commands[name] = ["train_network.py", model, *options, *more]
    return run_several(scripts, output, commands)


def run_several(
    scripts: Checkout, output: Path, commands: Mapping[str, Sequence[str]]
) -> dict[str, Ended]:
    """Run scripts on the narrow model one after the other in one process.

    Args:
        scripts: the checkout.
        output: the folder of each command's folder.
        commands: name -> script and options.
    """
    file = output / "runs.json"
    file.write_text(json.dumps([*map(list, commands.values())]), encoding="utf-8")
    run = run_script(scripts, SEVERAL, str(file))
    found = json.loads(run.output.splitlines()[-1])
    return {
        name: Ended(one["error"], one["output"], output / name)
        for name, one in zip(commands, found, strict=True)
    }


def generate(
    scripts: Checkout,
    output: Path,
    module: str | None = None,
    weights: Path | None = None,
    *more: str,
    multiplier: float = 1.0,
    script: str = "gen_img.py",
    family: str = "sd1",
    narrow: bool = False,
) -> Image.Image:
    """Draw one picture of 64 px with the real generation script.

    Args:
        scripts: the checkout.
        output: folder for the picture; not there yet.
        module: for --network_module; None: the base model alone.
        weights: for --network_weights.
        more: further options.
        multiplier: for --network_mul.
        script: gen_img.py or sdxl_gen_img.py.
        family: of the base model.
        narrow: whether the model has SD1's layers with few channels.
    """
    network: tuple[str, ...] = ()
    if module is not None:
        network = (
            f"--network_module={module}",
            f"--network_weights={weights}",
            f"--network_mul={multiplier}",
        )
    run_script(
        scripts,
        *(str(part) for part in _started(script, narrow)),
        f"--ckpt={narrow_model() if narrow else base_model(family)}",
        f"--tokenizer_cache_dir={clip_tokenizers(*TOKENIZERS)}",
        f"--outdir={output}",
        "--prompt=a cat",
        "--W=64",
        "--H=64",
        "--steps=2",
        "--seed=1",
        "--sampler=euler_a",
        "--sdpa",
        *network,
        *more,
    )
    (path,) = output.glob("*.png")
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _started(script: str, narrow: bool) -> tuple[str | Path, ...]:
    """Return the script to run with its first argument."""
    return (NARROW, script) if narrow else (script,)


def step_seconds(run: Run) -> list[float]:
    """Return how long each step of a training took, by the moves of its progress bar."""
    arrived: dict[int, float] = {}
    for when, text in run.pieces:
        for done in re.findall(r"steps:\s+\d+%\|[^|]*\|\s*(\d+)/", text):
            arrived.setdefault(int(done), when)
    times = [arrived[done] for done in sorted(arrived)]
    return [after - before for before, after in pairwise(times)]
