"""An exported config says the same to the real sd-scripts as to us."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris_ext.cli.export_config import main as export
from tests.hosts.checkouts import Checkout, run_script

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"
CONFIG = """
pretrained_model_name_or_path = "base.safetensors"
algo = "lokr"
factor = 8
network_dim = 16
conv_dim = 4
exclude = ['\\.attn2\\.']
resolution = "512,768"
lr_scheduler = "cosine"
lr_warmup_steps = 100
max_train_epochs = 3
min_snr_gamma = 5
text_encoder_lr = 1e-5
sample_prompts = ["a cat --n b"]
sample_every_n_epochs = 1
[[subsets]]
image_dir = "a"
num_repeats = 3
keep_tokens = 1
[[subsets]]
image_dir = "b"
is_reg = true
class_tokens = "woman"
resolution = 768
"""


def test_sd_scripts_reads_an_exported_config_with_its_datasets(
    sd_scripts: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(CONFIG, encoding="utf-8")
    output = tmp_path / "theirs.toml"
    assert export([str(tmp_path / "mine.toml"), "--to", "sd-scripts", "-o", str(output)]) == 0
    run = run_script(sd_scripts, INSIDE / "sd_scripts_config.py", str(output))
    found = json.loads(run.output.splitlines()[-1])
    assert found["network_module"] == "lycoris_ext.kohya" and found["network_dim"] == 16
    assert {"algo=lokr", "conv_dim=4", "factor=8", r"exclude=\.attn2\."} <= {*found["network_args"]}
    assert (found["lr_warmup_steps"], found["max_train_epochs"]) == (100, 3)
    assert (found["text_encoder_lr"], found["min_snr_gamma"]) == (1e-5, 5)
    assert "betas=0.9,0.999" in found["optimizer_args"]
    assert Path(found["sample_prompts"]).read_text("utf-8") == "a cat --n b\n"
    first, second = found["datasets"]
    assert (first["resolution"], second["resolution"]) == ([512, 768], [768, 768])
    (one,), (other,) = first["subsets"], second["subsets"]
    assert (one["image_dir"], one["num_repeats"], one["keep_tokens"]) == ("a", 3, 1)
    assert (other["image_dir"], other["is_reg"], other["class_tokens"]) == ("b", True, "woman")
    assert one["caption_extension"] == ".txt"
