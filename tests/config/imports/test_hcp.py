"""HCP-Diffusion: bases, references, layers by patterns, LyCORIS' plugins."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.config.imports.foreign import Foreign
from lycoris_ext.config.imports.hcp import FORMAT
from lycoris_ext.errors import ConfigError
from tests.config.imports.adapted import adapted, models, wrapped
from tests.config.imports.building import assert_refused, built
from tests.config.imports.samples import HCP

CONVOLUTIONS = [r"re:.*\.resnets$", r"re:.*\.proj_in$", r"re:.*\.conv$"]


def read(where: str = "config.yaml", **changes: Any) -> Foreign:
    document = copy.deepcopy(HCP)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(document.get(name), dict):
            document[name] = {**document[name], **value}
        else:
            document[name] = value
    return FORMAT.read(document, where)


def matched(parts: dict[str, Any], part: str, patterns: list[str]) -> set[str]:
    """Return the layers inside the modules that HCP's patterns match."""
    names = [
        path
        for path, _ in parts[part].named_modules()
        if any(re.match(pattern.removeprefix("re:"), path) for pattern in patterns)
    ]
    layers = wrapped({part: parts[part]})
    return {
        layer
        for layer in layers
        if any(layer == f"{part}.{n}" or layer.startswith(f"{part}.{n}.") for n in names)
    }


def test_a_config_gives_the_same_run() -> None:
    config = built(read())
    run, optimizer = config.run, config.optimizer
    # 1000 batches, two of which make a step; rates are multiplied by the 8 pictures of a step.
    assert (run.max_train_steps, run.save_every_n_steps, run.gradient_accumulation_steps) == (
        500, 50, 2,
    )  # fmt: skip
    assert optimizer.unet_lr == pytest.approx(8e-4)
    assert optimizer.text_encoder_lr == pytest.approx(8e-5)
    assert (optimizer.optimizer_type, optimizer.weight_decay) == ("AdamW", 1e-3)
    assert (config.schedule.lr_scheduler, config.schedule.lr_warmup_steps) == (
        "constant_with_warmup", 25,
    )  # fmt: skip
    assert (config.model.clip_skip, run.mixed_precision, run.seed) == (2, "fp16", 114514)
    (subset,) = config.data.subsets or ()
    assert subset.image_dir == "pictures/me"
    assert (config.data.resolution, config.data.train_batch_size) == (768, 4)


def test_the_layers_inside_matched_modules_are_adapted_each_with_its_rank(tmp_path: Path) -> None:
    parts = models(tmp_path, "sd1")
    unet = matched(parts, "unet", HCP["lora_unet"][0]["layers"])
    texts = matched(parts, "text_encoder", HCP["lora_text_encoder"][0]["layers"])
    layers = adapted(built(read()), parts)
    assert layers.keys() == unet | texts
    assert {layer.rank for name, layer in layers.items() if name in unet} == {8}
    assert {layer.rank for name, layer in layers.items() if name in texts} == {4}
    assert {(layer.alpha, layer.options.dropout) for layer in layers.values()} == {(1.0, 0.1)}


def test_several_lists_of_layers_have_sizes_and_rates_of_their_own(tmp_path: Path) -> None:
    parts = models(tmp_path, "sd1")
    lists = [HCP["lora_unet"][0], {"lr": 5e-5, "rank": 2, "alpha": 2, "layers": CONVOLUTIONS}]
    foreign = read(lora_unet=lists, lora_text_encoder=None)
    assert foreign.unsupported == ()
    layers = adapted(built(foreign), parts)
    spatial = matched(parts, "unet", CONVOLUTIONS)
    assert layers.keys() == matched(parts, "unet", lists[0]["layers"]) | spatial
    assert {(layers[n].rank, layers[n].alpha) for n in spatial} == {(2, 2.0)}
    rates = [layers[n].rate.learning_rate for n in spatial]
    assert rates == pytest.approx([5e-5 * 8] * len(spatial))


