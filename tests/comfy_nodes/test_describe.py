"""The nodes Network, Dataset and Optimizer: what they return, and which inputs they refuse."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

from comfy_nodes.dataset import DatasetFolder
from comfy_nodes.host.widgets import option, read_options
from comfy_nodes.network import Network
from comfy_nodes.optimizer import Optimizer
from lycoris_ext.config import all_options
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.network import NetworkConfig
from lycoris_ext.training.optimizers import OptimizerConfig
from lycoris_ext.training.schedules import ScheduleConfig
from tests.comfy_nodes.stand_ins import Host

CUT = {"resolution": 32, "train_batch_size": 1, "num_repeats": 1, "enable_bucket": False}


def defaults(node: Any) -> dict[str, Any]:
    given = node.INPUT_TYPES()
    inputs = {**given["required"], **given["optional"]}
    return {key: settings["default"] for key, (_, settings) in inputs.items()}


def test_untouched_widgets_give_the_defaults_of_the_options(host: Host) -> None:
    (network,) = Network().describe(**defaults(Network))
    changed = {"conv_dim": 4, "conv_alpha": 1.0}  # the seed's settings
    assert NetworkConfig(**network) == NetworkConfig(**changed)
    (rates,) = Optimizer().describe(**defaults(Optimizer))
    own = {name: value for name, value in rates.items() if name in OptimizerConfig.options()}
    assert OptimizerConfig(**own) == OptimizerConfig(optimizer_type="AdamW")
    own = {name: v for name, v in rates.items() if name in ScheduleConfig.__dataclass_fields__}
    assert ScheduleConfig(**own) == ScheduleConfig()


SAVED_WITH_0_1_0 = {
    Network: [
        "loha", 8, 1.0, 4, 1.0, "full", False, False, False, False, 0.0, 0.0, 0.0, -1, False, False,
        False, False, False, False, 0.0, False, 4, "", "",
    ],
    Optimizer: [
        "AdamW", 2e-4, "constant", 0.0, -1.0, -1.0, 0.0, 0.01, 0.9, 0.999, 1.0, 0.0, 0.0, 1, 1.0,
        0.0, 0.0, "l2", "snr", 0.1, 0.0, False, 0.0, 0, 0.0, 0, 1000, 1.0,
    ],
}  # fmt: skip
"""The values of untouched nodes by position, as ComfyUI wrote them into workflows."""


@pytest.mark.parametrize("node", SAVED_WITH_0_1_0, ids=lambda node: node.__name__)
def test_workflows_saved_with_0_1_0_mean_what_they_meant(host: Host, node: Any) -> None:
    now = defaults(node)
    saved = dict(zip(now, SAVED_WITH_0_1_0[node], strict=False))
    assert node().describe(**{**now, **saved}) == node().describe(**now)


def test_include_and_exclude_take_one_pattern_a_line(host: Host) -> None:
    (options,) = Network().describe(algo="loha", include="conv_in\n\n  to_q ", exclude="")
    assert options["include"] == ("conv_in", "to_q") and options["exclude"] == ()


@pytest.mark.parametrize(
    ("node", "values", "reason"),
    [
        (Network, {"include": "("}, "is no regular expression"),
        (Network, {"wd_on_output": True}, "dora_wd"),
        (
            Optimizer,
            {"lr_scheduler": "constant", "lr_warmup_steps": 10.0},
            "lr_warmup_steps is 10.0",
        ),
        (Optimizer, {"unet_lr": 0.0, "text_encoder_lr": 0.0}, "nothing would be trained"),
    ],
)
def test_contradicting_widgets_are_refused_by_their_own_node(
    host: Host, node: Any, values: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        node().describe(**values)


def test_a_tooltip_is_the_help_text_of_its_option() -> None:
    known = all_options()["factor"]
    assert option("factor").settings["tooltip"] == f"{known.help} Only for lokr."


@pytest.mark.parametrize(
    ("name", "stands_for_unset"),
    [
        ("conv_alpha", 0),
        ("max_train_epochs", 0),
        ("min_timestep", -1),
        ("lr_scheduler_min_lr_ratio", -1),
    ],
)
def test_a_widget_says_what_its_special_value_means(name: str, stands_for_unset: float) -> None:
    """A widget cannot be empty, so a value that the option cannot have leaves the option out."""
    widget, known = option(name), all_options()[name]
    settings = widget.settings
    assert settings["default"] == settings["min"] == stands_for_unset
    assert f" {stands_for_unset}: {known.unset}." in settings["tooltip"]
    assert read_options([widget], {name: stands_for_unset}) == {}
    with pytest.raises(ConfigError, match=name):
        known.convert(stands_for_unset)


def test_limits_of_a_widget_are_those_of_its_option() -> None:
    """Where an option must be above or below a number, the widget's limit lies just inside."""
    assert option("network_dim").settings["min"] == 1
    assert option("factor").settings["min"] == -1
    alpha, dropout = option("network_alpha").settings, option("dropout").settings
    assert 0 < alpha["min"] < 0.01 and (dropout["min"], dropout["max"]) == (0, 0.9999)
    assert option("seed").settings["max"] == 2**53  # what JavaScript can count to
    assert option("save_precision").kind == ["fp16", "bf16", "float"]


def test_the_dataset_node_reads_a_folder_of_folders_or_one_of_pictures(host: Host) -> None:
    data, summary = DatasetFolder().read("shapes", **CUT, reg_folder="")
    assert data.options["train_data_dir"] == str(host.input / "shapes")
    assert "2_shapes: 6 pictures x 2" in summary and "first caption: by tester" in summary
    data, summary = DatasetFolder().read("shapes/2_shapes", **{**CUT, "num_repeats": 3})
    assert data.options["image_dir"].endswith("2_shapes") and "6 pictures x 3" in summary


def test_a_changed_picture_folder_makes_the_dataset_node_run_again(host: Host) -> None:
    first = DatasetFolder.IS_CHANGED(folder="shapes", reg_folder="")
    assert first == DatasetFolder.IS_CHANGED(folder="shapes", reg_folder="", resolution=64)
    caption = host.input / "shapes" / "2_shapes" / "00.txt"
    caption.write_text("another caption of another length", encoding="utf-8")
    second = DatasetFolder.IS_CHANGED(folder="shapes", reg_folder="")
    state = caption.stat()
    os.utime(caption, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))
    third = DatasetFolder.IS_CHANGED(folder="shapes", reg_folder="")
    caption.with_name("06.txt").touch()
    fourth = DatasetFolder.IS_CHANGED(folder="shapes", reg_folder="")
    assert len({first, second, third, fourth}) == 4
    assert DatasetFolder.IS_CHANGED(folder="nowhere") == ""
    linked = DatasetFolder.IS_CHANGED(folder=None)
    assert isinstance(linked, float) and math.isnan(linked)


def test_a_wrong_folder_is_refused_before_anything_runs(host: Host) -> None:
    (host.input / "empty").mkdir()
    assert DatasetFolder.VALIDATE_INPUTS(folder="shapes") is True
    assert DatasetFolder.VALIDATE_INPUTS(folder=None) is True
    for folder, reason in (
        ("nowhere", "there is no such folder"),
        ("empty", "the folder is empty"),
        ("../..", "leads out of"),
        (" ", "no folder is given"),
    ):
        assert reason in str(DatasetFolder.VALIDATE_INPUTS(folder=folder))


def test_the_dataset_node_names_pictures_without_caption(host: Host) -> None:
    (host.input / "shapes" / "2_shapes" / "03.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 6 pictures has no caption(.|\n)*03\.png"):
        DatasetFolder().read("shapes", **CUT)
