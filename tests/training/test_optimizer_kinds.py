"""What holds for every optimizer of the table, and for those that other packages add to it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lycoris_ext.config import OptionSource, all_options, build_config, dump_toml
from lycoris_ext.config.from_adapter import write_config
from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.formats import load_adapter
from lycoris_ext.options import Option
from lycoris_ext.runs.state import load_state
from lycoris_ext.training import optimizer_kinds
from lycoris_ext.training.optimizer_kinds import (
    OptimizerKind,
    optimizer_kind,
    optimizer_names,
    register_optimizer,
)
from lycoris_ext.training.optimizers import (
    OptimizerConfig,
    build_optimizer,
    state_bytes,
    training_paused,
)
from lycoris_ext.training.step import optimizer_step
from lycoris_ext.training.train import train
from lycoris_ext.training.watcher import Watcher
from tests.training.outside_optimizers import KINDS, SIGN, Base
from tests.training.test_train import Told

ROOT = Path(__file__).resolve().parents[2]
ALL = pytest.mark.parametrize("name", [*optimizer_names(), *(kind.name for kind in KINDS)])
ONE_OF_EACH_PACKAGE = pytest.mark.parametrize(
    "name",
    [
        *("AdamW8bit", "AdamW", "Adam", "SGD", "RMSprop", "Prodigy", "ProdigyPlusScheduleFree"),
        *("DAdaptation", "AdamWScheduleFree", "Adafactor", "CAME", "Muon"),
        *(kind.name for kind in KINDS),
    ],
)
"""Each killed run is a process of its own; runs with the others stop and go on in this one."""


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """Add the optimizers of other packages to the table, and restore it after the test."""
    monkeypatch.setattr(optimizer_kinds, "_KINDS", dict(optimizer_kinds._KINDS))
    for kind in KINDS:
        register_optimizer(kind)


def network_and_optimizer(name, **options):
    torch.manual_seed(0)
    network = nn.Linear(256, 256, bias=False)
    config = OptimizerConfig(optimizer_type=name, learning_rate=1e-2, **options)
    group = {"params": list(network.parameters()), "lr": 1e-2, "name": "unet"}
    return network, build_optimizer([group], config)


def rate_of(name):
    """Return a learning rate that changes the adapter in a few steps, where there is one."""
    return 1.0 if optimizer_kind(name).finds_rate else 1e-2


def step(network, optimizer, number=0):
    generator = torch.Generator().manual_seed(number)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer_step(optimizer, 1.0, 1.0)


def changed_options(kind):
    """Return each option of a kind with another value than its default."""
    return {
        known.name: not known.default if isinstance(known.default, bool) else known.default / 2
        for known in kind.options
    }


# what every run does


def contents(folder):
    """Return the bytes of all files of a run but its events, in which a stop is recorded."""
    files = (path for path in folder.iterdir() if path.suffix in (".safetensors", ".state"))
    return {path.name: path.read_bytes() for path in files}


def options_for(name, pictures, folder, **changes):
    """Return the options of a run with all that an optimizer has to do with."""
    options = {
        "train_data_dir": str(pictures),
        "output_dir": str(folder),
        "output_name": "test",
        "resolution": 32,
        "network_dim": 4,
        "conv_dim": 8,
        "network_train_unet_only": True,
        "optimizer_type": name,
        "learning_rate": rate_of(name),
        "ema_decay": 0.9,
        "save_precision": "float",
        "device": "cpu",
    }
    if not optimizer_kind(name).one_rate:
        options["loraplus_lr_ratio"] = 4.0
    return options | changes


def train_small(options, watcher=None):
    config = build_config([OptionSource("test", options)])
    return train(config, Base(), watcher or Told())


@ONE_OF_EACH_PACKAGE
def test_a_killed_run_ends_in_the_same_bytes_as_one_that_was_not(pictures, tmp_path, name):
    options = options_for(
        name,
        pictures,
        tmp_path / "out",
        lr_scheduler="cosine",
        lr_warmup_steps=2,
        max_train_steps=7,
        gradient_accumulation_steps=2,
        save_every_n_steps=3,
        save_state_every_n_steps=2,
    )
    config = build_config([OptionSource("test", options)])
    train(config, Base(), Watcher())
    shutil.move(tmp_path / "out", tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert {"test.safetensors", "test-ema.safetensors", "test.state"} <= whole.keys()

    program = [sys.executable, "-m", "tests.training.outside_optimizers", json.dumps(options), "5"]
    assert subprocess.run(program, cwd=ROOT, check=False).returncode not in (0, 1)
    state = load_state(tmp_path / "out" / "test.state")
    assert state.progress.step == 4
    eight_bit = any(tensor.dtype == torch.uint8 for tensor in state.optimizer_tensors)
    assert eight_bit is (name == "AdamW8bit")
    train(config, Base(), Watcher())
    assert contents(tmp_path / "out") == whole


@ALL
def test_saving_and_drawing_change_nothing_that_is_learned(pictures, tmp_path, name):
    plain = train_small(options_for(name, pictures, tmp_path / "plain", max_train_steps=4))
    busy = {"save_every_n_steps": 1, "sample_every_n_steps": 2, "sample_prompts": ["cat --s 1"]}
    busy["max_train_steps"] = 4
    drawn = train_small(options_for(name, pictures, tmp_path / "drawn", **busy))
    for file in ("test.safetensors", "test-ema.safetensors"):
        ours, theirs = (load_adapter(path.with_name(file)).tensors for path in (plain, drawn))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    states = [load_state(path.with_name("test.state")) for path in (plain, drawn)]
    for key, tensor in states[0].network.items():
        assert torch.equal(tensor, states[1].network[key])


@ALL
def test_a_finished_run_that_is_trained_longer_is_one_long_run(pictures, tmp_path, name):
    train_small(options_for(name, pictures, tmp_path / "out", max_train_steps=6))
    shutil.move(tmp_path / "out", tmp_path / "whole")
    for steps in (3, 6):
        train_small(options_for(name, pictures, tmp_path / "out", max_train_steps=steps))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


# what the table says


@ALL
def test_the_bytes_that_the_table_promises_are_those_that_are_kept(name):
    network = nn.Linear(2560, 8, bias=False)  # a factor of rank 8; what has rows is kept by them
    config = OptimizerConfig(optimizer_type=name, learning_rate=rate_of(name))
    groups = [{"params": list(network.parameters()), "lr": rate_of(name), "name": "unet"}]
    optimizer = build_optimizer(groups, config)
    step(network, optimizer)
    numbers = sum(parameter.numel() for parameter in network.parameters())
    promised = optimizer_kind(name).state_bytes
    assert state_bytes(optimizer) / numbers == pytest.approx(promised, rel=0.1)


@ALL
def test_the_class_in_the_metadata_is_the_one_that_trains(name):
    _, optimizer = network_and_optimizer(name)
    kind = type(optimizer)
    trains = f"{kind.__module__}.{kind.__name__}"
    assert optimizer_kind(name).class_path.replace(".Paged", ".") == trains  # a CPU pages nothing


@ALL
def test_the_config_comes_back_from_the_text_in_the_metadata(name):
    kind = optimizer_kind(name)
    config = OptimizerConfig(optimizer_type=name, **changed_options(kind))
    text = kind.metadata_text(config.values())
    again = write_config({"ss_optimizer": text}, {})
    values = dict(line.split(" = ", 1) for line in again.splitlines() if " = " in line)
    parsed = {
        option: json.loads(values[option])
        for option in ("optimizer_type", "optimizer_args")
        if option in values
    }
    assert (
        build_config([OptionSource("test", parsed)]).optimizer.kind.metadata_text(
            build_config([OptionSource("test", parsed)]).optimizer.values()
        )
        == text
    )


@ALL
def test_every_option_of_an_optimizer_reaches_it(name):
    def settings(**options):
        _, optimizer = network_and_optimizer(name, **options)
        return {key: v for key, v in optimizer.param_groups[0].items() if key != "params"}

    for option, value in changed_options(optimizer_kind(name)).items():
        assert settings(**{option: value}) != settings(), option


def test_no_two_options_share_a_name():
    names = [option.name for option in OptimizerConfig._fields().values()]
    names += [option.name for option in OptimizerConfig.kind_options()]
    assert len(names) == len(set(names))
    assert set(names) <= set(all_options())


@ALL
def test_groups_have_rates_of_their_own_or_an_error_says_that_they_cannot(name):
    first, second = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    groups = [
        {"params": [first], "lr": 1e-2, "name": "unet"},
        {"params": [second], "lr": 1e-3, "name": "text_encoder"},
    ]
    config = OptimizerConfig(optimizer_type=name)
    if optimizer_kind(name).one_rate:
        with pytest.raises(ConfigError, match=r"one learning rate (.|\n)*unet 0\.01, text_encoder"):
            build_optimizer(groups, config)
        return
    kind = optimizer_kind(name)
    if kind.finds_rate or kind.sets_rate(()):
        return  # what they make of rates is tested by itself
    optimizer = build_optimizer(groups, config)
    for _ in range(8):
        first.grad, second.grad = torch.ones(4, 4), torch.ones(4, 4)
        optimizer_step(optimizer, 1.0, 0.0)
    far, near = ((1 - p.detach()).abs().mean().item() for p in (first, second))
    assert far > 5 * near > 0


# what is refused


def test_an_option_that_the_optimizer_does_not_read_is_refused_with_those_that_do():
    with pytest.raises(ConfigError) as caught:
        OptimizerConfig(optimizer_type="SignDescent", adam_beta1=0.8, first_d=1e-4)
    text = str(caught.value)
    assert 'adam_beta1 is 0.8, and optimizer_type = "SignDescent" does not read it' in text
    assert "set optimizer_type to one of AdamW8bit, AdamW" in text
    assert 'first_d is 0.0001, and optimizer_type = "SignDescent" does not read it' in text
    assert OptimizerConfig(optimizer_type="SignDescent", adam_beta1=0.9).adam_beta1 == 0.9


def test_one_name_for_two_optimizers_or_two_options_is_refused():
    with pytest.raises(TypeError, match="there is an optimizer AdamW already"):
        register_optimizer(dataclasses.replace(SIGN, name="AdamW"))
    other = Option("weight_decay", float, 0.5, "Another one.")
    with pytest.raises(TypeError, match="share one declaration, or use another name"):
        register_optimizer(
            dataclasses.replace(SIGN, name="New", arguments={"weight_decay": (other,)})
        )


def test_a_missing_package_is_named_with_the_line_that_installs_it():
    def absent(*_, **settings):
        raise ModuleNotFoundError("No module named 'prodigy'")

    register_optimizer(dataclasses.replace(SIGN, name="New", factory=absent, package="prodigy"))
    with pytest.raises(EnvironmentFault) as caught:
        network_and_optimizer("New")
    assert "prodigy cannot be imported" in str(caught.value)
    assert 'pip install prodigy, or set optimizer_type = "AdamW"' in str(caught.value)


def test_a_value_that_cannot_be_saved_is_an_error_and_not_lost(tmp_path):
    from lycoris_ext.runs.optimizer_state import pack

    network, optimizer = network_and_optimizer("AdamW")
    optimizer.param_groups[0]["rng"] = torch.Generator()
    with pytest.raises(TypeError, match="cannot be saved"):
        pack(optimizer, network)


# optimizers with modes


@pytest.mark.parametrize(
    ("name", "rate"),
    [("Averaging", 1.0), ("AdamWScheduleFree", 1e-2), ("ProdigyPlusScheduleFree", 1.0)],
)
def test_the_saved_adapter_is_the_average_and_the_state_is_not(pictures, tmp_path, name, rate):
    options = options_for(name, pictures, tmp_path, max_train_steps=4, learning_rate=rate)
    path = train_small(options)
    saved = load_state(path.with_name("test.state"))
    adapter = load_adapter(path).tensors
    groups = saved.optimizer["groups"]
    assert all(["train_mode", True] in group["entries"]["dict"] for group in groups)
    counted = 5 if name == "ProdigyPlusScheduleFree" else 4  # it counts from 1
    assert all(["k", counted] in group["entries"]["dict"] for group in groups)
    moved = 0
    for name, entries in saved.optimizer["states"].items():
        trained = saved.network[name]
        z = dict(entries["dict"])["z"]
        average = trained.lerp(saved.optimizer_tensors[z["tensor"]], 1 - 1 / 0.9)
        (stored,) = [
            t for t in adapter.values() if t.shape == average.shape and (t == average).all()
        ]
        moved += not torch.equal(stored, trained)
    assert moved > len(saved.optimizer["states"]) / 2


def test_an_error_while_training_is_paused_leaves_what_is_trained_as_it_was():
    network, optimizer = network_and_optimizer("Averaging")
    for number in range(3):
        step(network, optimizer, number)
    before = network.weight.detach().clone()
    with pytest.raises(KeyError), training_paused(network, optimizer):
        assert not network.training and not torch.equal(network.weight, before)
        raise KeyError
    assert network.training and torch.equal(network.weight, before)
    step(network, optimizer)


def test_a_drawing_that_fails_saves_the_state_of_the_network_in_training(pictures, tmp_path):
    def train_in(folder, watcher):
        options = {
            "train_data_dir": str(pictures),
            "output_dir": str(tmp_path / folder),
            "output_name": "test",
            "resolution": 32,
            "network_dim": 2,
            "network_train_unet_only": True,
            "optimizer_type": "Averaging",
            "learning_rate": 1.0,
            "max_train_steps": 4,
            "sample_every_n_steps": 2,
            "device": "cpu",
        }
        return train(build_config([OptionSource("test", options)]), Base(), watcher)

    whole = train_in("whole", Told())
    with pytest.raises(KeyError):
        train_in("broken", Told(draw_fails=True))
    assert train_in("broken", Told()).read_bytes() == whole.read_bytes()


# a new optimizer is one entry


def test_an_option_of_a_new_optimizer_is_a_flag_an_option_of_files_and_a_row_of_the_docs(tmp_path):
    from lycoris_ext.cli.train import config_from_arguments
    from tests.config.documents import options_as_markdown

    file = tmp_path / "my.toml"
    file.write_text('optimizer_type = "SignDescent"\nsign_momentum = 0.5\n', encoding="utf-8")
    assert config_from_arguments([str(file)]).optimizer.sign_momentum == 0.5
    given = config_from_arguments([str(file), "--sign_momentum", "0.25"])
    assert given.optimizer.sign_momentum == 0.25
    assert "sign_momentum = 0.25" in dump_toml(given) and "adam_beta1" not in dump_toml(given)
    kohya = {"optimizer_type": "SignDescent", "optimizer_args": ["momentum=0.5", "nesterov=True"]}
    optimizer = build_config([OptionSource("test", kohya)]).optimizer
    assert (optimizer.sign_momentum, optimizer.sign_nesterov) == (0.5, True)
    later = OptionSource("command line", {"optimizer_args": ["momentum=0.75"]})
    assert build_config([OptionSource("file", kohya), later]).optimizer.sign_momentum == 0.75
    with pytest.raises(ConfigError, match="expected a number from 0 to below 1"):
        build_config([OptionSource("test", {**kohya, "sign_momentum": 1.0})])
    page = options_as_markdown()
    row = "| `sign_momentum` | a number from 0 to below 1 | `0.9` | Share of the old average."
    assert row in page
    assert "| `SignDescent` |" in page


def test_a_new_optimizer_is_chosen_and_set_on_comfyuis_node():
    from comfy_nodes.optimizer import Optimizer, OptimizerSettings

    choices, _ = Optimizer.INPUT_TYPES()["required"]["optimizer_type"]
    assert choices == [*optimizer_names()] and set(choices) > {"SignDescent", "Averaging"}
    given = OptimizerSettings.INPUT_TYPES()["required"]
    kind, settings = given["sign_momentum"]
    assert (kind, settings["default"], settings["min"]) == ("FLOAT", 0.9, 0.0)
    assert 0.999 < settings["max"] < 1.0 and "old average. Only for" in settings["tooltip"]
    assert given["sign_nesterov"][0] == "BOOLEAN"
    # Saved workflows stay as they were.
    assert [*given].index("sign_momentum") > [*given].index("weight_decay")
    values = {name: settings["default"] for name, (_, settings) in given.items()}
    (advanced,) = OptimizerSettings().collect(**values | {"sign_momentum": 0.5})
    (options,) = Optimizer().describe(advanced, optimizer_type="SignDescent")
    assert build_config([OptionSource("node", options)]).optimizer.sign_momentum == 0.5


def test_a_new_optimizer_trains_and_the_file_tells_its_options(run):
    path = run(optimizer_type="SignDescent", sign_momentum=0.5)
    adapter = load_adapter(path)
    assert adapter.metadata["ss_optimizer"] == (
        "tests.training.outside_optimizers.SignDescent(momentum=0.5,nesterov=False)"
    )
    assert "sign_momentum = 0.5" in adapter.metadata["lycoris_ext_config"]
    assert "first_d" not in adapter.metadata["lycoris_ext_config"]
    assert any(
        key.endswith("hada_w2_a") and tensor.any() for key, tensor in adapter.tensors.items()
    )


def test_a_new_optimizer_changes_nothing_in_the_files_of_the_others(run, monkeypatch, tmp_path):
    with_others = run(optimizer_type="AdamW", output_dir=str(tmp_path / "a"))
    table = {name: optimizer_kind(name) for name in ("AdamW8bit", "AdamW")}
    monkeypatch.setattr(optimizer_kinds, "_KINDS", table)
    alone = run(optimizer_type="AdamW", output_dir=str(tmp_path / "b"))
    assert with_others.read_bytes() == alone.read_bytes()


def test_an_optimizer_of_the_same_steps_and_a_smaller_state_is_advised_where_memory_runs_out():
    from lycoris_ext.training.memory import _advice

    def advice(name):
        return _advice(build_config([OptionSource("test", {"optimizer_type": name})]))

    small: OptimizerKind = dataclasses.replace(SIGN, name="Small", state_bytes=1)
    register_optimizer(small)
    assert 'optimizer_type = "AdamW8bit";' in advice("AdamW"), "SGD needs other rates"
    assert 'optimizer_type = "Small";' in advice("SignDescent")
    assert "optimizer_type" not in advice("AdamW8bit")
    assert "optimizer_type" not in advice("Small")
