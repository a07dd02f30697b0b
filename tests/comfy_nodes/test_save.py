"""What the node Save writes where ComfyUI's own loader would compute something else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfy_nodes.apply import Apply
from comfy_nodes.host.adapter import Adapter
from comfy_nodes.load import Load
from comfy_nodes.save import Save
from lycoris_ext.errors import ConfigError
from lycoris_ext.training.identity import IDENTITY
from tests.comfy_nodes.models import Dit, Flux, load_models
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.test_files import merged, perturbed

WRONG = [
    ({"algo": "ia3"}, "knows no (IA)^3"),
    ({"algo": "lora", "dora_wd": True, "wd_on_output": True}, "divides DoRA's lengths of outputs"),
    ({"algo": "loha", "dora_wd": True, "wd_on_output": True}, "divides DoRA's lengths of outputs"),
    ({"algo": "diag-oft", "constraint": 0.1, "network_dim": 4, "conv_dim": 4}, "the constraint"),
    ({"algo": "tlora"}, "knows no T-LoRA"),
]


@pytest.mark.parametrize(("options", "told"), WRONG, ids=lambda v: str(v)[:30])
def test_save_says_what_comfyui_computes_wrongly_and_bakes_it(
    host: Host, options: dict[str, Any], told: str
) -> None:
    models = load_models()
    network = perturbed(models, **options)
    lora = Adapter(network.adapter_state(dtype=torch.float32).tensors, {}, "a")
    with_models = {"model": models[0], "clip": models[1], "unique_id": "3"}
    Save().save(lora, "plain", "float", False, **with_models)
    assert told in host.shown[-1][1] and "switch bake on" in host.shown[-1][1]
    Save().save(lora, "as_it_is", "float", False, unique_id="3")
    assert told in host.shown[-1][1]
    Save().save(lora, "baked", "float", False, **with_models, bake=True)
    assert "baked" in host.shown[-1][1] and told not in host.shown[-1][1]
    found = Load().read("baked.safetensors")[0]
    assert {key.partition(".")[2] for key in found} <= {"diff", "diff_b"}
    wanted = merged(network, 1.0)
    model, clip, report = Apply().apply(models[0], found, 1.0, models[1])
    assert "every key of the file was matched" in report
    for key, site in network.sites.items():
        in_model = site.target == "unet"
        patcher = model if in_model else clip.patcher
        path = f"{'diffusion_model.' if in_model else 'clip_l.transformer.'}{site.path}.weight"
        torch.testing.assert_close(patcher.patched(path), wanted[key][0], rtol=1e-4, atol=1e-5)


def test_baking_replaces_layers_whose_names_have_dots(host: Host) -> None:
    """A model without a name of kohya's has ComfyUI's in its files."""
    models = load_models(Dit, Flux)
    network = perturbed(models, algo="lora", dora_wd=True, wd_on_output=True)
    lora = Adapter(network.adapter_state(dtype=torch.float32).tensors, {}, "a")
    Save().save(lora, "baked", "float", False, models[0], models[1], bake=True)
    found = Load().read("baked.safetensors")[0]
    assert "diffusion_model.double_blocks.0.diff" in found
    assert {key.rpartition(".")[2] for key in found} == {"diff"}


def test_layers_that_comfyui_reads_well_are_not_baked(host: Host) -> None:
    models = load_models()
    state = perturbed(models).adapter_state(dtype=torch.float32)
    lora = Adapter(state.tensors, {}, "a")
    Save().save(lora, "a", "float", False, models[0], models[1], bake=True, unique_id="3")
    assert set(Load().read("a.safetensors")[0]) == set(state.tensors)
    assert host.shown[-1][1].endswith("0 layers baked")


def test_baking_reads_the_weights_before_any_lora(host: Host) -> None:
    models = load_models()
    network = perturbed(models, algo="lora", dora_wd=True, wd_on_output=True)
    lora = Adapter(network.adapter_state(dtype=torch.float32).tensors, {}, "a")
    Save().save(lora, "plain", "float", False, models[0], models[1], bake=True)
    loaded, _, _ = Apply().apply(models[0], lora, 1.0)
    loaded.load()
    Save().save(lora, "loaded", "float", False, models[0], models[1], bake=True)
    plain, again = (Load().read(f"{name}.safetensors")[0] for name in ("plain", "loaded"))
    assert all(torch.equal(plain[key], again[key]) for key in plain)


def test_baking_without_a_model_is_refused(host: Host) -> None:
    lora = Adapter(perturbed(load_models()).adapter_state(dtype=None).tensors, {}, "a")
    with pytest.raises(ConfigError, match="none is connected"):
        Save().save(lora, "a", "float", False, bake=True)


def test_a_file_with_other_numbers_is_not_taken_for_the_trained_one(host: Host) -> None:
    state = perturbed(load_models()).adapter_state(dtype=torch.float32)
    lora = Adapter(state.tensors, {IDENTITY: "of the run", "ss_seed": "1"}, "a")
    for dtype, identity in (("as it is", "of the run"), ("fp16", None)):
        Save().save(lora, "a", dtype, True, comment="changed")
        saved = Load().read("a.safetensors")[0].metadata
        assert saved["ss_seed"] == "1" and saved.get(IDENTITY) == identity, dtype
