"""Every row of the table of families, and every module that reads the table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from comfy_nodes.host.base_model import family_of_model
from comfy_nodes.host.patches import encoders_of
from kohya_adapter.targets import family_of_unet, name_targets
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.families import (
    FAMILIES,
    OTHER,
    TEXT_ENCODERS,
    Family,
    family_of_version,
    variant_of,
)
from lycoris_ext.formats.keys import TEXT_LEVEL, key_prefix, place_in_file, place_in_model
from lycoris_ext.formats.metadata import ModelReference, RunFacts, build_metadata
from lycoris_ext.grids.fit import HostTraits, check_fit
from lycoris_ext.models.identify import identify
from lycoris_ext.models.part_configs import LOADED, build_meta
from lycoris_ext.network import BlockWeights
from lycoris_ext.network.block_arguments import block_overrides
from lycoris_ext.network.block_weights import LISTS

ALL = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
OF_TRANSFORMERS = pytest.mark.parametrize(
    "family", [family for family in FAMILIES.values() if not family.blocks], ids=lambda f: f.id
)
OF_UNETS = pytest.mark.parametrize(
    "family", [family for family in FAMILIES.values() if family.blocks], ids=lambda f: f.id
)


def denoiser(family: Family) -> nn.Module:
    """Return an empty model with the direct submodules by which the family is recognised."""
    model = nn.Module()
    for name in family.submodules:
        model.add_module(name, nn.Sequential(nn.Linear(2, 2)))
    return model


@ALL
def test_a_family_is_found_by_the_version_in_its_files(family: Family) -> None:
    for start in family.versions:
        assert family_of_version(f"{start}_x") is family
    for variant in family.variants:
        assert family_of_version(variant.version) is family
        assert variant_of(variant.id) == (family, variant)
        assert family.variant(variant.predicts) is variant


@pytest.mark.parametrize(
    "variant",
    [variant.id for family in (*FAMILIES.values(), OTHER) for variant in family.variants],
)
def test_metadata_name_version_architecture_and_prediction_of_every_variant(variant: str) -> None:
    family, known = variant_of(variant)
    facts = RunFacts(family=variant, base=ModelReference("base"), steps=1, max_train_steps=1)
    metadata = build_metadata({}, facts)
    assert metadata["ss_base_model_version"] == known.version
    assert metadata["ss_v2"] == str(family.v2)
    assert metadata["modelspec.architecture"] == f"{known.architecture}/lora"
    prediction = {"epsilon": "epsilon", "v_prediction": "v", "flow": None}[known.predicts]
    assert metadata.get("modelspec.prediction_type") == prediction


@ALL
def test_the_key_of_a_text_encoders_layer_leads_back_to_it(family: Family) -> None:
    path = "encoder.layers.0.fc1"
    for encoder in family.text_encoders:
        inner = f"{TEXT_LEVEL[:-1]}.{path}" if encoder.key.endswith(TEXT_LEVEL) else path
        place = place_in_model(encoder.target, inner)
        key = key_prefix(encoder.target, inner, family)
        assert key == f"{encoder.key}{path.replace('.', '_')}"
        assert place_in_file(key) == place
        if encoder.comfyui:
            assert place_in_file(f"text_encoders.{encoder.comfyui}.transformer.{inner}") == place


@OF_TRANSFORMERS
def test_a_transformer_family_is_recognised_by_its_submodules(family: Family) -> None:
    model = denoiser(family)
    assert family_of_unet(model) is family
    encoders = [nn.Linear(2, 2) for _ in family.text_encoders]
    named = name_targets(encoders, model)
    assert list(named) == [*family.text_targets, "unet"]
    with pytest.raises(ConfigError, match="this model is "):
        block_overrides({"block_dims": "4"}, family, ["x"], (8, 8), None)
    with pytest.raises(DataError, match=r"a model of the .* family"):
        identify({f"{name}.0.weight": torch.zeros(1) for name in family.submodules}, Path("x"))


@OF_UNETS
def test_block_dims_and_block_weights_cover_every_block_of_a_unet(family: Family) -> None:
    cut = family.blocks
    assert cut is not None
    lead_in = [f"input_blocks.{number}.0.in_layers.2" for number in range(cut.sides)]
    middle = [f"middle_block.{number}.in_layers.2" for number in range(cut.middles)]
    lead_out = [f"output_blocks.{number}.0.in_layers.2" for number in range(cut.sides)]
    ends = (["time_embed.0"], ["out.2"]) if cut.has_ends else ([], [])
    paths = [*ends[0], *lead_in, *middle, *lead_out, *ends[1]]
    assert len(paths) == cut.count
    dims = ",".join(str(1 + number) for number in range(cut.count))
    overrides = block_overrides({"block_dims": dims}, family, paths, (8, 8), None)
    assert [override.network_dim for override in overrides] == [*range(1, 1 + cut.count)]
    assert all(o.fits(f"unet.{path}") for o, path in zip(overrides, paths, strict=True))
    # BASE, the blocks that lead in, M00, and those that lead out
    names = LISTS[2 + 2 * cut.sides]
    assert names[1 : 1 + cut.sides] == tuple(f"IN{number:02d}" for number in range(cut.sides))
    attentive = LISTS[2 + sum(map(len, cut.attentive))]
    assert set(attentive) < set(names)
    assert BlockWeights.parse(",".join(["0.5"] * len(names))).weights == dict.fromkeys(names, 0.5)


@ALL
def test_a_file_fits_a_host_only_where_a_model_of_its_family_is_loaded(family: Family) -> None:
    state = AdapterState({}, {"ss_base_model_version": family.versions[0]})
    for loaded in FAMILIES.values():
        fit = check_fit(state, {}, HostTraits("Host 1.0", loaded))
        assert fit.works == (loaded is family)
        if not fit.works:
            assert family.title in str(fit) and loaded.title in str(fit)


@ALL
def test_families_and_text_encoders_are_recognised_by_comfyuis_names(family: Family) -> None:
    assert family.variants or not family.comfyui  # what is trained there is named in its files
    for name in family.comfyui:
        config = type(name, (), {})()
        model = SimpleNamespace(model=SimpleNamespace(model_config=config))
        assert family_of_model(model) is family
        part = SimpleNamespace(transformer=0)
        parts = {encoder.comfyui: part for encoder in family.text_encoders}
        clip = SimpleNamespace(cond_stage_model=SimpleNamespace(**parts))
        assert tuple(encoders_of(clip)) == family.text_targets


@pytest.mark.parametrize("family", LOADED.values(), ids=LOADED)
def test_loaded_families_have_the_configs_of_their_parts(family: Family) -> None:
    parts = build_meta(family.id)
    assert list(parts) == ["unet", *family.text_targets]
    assert parts["unet"].config.in_channels == family.latent_channels
    assert all(encoder.in_checkpoint for encoder in family.text_encoders)


@ALL
def test_no_two_families_share_a_version_or_a_comfyui_class(family: Family) -> None:
    assert {*family.text_targets} <= {*TEXT_ENCODERS}
    for other in FAMILIES.values():
        if other is not family:
            assert not set(family.comfyui) & set(other.comfyui)
            assert not any(v.startswith(other.versions) for v in family.versions)
