"""Network, Dataset and Optimizer: what they hand on, and what they refuse."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

from comfy_nodes.dataset import DatasetFolder
from comfy_nodes.host.widgets import option
from comfy_nodes.network import Network
from comfy_nodes.optimizer import Optimizer
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


def test_untouched_widgets_are_the_cores_defaults(host: Host) -> None:
    (network,) = Network().describe(**defaults(Network))
    changed = {"conv_dim": 4, "conv_alpha": 1.0}  # the seed's settings
    assert NetworkConfig(**network) == NetworkConfig(**changed)
    (rates,) = Optimizer().describe(**defaults(Optimizer))
    own = {name: value for name, value in rates.items() if name in OptimizerConfig.options()}
    assert OptimizerConfig(**own) == OptimizerConfig(optimizer_type="AdamW")
    own = {name: v for name, v in rates.items() if name in ScheduleConfig.__dataclass_fields__}
    assert ScheduleConfig(**own) == ScheduleConfig()


def test_layers_by_name(host: Host) -> None:
    (options,) = Network().describe(algo="loha", include="conv_in\n\n  to_q ", exclude="")
    assert options["include"] == ("conv_in", "to_q") and options["exclude"] == ()


@pytest.mark.parametrize(
    ("node", "values", "reason"),
    [
        (Network, {"include": "("}, "is no regular expression"),
        (Network, {"wd_on_output": True}, "dora_wd"),
        (Optimizer, {"lr_scheduler": "constant", "lr_warmup_steps": 10.0}, "has no warm-up"),
        (Optimizer, {"unet_lr": 0.0, "text_encoder_lr": 0.0}, "nothing would be trained"),
    ],
)
def test_contradictions_stand_on_their_node(
    host: Host, node: Any, values: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        node().describe(**values)


def test_tooltips_are_the_options_own_words() -> None:
    widget = option("unet_lr", unset=-1.0, says="-1: unset.")
    assert widget.settings["default"] == -1.0
    assert widget.settings["tooltip"].startswith("Learning rate of the U-Net's adapter")
    assert widget.settings["tooltip"].endswith("-1: unset.")


def test_a_folder(host: Host) -> None:
    data, summary = DatasetFolder().read("shapes", **CUT, reg_folder="")
    assert data.options["train_data_dir"] == str(host.input / "shapes")
    assert "2_shapes: 6 pictures x 2" in summary and "first caption: by tester" in summary
    data, summary = DatasetFolder().read("shapes/2_shapes", **{**CUT, "num_repeats": 3})
    assert data.options["image_dir"].endswith("2_shapes") and "6 pictures x 3" in summary


def test_a_changed_folder_is_another(host: Host) -> None:
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


def test_a_wrong_folder_is_told_before_anything_runs(host: Host) -> None:
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


def test_missing_captions_are_named(host: Host) -> None:
    (host.input / "shapes" / "2_shapes" / "03.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 6 pictures have no caption(.|\n)*03\.png"):
        DatasetFolder().read("shapes", **CUT)
