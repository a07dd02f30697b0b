"""Files that are no training configs are named for what they are."""

from __future__ import annotations

from typing import Any

import pytest

from lycoris_ext.config.imports import format_of
from lycoris_ext.errors import ConfigError

FILES: dict[str, dict[str, Any]] = {
    "sample_prompts": {"prompt": {"width": 512, "subset": [{"prompt": "a cat"}]}},
    "preset": {"unet_target_module": ["Transformer2DModel"], "enable_conv": True},
    "traintrain": {"network_rank": "16", "train_iterations": "500", "mode": "LECO"},
    "accelerate": {"compute_environment": "LOCAL_MACHINE", "distributed_type": "NO"},
    "instance_data_dir": {
        "pretrained_model_name_or_path": "sd15",
        "instance_data_dir": "dogs",
        "instance_prompt": "a sks dog",
        "rank": "4",
    },
    "adapter_config": {"peft_type": "LORA", "base_model_name_or_path": None, "r": 8},
    "a model of diffusers": {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30"},
    "ComfyUI": {"nodes": [], "links": [], "version": 0.4},
    "EveryDream": {"resume_ckpt": "sd15", "data_root": "pictures", "lr": 1e-6},
}


@pytest.mark.parametrize("word", FILES)
def test_a_file_that_is_no_config_is_named_with_what_to_do(word: str) -> None:
    known = format_of(FILES[word])
    assert known is not None
    with pytest.raises(ConfigError) as caught:
        known.read(FILES[word], "file.json")
    assert caught.value.where == "file.json"
    assert word in f"{caught.value.what} {caught.value.fix}"
