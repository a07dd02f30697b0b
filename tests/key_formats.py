"""Every tool's way to name a layer and its tensors, written as that tool writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from tests.stand_ins import UNETS

_PEFT = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
_DOWN_UP = {"lora_down.weight": "down.weight", "lora_up.weight": "up.weight"}
_CLIP_OLD = {"q_proj": "to_q", "out_proj": "to_out"}

#: (target, diffusers' path, our name of the tensor, family) -> key, or None: the tool has no name.
Namer = Callable[[str, str, str, str], "str | None"]


def _ldm(path: str, family: str) -> str:
    return next(ldm for diffusers, ldm, _ in UNETS[family] if diffusers == path)


def _kohya(target: str, path: str, name: str, family: str) -> str:
    start = {"unet": "lora_unet", "text_encoder_2": "lora_te2"}.get(
        target, "lora_te1" if family == "sdxl" else "lora_te"
    )
    if target == "unet" and family == "sdxl":
        path = _ldm(path, family)
    return f"{start}_{path.replace('.', '_')}.{name}"


def _kohya_diffusers(target: str, path: str, name: str, family: str) -> str:
    return _kohya(target, path, name, "sdxl" if target == "text_encoder_2" else "sd")


def _kohya_ldm(target: str, path: str, name: str, family: str) -> str | None:
    if target != "unet":
        return _kohya(target, path, name, family)
    return f"lora_unet_{_ldm(path, family).replace('.', '_')}.{name}"


def _lycoris(target: str, path: str, name: str, family: str) -> str | None:
    return f"lycoris_{path.replace('.', '_')}.{name}" if target == "unet" else None


def _comfy(target: str, path: str, name: str, family: str) -> str:
    start = {
        "unet": "diffusion_model",
        "text_encoder": "text_encoders.clip_l.transformer",
        "text_encoder_2": "text_encoders.clip_g.transformer",
    }[target]
    return f"{start}.{_ldm(path, family) if target == 'unet' else path}.{name}"


def _diffusers(target: str, path: str, name: str, family: str) -> str:
    return f"{target}.{path}.{_PEFT.get(name, name)}"


def _diffusers_down_up(target: str, path: str, name: str, family: str) -> str | None:
    inner = "lora" if target == "unet" else "lora_linear_layer"
    return f"{target}.{path}.{inner}.{_DOWN_UP[name]}" if name in _DOWN_UP else None


def _diffusers_processor(target: str, path: str, name: str, family: str) -> str | None:
    """Name a tensor of an attention layer; files with attention processors hold no other layers."""
    path = path.removesuffix(".0") if path.endswith("to_out.0") else path
    parent, _, last = path.rpartition(".")
    last = _CLIP_OLD.get(last, last)
    if not last.startswith("to_") or name not in _DOWN_UP:
        return None
    parent = f"{parent}.processor" if target == "unet" else parent
    return f"{target}.{parent}.{last}_lora.{_DOWN_UP[name]}"


def _peft(target: str, path: str, name: str, family: str) -> str | None:
    return f"base_model.model.{path}.{_PEFT.get(name, name)}" if target == "unet" else None


@dataclass(frozen=True)
class KeyFormat:
    """Attributes:
    name: who writes it.
    example: the start of a key, for the docs.
    has_alpha: whether its files hold alphas.
    only_lora: the tool knows no other algorithm.
    """

    name: str
    example: str
    key: Namer
    has_alpha: bool = True
    only_lora: bool = False

    def write(
        self, layers: Mapping[tuple[str, str], Mapping[str, Tensor]], family: str
    ) -> dict[str, Tensor]:
        """Return the tensors of a file from layers: (target, diffusers' path) -> name -> tensor."""
        tensors = {}
        for (target, path), stored in layers.items():
            for name, tensor in stored.items():
                key = self.key(target, path, name, family)
                if key is not None and (name != "alpha" or self.has_alpha):
                    tensors[key] = tensor
        return tensors


FORMATS = (
    KeyFormat("sd-scripts, lycoris-lora in it", "lora_unet_down_blocks_0_…", _kohya),
    KeyFormat("others with diffusers' names in kohya keys", "lora_unet_down_blocks_0_…",
              _kohya_diffusers),
    KeyFormat("others with ldm's names in kohya keys", "lora_unet_input_blocks_1_…", _kohya_ldm),
    KeyFormat("lycoris-lora over a module", "lycoris_down_blocks_0_…", _lycoris),
    KeyFormat("ComfyUI", "diffusion_model.input_blocks.1.…", _comfy),
    KeyFormat("diffusers, today", "unet.down_blocks.0.…lora_A.weight", _diffusers, False),
    KeyFormat("diffusers, with `lora` layers", "unet.down_blocks.0.….lora.down.weight",
              _diffusers_down_up, False, True),
    KeyFormat("diffusers, with attention processors", "unet.….processor.to_q_lora.down.weight",
              _diffusers_processor, False, True),
    KeyFormat("PEFT", "base_model.model.down_blocks.0.…", _peft, False),
)  # fmt: skip
