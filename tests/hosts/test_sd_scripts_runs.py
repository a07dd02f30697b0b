"""Whole trainings of a narrow model: no run is lost late, and every preview can be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.metadata import json_object
from tests.hosts.checkouts import Checkout
from tests.hosts.sd_scripts import Ended, train_several
from tests.kohya_gui import GUI_ARGUMENTS, GUI_PRESETS
from tests.tiny_pictures import write_pictures

pytestmark = pytest.mark.hosts

ARGS = "--network_args"
PREVIEWS = ("--sample_every_n_steps=1", "--sample_at_first")
DROPPED = ("rank_dropout=0.3", "module_dropout=0.3", "dropout=0.3")
BFLOAT16 = ("--mixed_precision=bf16", "--full_bf16", "--save_precision=bf16")
LIMITED = ("--scale_weight_norms=1", "--save_every_n_steps=1", "--save_precision=fp16")

#: Name -> options. Those of DRAWN draw pictures before the first step and after each.
DRAWN: dict[str, tuple[str, ...]] = {
    "loha": (ARGS, "algo=loha", "conv_dim=4", *DROPPED),
    "lora": (ARGS, "algo=lora", "dora_wd=True", *DROPPED),
    "lokr": (ARGS, "algo=lokr", "factor=4"),
    "dylora": (ARGS, "algo=dylora", "unit=2"),
    "glora": (ARGS, "algo=glora"),
    "ia3": (ARGS, "algo=ia3"),
    "full": (ARGS, "algo=full"),
    "norm": (ARGS, "algo=norm"),
    "diag-oft": (ARGS, "algo=diag-oft"),
    "tlora": (ARGS, "algo=tlora"),
    "tlora-batch": (ARGS, "algo=tlora", "preset=attn-only"),
    "tlora-bf16": (ARGS, "algo=tlora", "preset=attn-only"),
}
MORE = {"tlora-batch": ("--train_batch_size=2",), "tlora-bf16": BFLOAT16}
KEPT: dict[str, tuple[str, ...]] = {
    "lokr of dim 100000": ("--network_dim=100000", "--network_alpha=1", "--save_precision=fp16",
                           ARGS, "algo=lokr", "factor=4"),
    # The plain log has a line for each message.
    "lycoris' defaults": ("--console_log_simple", ARGS, "algo=loha", "wd_on_output=True",
                          "factor=-1", "decompose_both=True", "use_data_init=True", "unit=1",
                          "verbose=True"),
    **{f"limited {algo}": (*LIMITED, ARGS, f"algo={algo}")
       for algo in ("lora", "loha", "lokr", "dylora", "full")},
    **{f"GUI {algo}": (ARGS, *GUI_ARGUMENTS[algo].split(),
                       *(() if algo == "full" else ("conv_dim=8",))) for algo in GUI_ARGUMENTS
       if algo != "boft"},
    "GUI boft": ("--network_dim=16", ARGS, *GUI_ARGUMENTS["boft"].split(), "conv_dim=16"),
    **{f"preset {preset}": (ARGS, *GUI_ARGUMENTS["loha"].split(), f"preset={preset}")
       for preset in (*GUI_PRESETS, "ia3")},
}  # fmt: skip
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    **{f"limited {algo}": ((*LIMITED, ARGS, f"algo={algo}"), "a norm cannot be limited for")
       for algo in ("ia3", "diag-oft", "glora", "tlora")},
    "GUI diag-oft with a convolution rank of 1":
        ((ARGS, *GUI_ARGUMENTS["diag-oft"].split(), "conv_dim=1"), "Convolution Rank (Dimension)"),
    "prodigy": (("--optimizer_type=Prodigy", "--unet_lr=1", "--text_encoder_lr=0.5", ARGS,
                 "algo=loha"), "Prodigy finds the step size itself"),
    "ggpo": ((ARGS, "ggpo_beta=0.01", "ggpo_sigma=0.03"), "ggpo_sigma is not supported"),
    "flux": ((ARGS, "train_blocks=single"), "train_blocks is for FLUX.1"),
}  # fmt: skip

Runs = dict[str, Ended]


@pytest.fixture(scope="module")
def ended(sd_scripts: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    pictures = write_pictures(folder / "pictures", size=(64, 64))
    prompts = folder / "prompts.txt"
    prompts.write_text("a cat --w 64 --h 64 --s 2 --d 1\n", encoding="utf-8")
    shown = (*PREVIEWS, f"--sample_prompts={prompts}")
    runs = {f"drawn {name}": (*shown, *MORE.get(name, ()), *more) for name, more in DRAWN.items()}
    runs |= KEPT | {f"refused {name}": more for name, (more, _) in REFUSED.items()}
    return train_several(sd_scripts, pictures, folder, runs)


@pytest.mark.parametrize("name", DRAWN)
def test_a_run_draws_its_previews_and_saves(ended: Runs, name: str) -> None:
    run = ended[f"drawn {name}"]
    assert run.error is None, run.output[-2000:]
    assert load_adapter(run.file).tensors
    assert len(list((run.folder / "sample").glob("*.png"))) == 3


@pytest.mark.parametrize("name", KEPT)
def test_a_run_that_begins_saves(ended: Runs, name: str) -> None:
    run = ended[name]
    assert run.error is None, run.output[-2000:]
    assert load_adapter(run.file).tensors


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_that_could_be_lost_late_does_not_begin(ended: Runs, name: str) -> None:
    run = ended[f"refused {name}"]
    assert run.error is not None and run.error.startswith("ConfigError: ")
    assert REFUSED[name][1] in run.error
    assert not run.took_a_step and not run.file.exists()


def test_the_log_names_what_has_no_effect_and_every_layer_if_asked(ended: Runs) -> None:
    output = ended["lycoris' defaults"].output
    assert "decompose_both=True has no effect: algo=loha does not read it" in output
    assert "wd_on_output has no effect without dora_wd=True" in output
    assert "lora_unet_conv_in" in output


def test_a_file_that_is_continued_keeps_its_options(
    ended: Runs, sd_scripts: Checkout, tmp_path: Path
) -> None:
    first = ended["drawn loha"].file
    pictures = write_pictures(tmp_path / "pictures", size=(64, 64))
    more = {
        "continued": ("--dim_from_weights", f"--network_weights={first}"),
        "otherwise": ("--dim_from_weights", f"--network_weights={first}", ARGS, "dropout=0.1"),
    }
    runs = train_several(sd_scripts, pictures, tmp_path, more)
    then = json_object(load_adapter(first).metadata["ss_network_args"])
    for run in runs.values():
        assert run.error is None, run.output[-2000:]
        now = json_object(load_adapter(run.file).metadata["ss_network_args"])
        for name in ("algo", "preset", "conv_dim"):
            assert now[name] == then[name]
        assert float(now["conv_alpha"]) == 4.0
        assert "rank_dropout" not in now
