"""The nodes Network, Dataset and Optimizer: what they return, and which inputs they refuse."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from comfy_nodes.advanced import grouped
from comfy_nodes.dataset import DatasetFolder, DatasetPictures
from comfy_nodes.host.widgets import option, read_options
from comfy_nodes.network import Network, NetworkLayers, NetworkScaling
from comfy_nodes.optimizer import Optimizer
from comfy_nodes.wording import readable
from lycoris_ext.config import all_options
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.network import NetworkConfig
from lycoris_ext.training.optimizers import OptimizerConfig
from lycoris_ext.training.schedules import ScheduleConfig
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.widget_orders import widgets_of
from tests.tiny_pictures import write_pictures

CUT = {"resolution": 32, "train_batch_size": 1, "num_repeats": 1, "enable_bucket": False}


def defaults(node: Any) -> dict[str, Any]:
    return {key: settings["default"] for key, (_, settings) in widgets_of(node).items()}


def test_untouched_widgets_give_the_defaults_of_the_options(host: Host) -> None:
    (network,) = Network().describe(**defaults(Network))
    # the seed's settings, without the text encoder
    changed = {"conv_dim": 4, "conv_alpha": 1.0, "network_train_unet_only": True}
    assert NetworkConfig(**network) == NetworkConfig(**changed)
    (rates,) = Optimizer().describe(**defaults(Optimizer))
    own = {name: value for name, value in rates.items() if name in OptimizerConfig.options()}
    assert OptimizerConfig(**own) == OptimizerConfig(optimizer_type="AdamW")
    own = {name: v for name, v in rates.items() if name in ScheduleConfig.__dataclass_fields__}
    assert ScheduleConfig(**own) == ScheduleConfig()


def test_what_is_trained_is_chosen_with_one_widget(host: Host) -> None:
    """The text encoder is left alone at first: most kinds of models refuse to have it trained."""
    trained = {}
    for chosen in ("model", "model and text encoder", "text encoder"):
        (options,) = Network().describe(train=chosen)
        config = NetworkConfig(**options)
        trained[chosen] = (
            config.network_train_unet_only,
            config.network_train_text_encoder_only,
        )
    assert list(trained.values()) == [(True, False), (False, False), (False, True)]
    assert defaults(Network)["train"] == "model"


def test_advanced_nodes_form_a_chain_that_the_plain_node_reads(host: Host) -> None:
    (first,) = NetworkScaling().collect(**defaults(NetworkScaling) | {"dora_wd": True})
    (both,) = NetworkLayers().collect(first, **defaults(NetworkLayers) | {"dropout": 0.5})
    (options,) = Network().describe(both, **defaults(Network))
    made = NetworkConfig(**options)
    assert made.dora_wd and made.dropout == 0.5 and made.conv_dim == 4
    with pytest.raises(ConfigError, match="two nodes set dropout"):
        NetworkLayers().collect(both, **defaults(NetworkLayers))


def test_an_option_that_no_node_names_goes_to_the_end_of_a_group() -> None:
    known = {name: all_options()[name] for name in ("factor", "dropout", "rank_dropout", "algo")}
    groups = {"a": ("rank_dropout", "gone"), "b": ()}
    placed = grouped(groups, known, ("algo",), lambda new: "b" if new.kinds else "a")
    assert placed == {"a": ["rank_dropout", "dropout"], "b": ["factor"]}


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
    shown = option("factor").settings
    assert shown["display_name"] == "size of the first factor"
    assert shown["tooltip"] == f"{known.help} Only for lokr. (factor)"


@pytest.mark.parametrize(
    ("name", "stands_for_unset"),
    [
        ("conv_alpha", 0),
        ("loraplus_lr_ratio", 0),
        ("lr_scheduler_timescale", 0),
        ("scale_weight_norms", 0),
    ],
)
def test_a_widget_says_what_its_special_value_means(name: str, stands_for_unset: float) -> None:
    """A widget cannot be empty, so a value that the option cannot have leaves the option out."""
    widget, known = option(name), all_options()[name]
    settings = widget.settings
    assert settings["default"] == settings["min"] == stands_for_unset
    meaning = readable(known.unset, frozenset(all_options()))
    assert f" {stands_for_unset}: {meaning}." in settings["tooltip"]
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
    first = DatasetFolder.IS_CHANGED(folder="shapes", path="")
    assert first == DatasetFolder.IS_CHANGED(folder="shapes", path="", resolution=64)
    caption = host.input / "shapes" / "2_shapes" / "00.txt"
    caption.write_text("another caption of another length", encoding="utf-8")
    second = DatasetFolder.IS_CHANGED(folder="shapes", path="")
    state = caption.stat()
    os.utime(caption, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))
    third = DatasetFolder.IS_CHANGED(folder="shapes", path="")
    caption.with_name("06.txt").touch()
    fourth = DatasetFolder.IS_CHANGED(folder="shapes", path="")
    assert second == third, "a time says nothing about a caption"
    assert len({first, second, fourth}) == 3
    assert DatasetFolder.IS_CHANGED(folder="nowhere", path="") == ""
    linked = DatasetFolder.IS_CHANGED(folder=None)
    assert isinstance(linked, float) and math.isnan(linked)


def test_a_wrong_folder_is_refused_before_anything_runs(host: Host) -> None:
    (host.input / "empty").mkdir()
    assert DatasetFolder.VALIDATE_INPUTS(folder="shapes", path="") is True
    assert DatasetFolder.VALIDATE_INPUTS(folder=None) is True
    for folder, reason in (
        ("nowhere", "there is no such folder"),
        ("empty", "the folder is empty"),
        ("../..", "leads out of"),
        (" ", "no folder is given"),
    ):
        assert reason in str(DatasetFolder.VALIDATE_INPUTS(folder=folder, path=""))


def test_the_dataset_node_names_pictures_without_caption(host: Host) -> None:
    (host.input / "shapes" / "2_shapes" / "03.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 6 pictures has no caption(.|\n)*03\.png"):
        DatasetFolder().read("shapes", **CUT)


def test_the_dataset_node_lists_the_folders_below_input_and_takes_any_other_path(
    host: Host, tmp_path: Path
) -> None:
    (host.input / "a" / ".hidden").mkdir(parents=True)
    choices, settings = widgets_of(DatasetFolder)["folder"]
    assert choices == ["(path below)", "a", "shapes", "shapes/2_shapes"]
    assert settings["default"] == "(path below)"
    (host.input / "shapes").rename(tmp_path / "elsewhere")
    data, _ = DatasetFolder().read("a", str(tmp_path / "elsewhere"), **CUT)
    assert data.options["train_data_dir"] == str(tmp_path / "elsewhere")
    assert "no folder is given" in str(DatasetFolder.VALIDATE_INPUTS("(path below)", ""))


def test_regularisation_pictures_come_from_an_advanced_node(host: Host) -> None:
    write_pictures(host.input / "classes", size=(32, 32))
    given = defaults(DatasetPictures) | {"reg_folder": "classes"}
    (advanced,) = DatasetPictures().collect(**given)
    data, _ = DatasetFolder().read("shapes", advanced=advanced, **CUT)
    assert data.options["reg_data_dir"] == str(host.input / "classes")
    before = DatasetPictures.IS_CHANGED(**given)
    (host.input / "classes" / "2_shapes" / "00.txt").write_text("other", "utf-8")
    assert DatasetPictures.IS_CHANGED(**given) != before
    assert "reg_data_dir" not in DatasetFolder().read("shapes", **CUT)[0].options
