"""What could end a run late ends it before the first step, with everything named at once."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from lycoris_ext.errors import ConfigError, EnvironmentFault
from tests.kohya_models import Models, create, tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return tiny_models(tmp_path_factory.mktemp("models"))


def options(folder: Path, **more: Any) -> Namespace:
    """The trainer's options that are read, with its defaults."""
    off = ("full_fp16", "full_bf16", "fp8_base", "fp8_base_unet", "network_train_unet_only",
           "network_train_text_encoder_only")  # fmt: skip
    unset = ("save_precision", "scale_weight_norms", "logging_dir", "log_with")
    defaults = {**dict.fromkeys(off, False), **dict.fromkeys(unset), "optimizer_type": ""}
    return Namespace(**{**defaults, "output_dir": str(folder), **more})


WITHOUT_LIMIT = ("ia3", "diag-oft", "boft", "glora", "tlora")


@pytest.mark.parametrize("algo", WITHOUT_LIMIT)
def test_scale_weight_norms_is_refused_before_the_first_step(
    models: Models, tmp_path: Path, algo: str
) -> None:
    network = create(models, algo=algo, preset="attn-only", dim=8)
    network.prepare_network(options(tmp_path))
    with pytest.raises(ConfigError, match=f"^scale_weight_norms .*: a norm cannot .* {algo}"):
        network.prepare_network(options(tmp_path, scale_weight_norms=1.0))


@pytest.mark.parametrize("algo", ["lora", "loha", "lokr", "dylora", "full"])
def test_what_passes_the_rehearsal_can_be_limited_and_saved(
    models: Models, tmp_path: Path, algo: str
) -> None:
    network = create(models, algo=algo, preset="attn-only")
    args = options(tmp_path, scale_weight_norms=1.0, save_precision="fp16")
    network.prepare_network(args)
    network.apply_max_norm_regularization(1.0, "cpu")
    network.save_weights(tmp_path / "x.safetensors", torch.float16, {})


@pytest.mark.parametrize("alpha", [65504.0, 65536.0, 1e6])
@pytest.mark.parametrize("precision", ["fp16", "bf16", None])
@pytest.mark.parametrize("algo", ["lora", "lokr"])
def test_a_large_alpha_is_saved(
    models: Models, tmp_path: Path, alpha: float, precision: str | None, algo: str
) -> None:
    network = create(models, alpha=alpha, algo=algo, preset="attn-only")
    network.prepare_network(options(tmp_path, save_precision=precision))
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(str(precision))
    network.save_weights(tmp_path / "x.safetensors", dtype, {})


@pytest.mark.parametrize("more", [{"save_precision": "fp16"}, {"full_fp16": True},
                                  {"save_precision": "bf16"}, {}])  # fmt: skip
def test_a_number_that_no_file_can_hold_is_refused_before_the_first_step(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    """DoRA's magnitudes are lengths of the base weights."""
    models = tiny_models(tmp_path)
    models.unet.mid_block.attentions[0].proj_in.weight.mul_(1e6)
    network = create(models, algo="lora", dora_wd="True", preset="attn-mlp")
    args = options(tmp_path, **more)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(args.save_precision)
    if args.save_precision == "fp16" or args.full_fp16:
        where = "full_fp16" if args.full_fp16 else "save_precision = fp16"
        text = rf"^{where}.*: float16 holds numbers up to 65504, and .*proj_in\.dora_scale has"
        with pytest.raises(ConfigError, match=text):
            network.prepare_network(args)
        return
    network.prepare_network(args)
    network.save_weights(tmp_path / "x.safetensors", dtype, {})


@pytest.mark.parametrize(
    ("arguments", "reads"), [({"dora_wd": "True"}, "dora_wd"), ({"algo": "tlora"}, "algo=tlora")]
)
def test_fp8_base_is_refused_for_what_reads_the_weights(
    models: Models, tmp_path: Path, arguments: dict[str, str], reads: str
) -> None:
    network = create(models, preset="attn-only", **arguments)
    with pytest.raises(ConfigError, match=f"{reads} reads the numbers of the weights"):
        network.prepare_network(options(tmp_path, fp8_base=True))
    with pytest.raises(ConfigError, match=f"unet.* {reads} reads the numbers of the weights"):
        network.prepare_network(options(tmp_path, fp8_base_unet=True))
    text = {"network_train_text_encoder_only": True, "fp8_base_unet": True}
    network.prepare_network(options(tmp_path, **text))


def test_all_that_is_wrong_is_said_at_once(models: Models, tmp_path: Path) -> None:
    network = create(models, algo="tlora", preset="attn-only")
    args = options(tmp_path, scale_weight_norms=1.0, fp8_base=True)
    args.output_dir = None
    with pytest.raises(ConfigError) as caught:
        network.prepare_network(args)
    found = [re.split(r"[ ,]", str(part))[0] for part in caught.value.parts]
    assert found == ["scale_weight_norms", "fp8_base", "output_dir"]


def test_a_folder_that_takes_no_file_is_refused(models: Models, tmp_path: Path) -> None:
    network = create(models, algo="lora", preset="attn-only")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="output_dir"):
        network.prepare_network(options(tmp_path / "file" / "inside"))
    network.prepare_network(options(tmp_path / "new" / "folder"))
    assert not (tmp_path / "new").exists(), "a rehearsal makes nothing"


