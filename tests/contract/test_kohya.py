"""Every call that sd-scripts makes on a network module, in its order and with its arguments.

TN is train_network.py of sd-scripts 48d368f.
"""

from __future__ import annotations

import inspect
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.network import Network
from tests.kohya_models import LOHA, METADATA, MODULE, Models, create, disturb, tiny_models


def train(network: Any, models: Models, args: Namespace | None = None, steps: int = 2) -> Any:
    """Do what train_network.py does with a network after line 690; return what was logged."""
    args = args or Namespace(
        text_encoder_lr=[1e-3], unet_lr=1e-3, learning_rate=1e-4, scale_weight_norms=None,
        network_weights=None, train_text_encoder=True, train_unet=True,
    )  # fmt: skip
    text_encoder, unet = models.passed, models.unet
    assert hasattr(network, "set_multiplier")
    network.prepare_network(args)
    assert hasattr(network, "apply_max_norm_regularization")
    _ = network.train_t5xxl  # flux_train_network.py:194, sd3_train_network.py:170
    network.apply_to(text_encoder, unet, args.train_text_encoder, args.train_unet)
    info = network.load_weights(args.network_weights) if args.network_weights else None
    network.enable_gradient_checkpointing()
    assert hasattr(network, "prepare_optimizer_params_with_multiple_te_lrs")
    results = network.prepare_optimizer_params_with_multiple_te_lrs(
        args.text_encoder_lr, args.unet_lr, args.learning_rate
    )
    assert type(results) is tuple
    groups, descriptions = results
    assert len(groups) == len(descriptions)
    optimizer = torch.optim.AdamW(groups)
    network.prepare_grad_etc(text_encoder, unet)
    network.on_epoch_start(text_encoder, unet)
    logged = []
    for step in range(steps):
        network.on_step_start(text_encoder, unet)
        loss = models.denoise(step).square().mean()
        loss.backward()
        parameters = network.get_trainable_params()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        network.update_grad_norms()
        network.update_norms()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if args.scale_weight_norms:
            logged.append(network.apply_max_norm_regularization(args.scale_weight_norms, "cpu"))
        else:
            norms = network.weight_norms(), network.grad_norms(), network.combined_weight_norms()
            logged.append(norms)
    network.eval()
    network.train()
    return Namespace(logged=logged, descriptions=descriptions, groups=groups, info=info)


@pytest.mark.parametrize(
    ("arguments", "axis"),
    [
        ({"dora_wd": "True"}, "DoRA trains the lengths of input channels"),
        ({"dora_wd": "True", "wd_on_output": "True"}, "DoRA trains the lengths of output channels"),
        (
            {"preset": "[module_algo_map.Transformer2DModel]\nweight_decompose = true"},
            "DoRA trains the lengths of input channels",
        ),
        ({}, None),
    ],
)
def test_the_log_names_the_axis_of_dora_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, str],
    axis: str | None,
) -> None:
    if "preset" in arguments:
        (tmp_path / "preset.toml").write_text(arguments["preset"], encoding="utf-8")
        arguments = {"preset": str(tmp_path / "preset.toml")}
    caplog.set_level("INFO")
    create(tiny_models(tmp_path), **LOHA, **arguments)
    told = [record.message for record in caplog.records if "ComfyUI" in record.message]
    assert len(told) == (axis is not None)
    assert all(axis and axis in line for line in told)


def test_norms_that_need_quantised_weights_are_not_logged(tmp_path: Path) -> None:
    models = tiny_models(tmp_path)
    network = create(models, algo="ia3")
    network.prepare_network(Namespace(logging_dir="logs"))
    assert network.weight_norms() is not None
    for site in network.sites.values():
        weight = site.module.weight.data
        site.module.weight = torch.nn.Parameter(weight.to(torch.int8), requires_grad=False)
    assert network.weight_norms() is None


