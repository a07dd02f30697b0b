"""The base model of a run inside ComfyUI: the connected MODEL, CLIP and VAE."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.data import TokenLimit
from lycoris_ext.data.store import Tensors
from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.families import CLIP_TEXT, FAMILIES, LONGEST_TEXT, OTHER, Family
from lycoris_ext.models import ModelConfig
from lycoris_ext.models.outline import usual_size
from lycoris_ext.models.part_configs import LOADED
from lycoris_ext.training.token_limit import clip_token_limit
from lycoris_ext.words import count

from .cables import check_cables
from .fingerprint import clip_digest, load, model_digest, vae_digest
from .given_latents import FACTOR, Latents, latent_of
from .gradients import checkpointed, own_tensors, plain_attention, unshared_norms
from .patches import apply_adapter, targets_of
from .prediction import LATENTS, Prediction
from .raw import RawSampling, moments

_USUAL_SIZE = 1024
"""Side in pixels of the pictures that models of newer families are made for."""
_STATES, _OTHERS = "hidden states", "as JSON"
"""Names in a cache for two parts of ComfyUI's conditioning: its first tensor, which has no name
there, and all values that are no tensors."""
_TRAINED = [family.title for family in FAMILIES.values() if family.comfyui]


class ConnectedModel:
    """The models that are connected to a Train node, as the `BaseModel` of a run.

    Args:
        model, clip, vae: ComfyUI's MODEL, CLIP and VAE. Without a clip `conditionings` must hold
            every caption.
        trains_text: whether the text encoder is adapted, too.
        precision: number format that the model computes in: "no" (float32), "bf16" or "fp16".
        conditionings: caption -> ComfyUI's CONDITIONING, for captions that other nodes encoded.
        latents: those that the pictures stand for, if other nodes encoded them.
        max_token_length: the option of this name; only Stable Diffusion's text encoders have such a
            limit. ComfyUI encodes a long caption in pieces of 75 tokens, as many as it needs, and
            keeps the marks of all pieces in the result, as it does with prompts.

    Raises:
        ConfigError: this kind of model cannot be trained.
    """

    reads_first = True

    def __init__(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        *,
        trains_text: bool,
        precision: str,
        conditionings: Mapping[str, Any] | None = None,
        latents: Latents | None = None,
        max_token_length: int = LONGEST_TEXT,
    ) -> None:
        from comfy.model_management import get_torch_device

        self.model = model.clone()
        self.clip, self.vae, self._conditionings = clip, vae, dict(conditionings or {})
        self.trains_text, self.max_token_length = trains_text, max_token_length
        self._is_prepared = False
        self._fingerprint = ""
        wanted = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        cast_to = self.model.get_model_object("manual_cast_dtype")
        if self._base.get_dtype() != wanted or cast_to is not None:
            self.model.set_model_compute_dtype(wanted)
        self.device: torch.device = get_torch_device()
        self._latents = latents or {}
        self.latent_factor = FACTOR if self._latents else int(vae.spacial_compression_encode())
        self._prediction = Prediction(self.model)
        self._latent_format = self.model.get_model_object(LATENTS)
        self._raw: RawSampling | None = None
        self.family = family_of_model(model)
        self.kind = self.family.variant(self._prediction.kind).id
        if self.family is OTHER and trains_text:
            raise ConfigError(
                f"only the text encoders of {', '.join(_TRAINED)} are trained here",
                where="train",
                fix='choose model under "train" on the Network node',
            )
        if self._latent_format.latent_dimensions != 2:
            raise ConfigError(
                "this model is for videos, and only models for pictures can be trained",
                where="model",
                fix="connect a model for pictures",
            )
        used = None if self._latents else self.vae
        check_cables(self.model, self.clip, used, self._conditionings, self._latents)

    @property
    def _base(self) -> Any:
        return self.model.model

    def token_limit(self) -> TokenLimit | None:
        if self.family is OTHER:
            return None
        return clip_token_limit(ModelConfig(max_token_length=self.max_token_length))

    def picture_size(self) -> int:
        """Return the usual size of the family, because ComfyUI's models do not say their own."""
        if self.family.id not in LOADED:
            return _USUAL_SIZE
        return usual_size(self.family, self._prediction.kind)

    def load(self) -> None:
        """Do nothing: ComfyUI has read the weights already."""

    def targets(self) -> dict[str, nn.Module]:
        return targets_of(self.model, self.clip if self.trains_text else None)

    def fingerprint(self) -> str:
        """Hash some thousand numbers of each weight, LoRAs of nodes before this one included.

        That takes a second, and any other model, LoRA or VAE gives another hash.
        """
        if not self._fingerprint:
            parts = [model_digest(self.model, self._prediction)]
            if not self._latents:
                parts.append(vae_digest(self.vae))
            if self.clip is not None:
                parts.append(clip_digest(self.clip))
            self._fingerprint = hashlib.blake2b(b"".join(parts), digest_size=20).hexdigest()
        return self._fingerprint

    def identity(self, part: str) -> str:
        if part == "vae":
            # How latents are scaled belongs to the model.
            return vae_digest(self.vae).hex() + type(self._latent_format).__name__
        clip = "" if self.clip is None else clip_digest(self.clip).hex()
        return f"{clip} {self.max_token_length}"

    def merge(self, state: AdapterState, strength: float) -> None:
        applied = apply_adapter(self.model, self.clip, state, strength, strength)
        if applied.unmatched:
            fit = count(len(applied.unmatched), "key of this adapter fits", "keys of it fit")
            raise FormatError(
                f"{fit} neither MODEL nor CLIP",
                where=applied.unmatched[0],
                fix="leave it out of base_weights, or connect the model that it was made for",
            )
        self.model, self.clip = applied.model, applied.clip

    @contextmanager
    def prepared(self, gradient_checkpointing: bool) -> Iterator[None]:
        self.to_device()
        with ExitStack() as stack:
            for target, module in self.targets().items():
                if target != "unet":  # ComfyUI's U-Nets write nothing in place
                    stack.enter_context(unshared_norms(module))
            if gradient_checkpointing:
                for module in self.targets().values():
                    stack.enter_context(checkpointed(module))
            stack.enter_context(self._raw_predictions())
            self._is_prepared = True
            try:
                yield
            finally:
                self._is_prepared = False

    def to_device(self) -> None:
        """Load the models that are trained onto the device as a whole, unless they are there."""
        patchers = [self.model]
        if self.trains_text or (self.clip is not None and self.clip.patcher.patches):
            patchers.append(self.clip.patcher)
        load(patchers, whole=True)
        for module in self.targets().values():
            own_tensors(module)
        if self._raw is not None:  # ComfyUI has put the real one back
            self._base.model_sampling = self._raw

    @contextmanager
    def _raw_predictions(self) -> Iterator[None]:
        """Inside the ``with`` apply_model hands its input to the network unscaled, and returns the
        network's own output, which training compares with noise, velocity or flow."""
        sampling = self._prediction.sampling
        self._base.model_sampling = self._raw = RawSampling(sampling, self._prediction.levels())
        try:
            yield
        finally:
            self._base.model_sampling, self._raw = sampling, None

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Let ComfyUI's samplers work inside the ``with``; prepare the model to train after it."""
        raw, self._raw = self._raw, None
        self._base.model_sampling = self._prediction.sampling
        try:
            yield
        finally:
            self._raw = raw
            self.to_device()

    def schedule(self) -> NoiseSchedule:
        return self._prediction.schedule()

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        process_in = self._latent_format.process_in
        if self._latents:
            latent = process_in(latent_of(pixels, self._latents))
            return latent, torch.zeros_like(latent)
        picture = (pixels.float() + 1.0).div(2.0).movedim(1, -1)
        with torch.inference_mode(), moments(self.vae) as has_moments:
            answer = self.vae.encode(picture)
        answer = answer.clone()
        mean, spread = answer, torch.zeros_like(answer)
        if has_moments:
            mean, log_variance = answer.chunk(2, dim=1)
            spread = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
        # process_in is a * x + b; the difference of two results has the factor a alone.
        scaled = process_in(mean)
        return scaled, process_in(mean + spread) - scaled

    def encode_text(self, captions: Sequence[str]) -> list[Any]:
        """Encode captions into ComfyUI's conditioning: a pair [tensor, dict] for each."""
        return [self._encode(caption) for caption in captions]

    def join(self, texts: Sequence[list[Any]]) -> list[Any]:
        return [one for text in texts for one in text]

    def to_tensors(self, text: list[Any]) -> Tensors:
        (states, more), *_ = text
        tensors = {name: value for name, value in more.items() if torch.is_tensor(value)}
        others = {name: value for name, value in more.items() if name not in tensors}
        try:
            written = json.dumps(others)
        except TypeError as error:
            raise ConfigError(
                f"the conditioning of a caption holds more than numbers and texts ({error})",
                where="cache_text_encoder_outputs_to_disk",
                fix="remove this option: no file can keep such a conditioning",
            ) from error
        kept = torch.frombuffer(bytearray(written.encode()), dtype=torch.uint8)
        return {_STATES: states, _OTHERS: kept, **tensors}

    def from_tensors(self, tensors: Tensors) -> list[Any]:
        more = dict(tensors)
        states, others = more.pop(_STATES), more.pop(_OTHERS)
        return [[states, more | json.loads(bytes(others.tolist()))]]

    def release_text_encoders(self) -> None:
        """Do nothing: ComfyUI moves them off the device when it needs the memory."""

    def _encode(self, caption: str) -> Any:
        """Encode one caption; its parentheses are letters, not ComfyUI's weights of words."""
        if caption in self._conditionings:
            return _cloned(self._conditionings[caption][0])
        if self.clip is None:
            raise ConfigError(
                "no CLIP is connected, and there are captions to read",
                where="clip",
                fix="connect a CLIP, or images with their conditioning",
            )
        escaped = caption.replace("(", "\\(").replace(")", "\\)")
        tokens = self.clip.tokenize(escaped)
        if self.family is not OTHER:
            pieces = self.max_token_length // CLIP_TEXT
            tokens = {name: encoder[:pieces] for name, encoder in tokens.items()}
        if self.trains_text and torch.is_grad_enabled():
            return self.clip.encode_from_tokens_scheduled(tokens)[0]
        with torch.inference_mode():
            answer = self.clip.encode_from_tokens_scheduled(tokens)[0]
        answer = _cloned(answer)
        if self._is_prepared:
            self.to_device()  # where memory is short, the text encoder has taken the model's place
        return answer

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: list[Any],
        size_ids: Sequence[Sequence[int]],
    ) -> Tensor:
        conditions = [
            self._conditions(one, noisy[number : number + 1], size_ids[number])
            for number, one in enumerate(text)
        ]
        first, *others = conditions
        together = {name: part.concat([o[name] for o in others]) for name, part in first.items()}
        options = {"optimized_attention_override": plain_attention}
        answer: Tensor = self._base.apply_model(
            noisy, timesteps, transformer_options=options, **together
        )
        return answer

    def _conditions(self, text: Any, noise: Tensor, sizes: Sequence[int]) -> dict[str, Any]:
        """Return the inputs of apply_model for one sample by name, without latents and timestep.

        Args:
            text: ComfyUI's [tensor, dict] of the caption.
            noise: the noisy latents, (1, C, h, w); only their shape and dtype matter.
            sizes: SDXL's size conditioning: original (h, w), crop (top, left), bucket (h, w).
        """
        height, width, top, left, target_height, target_width = sizes
        states, more = text
        given = {
            **more,
            "cross_attn": states.to(self.device),
            "noise": noise,
            "device": self.device,
            "prompt_type": "positive",
            "width": width,
            "height": height,
            "crop_w": left,
            "crop_h": top,
            "target_width": target_width,
            "target_height": target_height,
        }
        given.setdefault("guidance", 1.0)
        conditions = self._base.extra_conds(**given)
        return {
            name: part.process_cond(batch_size=1, area=None) for name, part in conditions.items()
        }


def best_precision() -> str:
    """Return the precision for "auto": "bf16" on a GPU that has it, else "fp16"; "no" on a CPU."""
    from comfy.model_management import get_torch_device, is_device_cpu, should_use_bf16

    device = get_torch_device()
    if is_device_cpu(device):
        return "no"
    return "bf16" if should_use_bf16(device) else "fp16"


def family_of_model(model: Any) -> Family:
    """Return the family of a MODEL if its files get kohya's keys, else OTHER."""
    name = type(model.model.model_config).__name__
    return next((family for family in FAMILIES.values() if name in family.comfyui), OTHER)


def _cloned(conditioning: Any) -> Any:
    """Copy a conditioning out of inference mode, so that autograd may save its tensors."""
    states, more = conditioning
    copied = {name: v.clone() if torch.is_tensor(v) else v for name, v in more.items()}
    return [states.clone(), copied]