def plugin(kind: str, **options: Any) -> dict[str, Any]:
    target = f"lycoris.hcp.{kind}.wrap_model"
    return {"mine": {"_target_": target, "_partial_": True, "lr": 1e-4, **options}}


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("LohaBlock", {"dim": 4, "alpha": 2}, {"algo": "loha", "network_alpha": 2.0}),
        ("LokrBlock", {"dim": 10000, "alpha": 0, "factor": 8}, {"algo": "lokr", "factor": 8}),
        ("LokrBlock", {"dim": 4, "alpha": 0}, {"network_alpha": 4.0}),
        ("DiagOFTBlock", {"dim": 4, "rescaled": True}, {"algo": "diag-oft", "rescaled": True}),
    ],
)
def test_plugins_of_lycoris(
    kind: str, options: dict[str, Any], expected: dict[str, object]
) -> None:
    layers = HCP["lora_unet"][0]["layers"]
    foreign = read(
        unet_rank=None,
        lora_unet=None,
        lora_text_encoder=None,
        plugin_unet=plugin(kind, layers=layers, **options),
        plugin_TE=None,
    )
    assert foreign.unsupported == ()
    network = built(foreign).network
    assert network.network_train_unet_only
    assert {name: getattr(network, name) for name in expected} == expected


def test_rates_are_as_written_if_they_are_not_scaled() -> None:
    assert built(read(train={**HCP["train"], "scale_lr": False})).optimizer.unet_lr == 1e-4


def test_a_base_beside_the_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "cfgs").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "cfgs" / "base.yaml").write_text(
        "seed: 7\ntrain: {max_grad_norm: 0.5, save_step: 20}\nmodel: {clip_skip: ---}\n",
        encoding="utf-8",
    )
    bases = [*HCP["_base_"], "cfgs/base.yaml"]
    foreign = read(str(tmp_path / "mine" / "a.yaml"), _base_=bases)
    assert foreign.unsupported == ()
    config = built(foreign)
    assert (config.run.seed, config.optimizer.max_grad_norm) == (7, 0.5)
    assert config.run.save_every_n_steps == 50  # the config's own 100 batches


def test_bases_that_name_each_other_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("_base_: [b.yaml]\nseed: 1\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("_base_: [a.yaml]\nseed: 2\n", encoding="utf-8")
    foreign = read(str(tmp_path / "c.yaml"), _base_=[*HCP["_base_"], "a.yaml"])
    assert built(foreign).run.seed == 1


def test_a_base_that_is_not_there_is_missed() -> None:
    (error,) = read(_base_=[*HCP["_base_"], "mine/base.yaml"]).unsupported
    assert "mine/base.yaml" in str(error)
    (error,) = read(_base_=["mine/train_base.yaml"]).unsupported
    assert "of this name are taken" in str(error.fix)


def test_references_are_filled_in_and_are_no_settings() -> None:
    foreign = read(
        me={"lr": "2e-4", "root": "pictures/you"},
        lora_unet=[{**HCP["lora_unet"][0], "lr": "${me.lr}"}],
        exp_dir="${me.root}/${hcp.time:}",
    )
    assert foreign.unsupported == ()
    config = built(foreign)
    assert config.optimizer.unet_lr == pytest.approx(16e-4)
    assert config.run.output_dir == "pictures/you"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer_pt": {"train": [{"name": "pt1", "lr": 1e-2}]}}, "plain words"),
        ({"train": {**HCP["train"], "scheduler": {"name": "one_cycle"}}}, "cosine"),
        ({"train": {**HCP["train"], "resume": {"start_step": 10}}}, "network_weights"),
        ({"model": {**HCP["model"], "clip_final_norm": False}}, "true"),
        ({"unet": [{"lr": 1e-6, "layers": [""]}]}, "null"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_the_nearest(
    changes: dict[str, Any], words: str
) -> None:
    assert_refused(read(**changes), words)


def test_captions_that_a_template_makes_are_refused() -> None:
    document = copy.deepcopy(HCP)
    source = document["data"]["dataset1"]["source"]["data_source1"]
    source["prompt_template"] = "prompt_tuning_template/object.txt"
    source["caption_file"] = None
    (error,) = FORMAT.read(document, "config.yaml").unsupported
    assert ".txt file beside" in str(error.fix)
    assert "data.dataset1: " in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora_unet": None, "lora_text_encoder": None}, "no adapter"),
        (
            {"lora_unet": None, "lora_text_encoder": None, "unet": [{"layers": [""]}]},
            "the model itself",
        ),
    ],
)
def test_what_trains_something_else_is_told_in_a_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read(**changes)