def test_the_module_functions_have_the_signatures_that_sd_scripts_calls() -> None:
    created = list(inspect.signature(MODULE.create_network).parameters)
    assert created[:7] == [
        "multiplier", "network_dim", "network_alpha", "vae", "text_encoder", "unet",
        "neuron_dropout",
    ]  # fmt: skip
    loaded = list(inspect.signature(MODULE.create_network_from_weights).parameters)
    assert loaded == [
        "multiplier", "file", "vae", "text_encoder", "unet", "weights_sd", "for_inference",
        "kwargs",
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_training_run_changes_the_output_and_leaves_the_base_frozen(
    tmp_path: Path, family: str
) -> None:
    models = tiny_models(tmp_path / family, family)
    before = models.denoise().detach()
    network = create(models, **LOHA)
    run = train(network, models)
    encoders = {"sd1": ["textencoder"], "sdxl": ["textencoder 1", "textencoder 2"]}
    assert run.descriptions == [*encoders[family], "unet"]
    assert run.logged == [(None, None, None)] * 2, "nobody reads the norms of this run"
    assert not torch.equal(models.denoise(), before)
    for module in (models.unet, *models.text_encoders):
        assert not any(parameter.requires_grad for parameter in module.parameters())
    state = network.state_dict()  # accelerate's save_state and load_state
    twin = create(tiny_models(tmp_path / "twin", family), **LOHA)
    twin.apply_to(models.passed, models.unet, True, True)
    assert list(twin.load_state_dict(state, strict=True)) == [[], []]
    assert all(torch.equal(tensor, state[key]) for key, tensor in twin.state_dict().items())
    prefixes = {key.split("_")[1] for key in state}
    assert prefixes == ({"unet", "te"} if family == "sd1" else {"unet", "te1", "te2"})


@pytest.mark.parametrize("ending", ["safetensors", "ckpt", "pt"])
def test_a_saved_file_holds_dtype_and_metadata_and_training_continues_from_it(
    models: Models, tmp_path: Path, ending: str
) -> None:
    network = create(models, **LOHA)
    train(network, models)
    metadata = dict(METADATA)
    for step in (1, 2):  # several times a run, with the same dict
        metadata["ss_steps"] = str(step)
        network.save_weights(str(tmp_path / f"{step}.{ending}"), torch.float16, metadata)
    assert metadata == {**METADATA, "ss_steps": "2"}, "the trainer's own"
    path = tmp_path / f"2.{ending}"
    if ending == "safetensors":
        stored = load_file(path)
        found = load_adapter(path).metadata
        assert found["sshs_model_hash"] == read_adapter_file(path).data_hash()
        assert found["ss_steps"] == "2"
        arguments = json.loads(found["ss_network_args"])
        assert arguments | {**LOHA, "preset": "full", "dropout": None} == arguments
    else:
        stored = torch.load(path, weights_only=True)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert stored.keys() == network.state_dict().keys()

    again = tiny_models(tmp_path / "again")
    args = Namespace(
        text_encoder_lr=None, unet_lr=None, learning_rate=1e-12, scale_weight_norms=None,
        network_weights=str(path), train_text_encoder=True, train_unet=True,
    )  # fmt: skip
    continued = create(again, **LOHA)
    info = train(continued, again, args, steps=1).info
    assert info == {"start afresh": [], "not trained": []}
    for key, tensor in continued.state_dict().items():
        torch.testing.assert_close(tensor, stored[key].float(), rtol=0, atol=1e-6)


def test_dim_from_weights_and_base_weights_build_the_network_of_the_file(
    models: Models, tmp_path: Path
) -> None:
    network = create(models, **LOHA)
    disturb(network)
    path = str(tmp_path / "file.safetensors")
    network.save_weights(path, None, METADATA)
    network.apply_to(models.passed, models.unet, True, True)
    applied = models.denoise()
    network.remove()

    again = tiny_models(tmp_path / "again")  # TN:672
    other, weights = MODULE.create_network_from_weights(
        1, path, again.vae, again.passed, again.unet, rank_dropout="0.1"
    )
    assert weights.keys() == network.state_dict().keys()
    assert {layer.dropouts.rank_dropout for layer in other.layers.values()} == {0.1}
    assert other.training and all(p.requires_grad for p in other.parameters())
    assert {p.dtype for p in other.parameters()} == {torch.float32}

    module, weights = MODULE.create_network_from_weights(  # TN:656
        0.5, path, again.vae, again.passed, again.unet, for_inference=True
    )
    module.merge_to(again.passed, again.unet, weights, torch.bfloat16, "cpu")
    network.set_multiplier(0.5)
    network.apply_to(models.passed, models.unet)
    torch.testing.assert_close(again.denoise(), models.denoise(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(models.denoise(), applied)


def test_training_one_model_alone_adapts_that_model_alone(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    both = create(models, **LOHA)
    disturb(both)
    both.save_weights(path, None, METADATA)
    for trains, kept in (
        ({"train_unet": True}, "lora_unet_"),
        ({"train_unet": False}, "lora_te_"),
    ):
        args = Namespace(
            text_encoder_lr=[1e-3], unet_lr=1e-3, learning_rate=1e-4, scale_weight_norms=None,
            network_weights=str(path), train_text_encoder=not trains["train_unet"], **trains,
        )  # fmt: skip
        again = tiny_models(tmp_path / kept)
        network = create(again, **LOHA)
        run = train(network, again, args, steps=1)
        assert all(key.startswith(kept) for key in network.state_dict())
        assert len(run.info["not trained"]) == len(both.layers) - len(network.layers)
    network = create(models, preset="unet-only", **LOHA)
    with pytest.raises(ConfigError, match="no layer is left to train"):
        network.apply_to(models.passed, models.unet, True, False)


def test_tensors_without_a_layer_are_refused_and_layers_without_tensors_listed(
    models: Models, tmp_path: Path
) -> None:
    wide = create(models, **LOHA)
    wide.save_weights(tmp_path / "wide.safetensors", None, {})
    narrow = create(models, preset="attn-mlp", **LOHA)
    narrow.save_weights(tmp_path / "narrow.safetensors", None, {})
    with pytest.raises(FormatError, match="has no place"):
        narrow.load_weights(tmp_path / "wide.safetensors")
    afresh = wide.load_weights(tmp_path / "narrow.safetensors")["start afresh"]
    assert len(afresh) == len(wide.layers) - len(narrow.layers)
    with pytest.raises(FormatError, match=r"alpha is 2 in the file and 3 in the network"):
        create(models, alpha=3.0, **LOHA).load_weights(tmp_path / "wide.safetensors")


def test_each_text_encoder_has_its_learning_rate_and_rate_0_freezes_it(sdxl: Models) -> None:
    network = create(sdxl, **LOHA)
    rates = network.prepare_optimizer_params_with_multiple_te_lrs
    for given, expected in (
        ([1e-3, 2e-3], {"textencoder 1": 1e-3, "textencoder 2": 2e-3, "unet": 5e-4}),
        ([1e-3], {"textencoder 1": 1e-3, "textencoder 2": 1e-3, "unet": 5e-4}),
        (1e-3, {"textencoder 1": 1e-3, "textencoder 2": 1e-3, "unet": 5e-4}),
        ([], {"textencoder 1": 1e-4, "textencoder 2": 1e-4, "unet": 5e-4}),
        (None, {"textencoder 1": 1e-4, "textencoder 2": 1e-4, "unet": 5e-4}),
        ([0.0, 2e-3], {"textencoder 2": 2e-3, "unet": 5e-4}),
    ):
        groups, names = rates(given, 5e-4, 1e-4)
        assert dict(zip(names, (group["lr"] for group in groups), strict=True)) == expected
        assert all(set(group) == {"params", "lr"} for group in groups)
    frozen = [key for key, p in network.named_parameters() if not p.requires_grad]
    assert frozen and all(key.startswith("lora_te1_") for key in frozen)
    network.prepare_grad_etc(sdxl.passed, sdxl.unet)
    assert len(list(network.get_trainable_params())) + len(frozen) == len([*network.parameters()])
    groups, names = network.prepare_optimizer_params(1e-3, None)  # the trainer's retry
    assert names == ["textencoder 1", "textencoder 2"]


def test_loraplus_ratios_raise_the_rate_of_loha_factors(models: Models) -> None:
    network = create(models, loraplus_lr_ratio="16", loraplus_text_encoder_lr_ratio="4", **LOHA)
    groups, names = network.prepare_optimizer_params(1e-3, 1e-3, 1e-3)
    rates = dict(zip(names, (group["lr"] for group in groups), strict=True))
    assert rates == pytest.approx(
        {"textencoder": 1e-3, "textencoder plus": 4e-3, "unet": 1e-3, "unet plus": 16e-3}
    )


def test_block_learning_rates_and_block_dims_reach_their_blocks(models: Models) -> None:
    weights = ",".join(["0"] + ["1"] * 11)
    network = create(models, down_lr_weight=weights, mid_lr_weight="0.5", **LOHA)
    assert not any("conv_in" in key or "time_embedding" in key for key in network.layers)
    groups, names = network.prepare_optimizer_params(None, None, 1e-3)
    rates = dict(zip(names, (group["lr"] for group in groups), strict=True))
    assert rates == pytest.approx({"textencoder": 1e-3, "unet": 1e-3, "unet 0.0005": 5e-4})
    ranks = create(models, algo="loha", block_dims=",".join(["3"] * 24 + ["0"]))
    dims = {key: layer.plan.rank for key, layer in ranks.layers.items() if "unet" in key}
    assert set(dims.values()) == {3} and not any("conv_out" in key for key in dims)
    assert {layer.plan.rank for key, layer in ranks.layers.items() if "te_" in key} == {4}


def test_a_type_error_of_ours_is_not_hidden_by_the_trainers_retry(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create(models, **LOHA)

    def broken(*_: object, **__: object) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(Network, "param_groups", broken)
    for name in ("prepare_optimizer_params", "prepare_optimizer_params_with_multiple_te_lrs"):
        with pytest.raises(RuntimeError, match="a mistake") as caught:
            getattr(network, name)(1e-3, 1e-3, 1e-3)
        assert isinstance(caught.value.__cause__, TypeError)


def test_scale_weight_norms_limits_the_norms_and_returns_what_it_did(models: Models) -> None:
    args = Namespace(
        text_encoder_lr=None, unet_lr=None, learning_rate=1e-2, scale_weight_norms=0.05,
        network_weights=None, train_text_encoder=True, train_unet=True,
    )  # fmt: skip
    network = create(models, algo="lora")
    disturb(network)
    longer, mean, largest = train(network, models, args, steps=1).logged[0]
    assert longer > 0 and 0 < mean <= largest == pytest.approx(0.05)
    norms = network.norms()
    assert norms.max() <= 0.0501 and norms.mean() == pytest.approx(mean, rel=1e-4)


def test_norms_are_computed_where_the_run_is_logged(models: Models, tmp_path: Path) -> None:
    args = Namespace(
        text_encoder_lr=None, unet_lr=None, learning_rate=1e-2, scale_weight_norms=None,
        network_weights=None, train_text_encoder=True, train_unet=True,
        logging_dir=str(tmp_path), log_with=None,
    )  # fmt: skip
    network = create(models, **LOHA)
    weights, grads, combined = train(network, models, args).logged[-1]
    torch.testing.assert_close(weights, network.norms())
    assert grads.shape == weights.shape and grads.mean() > 0 and combined is None


def test_t_lora_gets_the_timesteps_of_the_trainer(models: Models) -> None:
    network = create(models, algo="tlora", preset="attn-only")
    network.apply_to(models.passed, models.unet, False, True)
    network.train()
    models.denoise()
    timesteps = {tuple(layer.timesteps.tolist()) for layer in network.layers.values()}
    assert timesteps == {(10, 500)}


def test_the_seed_of_the_run_decides_the_initial_weights(models: Models) -> None:
    starts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)  # the trainer's set_seed
        starts.append(create(models, **LOHA).state_dict())
    same = [torch.equal(starts[0][key], starts[1][key]) for key in starts[0]]
    assert all(same)
    assert any(not torch.equal(starts[0][key], starts[2][key]) for key in starts[0])


def test_a_network_in_bfloat16_has_finite_gradients(models: Models) -> None:
    network = create(models, **LOHA)
    network.apply_to(models.passed, models.unet, True, True)
    network.to(torch.bfloat16)  # --full_bf16
    with torch.autocast("cpu", torch.bfloat16):
        models.denoise().float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_network_with_nan_is_not_written(models: Models, tmp_path: Path) -> None:
    network = create(models, **LOHA)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    with pytest.raises(FormatError, match="NaN"):
        network.save_weights(tmp_path / "file.safetensors", torch.float16, METADATA)
    assert not list(tmp_path.glob("file*"))


def test_a_file_of_another_family_an_empty_one_and_none_are_refused(
    models: Models, sdxl: Models, tmp_path: Path
) -> None:
    create(sdxl, **LOHA).save_weights(tmp_path / "xl.safetensors", None, {})
    with pytest.raises(FormatError, match="has no place"):
        MODULE.create_network_from_weights(
            1.0, str(tmp_path / "xl.safetensors"), None, models.passed, models.unet
        )
    save_adapter(tmp_path / "empty.safetensors", AdapterState({}))
    with pytest.raises(FormatError, match="no tensors"):
        MODULE.create_network_from_weights(
            1.0, str(tmp_path / "empty.safetensors"), None, models.passed, models.unet
        )
    with pytest.raises(ConfigError, match="no file is given"):
        MODULE.create_network_from_weights(1.0, None, None, models.passed, models.unet)