def test_a_full_disk_is_told_before_the_first_step(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create(models, algo="lora", preset="attn-only")
    monkeypatch.setattr("shutil.disk_usage", lambda place: Namespace(free=1000))
    with pytest.raises(EnvironmentFault, match=r"1.0 kB are free, and one file of this network"):
        network.prepare_network(options(tmp_path))


@pytest.mark.parametrize("optimizer", ["Prodigy", "prodigyopt.Prodigy", "DAdaptAdam"])
def test_an_optimizer_with_one_rate_for_all_is_told_of_the_others(
    models: Models, tmp_path: Path, optimizer: str
) -> None:
    network = create(models, algo="loha")
    network.prepare_network(options(tmp_path, optimizer_type=optimizer))
    groups, _ = network.prepare_optimizer_params_with_multiple_te_lrs([1.0], 1.0, 1.0)
    assert len(groups) == 2
    network.prepare_optimizer_params_with_multiple_te_lrs([0.0], 1.0, 1.0)
    with pytest.raises(ConfigError, match=f"{optimizer} finds the step size itself.* 0.5, 1"):
        network.prepare_optimizer_params_with_multiple_te_lrs([0.5], 1.0, 1.0)
    network.prepare_network(options(tmp_path, optimizer_type="AdamW"))
    network.prepare_optimizer_params_with_multiple_te_lrs([0.5], 1.0, 1.0)


def test_spaces_around_the_names_of_arguments_change_nothing(models: Models) -> None:
    # In TOML: network_args = ["algo = loha", "conv_dim = 3"].
    spaced = {"algo ": " loha", "conv_dim ": " 3"}
    network = create(models, **spaced)
    assert {layer.plan.algorithm.name for layer in network.layers.values()} == {"loha"}
    told = {"ss_network_module": "lycoris_ext.kohya", "ss_network_args": json.dumps(spaced)}
    kept = json.loads(network._completed(told)["ss_network_args"])
    assert kept == {**kept, "algo": "loha", "conv_dim": "3"}
    assert not spaced.keys() & kept.keys()


@pytest.mark.parametrize("other", [{"dim": 2}, {"algo": "locon"}, {"preset": "attn-mlp"}])
def test_resuming_from_the_state_of_another_network_is_refused_in_a_sentence(
    models: Models, other: dict[str, Any]
) -> None:
    usual = {"algo": "loha", "preset": "attn-only", "dim": 4}
    state = create(models, **{**usual, **other}).state_dict()
    network = create(models, **usual)
    with pytest.raises(ConfigError, match=r"state of another network: .+ and \d+ more") as caught:
        network.load_state_dict(state)
    assert caught.value.where == "--resume" and len(str(caught.value)) < 600
    network.load_state_dict(network.state_dict())
