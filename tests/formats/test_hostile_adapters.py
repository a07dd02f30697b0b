"""Whatever a file says about its layers, the answer is a plan or a FormatError."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState, cloneofsimo
from lycoris_ext.functional import LayerSpec

FIELDS = ("lora_alpha", "unet.lora_alpha", "alpha", "r", "use_rslora", "alpha_pattern",
          "unet.alpha_pattern", "rank_pattern", "init_lora_weights")  # fmt: skip
PLACES = ("lora_adapter_metadata", "peft_adapter_config", "lora_config", "network_alphas",
          "lora_alpha", "alpha_pattern", "use_rslora", "init_lora_weights")  # fmt: skip
NAMES = ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector", "alpha",
         "lora_down.weight", "lora_mid.weight", "diff", "diff_b", "w_norm", "b_norm", "lokr_w1",
         "lokr_w2", "bias_indices", "bias_values", "bias_size", "oft_diag", "oft_blocks",
         "dora_scale", "rescale")  # fmt: skip

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=5,
)
configs = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4).map(json.dumps)
metadata = st.dictionaries(
    st.sampled_from(PLACES), configs | st.text(max_size=20) | anything.map(json.dumps), max_size=3
)
shapes = st.lists(st.integers(0, 4), max_size=4)


@st.composite
def tensors(draw: Any, names: st.SearchStrategy[str]) -> dict[str, Tensor]:
    found = {}
    for name in draw(st.lists(names, max_size=6, unique=True)):
        dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.int16, torch.bool]))
        number = draw(st.integers(-3, 3))
        found[name] = torch.full(tuple(draw(shapes)), number, dtype=torch.float32).to(dtype)
    return found


@settings(max_examples=400)
@given(tensors(st.sampled_from(NAMES)), metadata, st.booleans())
def test_a_layer_is_read_or_refused(
    stored: dict[str, Tensor], metadata: dict[str, str], known: bool
) -> None:
    state = AdapterState({f"unet.mid_block.to_q.{k}": t for k, t in stored.items()}, metadata)
    layer = LayerSpec(4, 3, has_bias=True) if known else None
    with suppress(FormatError):
        for found in state.layers().values():
            plan = detect(found, "layer", layer)
            assert plan.shapes().keys() == found.keys() - {"alpha"}


@settings(max_examples=200)
@given(
    tensors(
        st.sampled_from(["unet:0:up", "unet:0:down", "text_encoder:0:up", "text_encoder:1:down"])
        | st.integers(0, 5).map(str)
        | st.text(max_size=3)
    ),
    st.dictionaries(st.sampled_from(["unet", "text_encoder", "x"]), st.text(max_size=5)),
    st.booleans(),
)
def test_numbered_layers_are_named_or_refused(
    stored: dict[str, Tensor], metadata: dict[str, str], are_words: bool
) -> None:
    metadata |= dict.fromkeys(stored, "<embed>") if are_words else {}
    if cloneofsimo.is_numbered(stored):
        with suppress(FormatError):
            cloneofsimo.named(stored, metadata, "file")


def test_an_alpha_of_several_numbers_is_refused() -> None:
    state = AdapterState({"lora_unet_x.alpha": torch.ones(2)})
    with pytest.raises(FormatError, match="alpha is 2 numbers"):
        state.layers()
