"""Stand-ins of ComfyUI's MODEL, CLIP and VAE: a few layers under the names of the real ones."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lycoris_ext.diffusion.schedule import zero_terminal_snr
from tests.comfy_nodes.stand_ins import SAMPLING, DiagonalGaussianRegularizer

WIDTH = 16


class SpatialTransformer(nn.Module):
    """A block of the U-Net that presets select by the name of its class."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_in = nn.Conv2d(8, WIDTH, 1)
        self.to_k = nn.Linear(WIDTH, WIDTH)
        self.proj_out = nn.Conv2d(WIDTH, 8, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(x)
        k = self.to_k(context).mean(dim=1)[:, :, None, None]
        return x + self.proj_out(torch.tanh(h + k))


class Unet(nn.Module):
    """A U-Net with ldm's names: (batch, 4, h, w), timesteps and context give (batch, 4, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(4, 8, 3, padding=1)])])
        self.input_blocks.append(nn.ModuleList([nn.Identity(), SpatialTransformer()]))
        self.time_embed = nn.Sequential(nn.Linear(1, 8))
        self.out = nn.ModuleList([nn.Identity(), nn.Identity(), nn.Conv2d(8, 4, 3, padding=1)])

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        told = self.time_embed(timesteps.float()[:, None] / 1000.0)
        h = self.input_blocks[0][0](x) + told[:, :, None, None]
        answer: Tensor = self.out[2](self.input_blocks[1][1](h, context))
        return answer


class Dit(nn.Module):
    """A denoiser of an unknown family; it adds in place, as ComfyUI's transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.img_in = nn.Linear(4, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.double_blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH)])
        self.final = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        h = self.img_in(x.movedim(1, -1))
        h += timesteps[:, None, None, None] + context.mean()
        h += self.double_blocks[0](self.norm(h))
        answer: Tensor = self.final(h).movedim(-1, 1)
        return answer


class Condition:
    """Holds a tensor that is passed to the model, as ComfyUI's conditions do."""

    def __init__(self, cond: Tensor) -> None:
        self.cond = cond

    def process_cond(self, batch_size: int, **_: Any) -> Condition:
        return self

    def concat(self, others: list[Condition]) -> Tensor:
        return torch.cat([self.cond, *(other.cond for other in others)])


def sampling_of(kind: str, zsnr: bool = False) -> Any:
    """Return a model_sampling for a kind of prediction, with two parent classes as in ComfyUI."""

    class ModelSampling(SAMPLING[kind], nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            if kind == "CONST":
                sigmas = torch.linspace(0.001, 1.0, 1000)
            else:
                betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
                kept = torch.cumprod(1.0 - betas, dim=0)
                if zsnr:
                    kept = zero_terminal_snr(kept)
                    kept[-1] = 4.8973451890853435e-08  # as ComfyUI has it
                sigmas = ((1.0 - kept) / kept).sqrt()
            self.register_buffer("sigmas", sigmas)

        def timestep(self, sigma: Tensor) -> Tensor:
            if kind == "CONST":
                return sigma
            return (sigma[:, None] - self.sigmas[None]).abs().argmin(dim=1)

    return ModelSampling()


class SD15:
    """The configuration of a family; our nodes know the family by the name of this class."""

    unet_config: ClassVar[dict[str, int]] = {"context_dim": WIDTH}


class Flux:
    pass


class LatentFormat:
    latent_channels = 4
    latent_dimensions = 2

    def process_in(self, latent: Tensor) -> Tensor:
        return (latent - 0.1) * 0.18215


class Base(nn.Module):
    """Stands for ComfyUI's BaseModel."""

    def __init__(self, network: nn.Module, family: type, kind: str) -> None:
        super().__init__()
        self.diffusion_model = network
        self.model_config = family()
        self.model_sampling = sampling_of(kind)
        self.latent_format = LatentFormat()
        self.manual_cast_dtype = None
        self.told: list[dict[str, Any]] = []

    def get_dtype(self) -> torch.dtype:
        return next(self.diffusion_model.parameters()).dtype

    def extra_conds(self, **given: Any) -> dict[str, Condition]:
        self.told.append(given)
        return {"c_crossattn": Condition(given["cross_attn"])}

    def apply_model(
        self, x: Tensor, t: Tensor, c_crossattn: Tensor, transformer_options: Any
    ) -> Tensor:
        sampling = self.model_sampling
        answer = self.diffusion_model(
            sampling.calculate_input(t, x), sampling.timestep(t).float(), c_crossattn
        )
        denoised: Tensor = sampling.calculate_denoised(t, answer, x)
        return denoised


class Patcher:
    """Stands for ComfyUI's ModelPatcher: clones share one module, one backup of patched weights and
    one of patched objects, and patches stay in the module until another clone is loaded."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        self.patches: dict[str, list[tuple[float, Any]]] = {}
        self.backup: dict[str, Tensor] = {}
        self.object_patches: dict[str, Any] = {}
        self.object_patches_backup: dict[str, Any] = {}
        self.compute_dtype: torch.dtype | None = None

    def clone(self) -> Patcher:
        other = Patcher(self.model)
        other.backup = self.backup
        other.object_patches = dict(self.object_patches)
        other.object_patches_backup = self.object_patches_backup
        other.patches = {key: [*told] for key, told in self.patches.items()}
        return other

    def add_patches(self, patches: dict[str, Any], strength: float = 1.0) -> list[str]:
        known = self.model.state_dict()
        found = [key for key in patches if key in known]
        for key in found:
            self.patches.setdefault(key, []).append((strength, patches[key]))
        return found

    def set_model_compute_dtype(self, dtype: torch.dtype) -> None:
        self.compute_dtype = dtype

    def add_object_patch(self, name: str, value: Any) -> None:
        self.object_patches[name] = value

    def get_model_object(self, name: str) -> Any:
        for patched in (self.object_patches, self.object_patches_backup):
            if name in patched:
                return patched[name]
        return getattr(self.model, name)

    @torch.inference_mode()
    def load(self) -> None:
        """Put the patches of this clone, and no others, into the weights of the module."""
        for name, value in self.object_patches_backup.items():
            setattr(self.model, name, value)
        self.object_patches_backup.clear()
        for name, value in self.object_patches.items():
            self.object_patches_backup[name] = getattr(self.model, name)
            setattr(self.model, name, value)
        weights = self.model.state_dict()
        for key, weight in self.backup.items():
            weights[key].copy_(weight)
        self.backup.clear()
        for key, patches in self.patches.items():
            weight = weights[key].float().clone()
            self.backup[key] = weights[key].clone()
            for strength, patch in patches:
                weight = patch.calculate_weight(weight, key, strength, 1.0, None, None)
            weights[key].copy_(weight)

    def patched(self, key: str) -> Tensor:
        """Load this clone and return a copy of one patched weight."""
        self.load()
        weight: Tensor = self.model.state_dict()[key].detach().clone()
        return weight


class CLIPAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH)


class Encoder(nn.Module):
    """A text encoder with CLIP's names; it adds in place, as ComfyUI's does."""

    def __init__(self) -> None:
        super().__init__()
        self.text_model = nn.Module()
        self.text_model.encoder = nn.Module()
        layer = nn.Module()
        layer.self_attn = CLIPAttention()
        layer.layer_norm1 = nn.LayerNorm(WIDTH)
        self.text_model.encoder.layers = nn.ModuleList([layer])

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.0
        for layer in self.text_model.encoder.layers:
            x += layer.self_attn.q_proj(layer.layer_norm1(x))
        return x


class Clip:
    """Stands for ComfyUI's CLIP."""

    def __init__(self) -> None:
        self.cond_stage_model = nn.Module()
        self.cond_stage_model.clip_l = nn.Module()
        self.cond_stage_model.clip_l.transformer = Encoder()
        self.patcher = Patcher(self.cond_stage_model)
        self.read: list[str] = []

    def clone(self) -> Clip:
        other = object.__new__(Clip)
        other.cond_stage_model, other.read = self.cond_stage_model, self.read
        other.patcher = self.patcher.clone()
        return other

    def add_patches(self, patches: dict[str, Any], strength: float = 1.0) -> list[str]:
        return self.patcher.add_patches(patches, strength)

    def tokenize(self, text: str) -> dict[str, list[str]]:
        """Return as many pieces as the text needs, like ComfyUI; here a character is a token."""
        self.read.append(text)
        return {"l": [text[start : start + 75] for start in range(0, len(text) or 1, 75)]}

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[str]]) -> list[list[Any]]:
        seeds = [sum(piece.encode()) for piece in tokens["l"]]
        pieces = [
            torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        x = torch.cat(pieces, dim=1)
        states = self.cond_stage_model.clip_l.transformer(x)
        return [[states, {"pooled_output": states.mean(dim=1)}]]


class FirstStage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 8, stride=8)
        self.regularization = DiagonalGaussianRegularizer()

    def encode(self, pixels: Tensor) -> Tensor:
        z: Tensor = self.regularization(self.encoder(pixels))[0]
        return z


class Vae:
    """Stands for ComfyUI's VAE; a latent covers 8 x 8 pixels."""

    def __init__(self) -> None:
        self.first_stage_model = FirstStage()
        self.latent_channels = 4

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, images: Tensor) -> Tensor:
        return self.first_stage_model.encode(images.movedim(-1, 1) * 2.0 - 1.0)

    def decode(self, latents: Tensor) -> Tensor:
        large = latents[:, :3].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
        return torch.sigmoid(large).movedim(1, -1)


def load_models(
    network: type = Unet, family: type = SD15, kind: str = "EPS"
) -> tuple[Patcher, Clip, Vae]:
    """Return model, CLIP and VAE as ComfyUI loads them: frozen, of inference tensors."""
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = Patcher(Base(network(), family, kind)), Clip(), Vae()
        assert math.isfinite(float(next(models[0].model.parameters()).sum()))
        return models
