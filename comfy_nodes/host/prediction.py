"""What a connected model predicts at which noise level, whatever was sampled before.

Nodes such as ModelSamplingDiscrete give a clone of a model another model_sampling or latent_format.
ComfyUI puts them into the module, which all clones share, when it loads that clone, and leaves them
there. They are therefore asked of the clone, and never of the module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.errors import ConfigError

SAMPLING, LATENTS = "model_sampling", "latent_format"
_PURE_NOISE = 1e-6
"""Below this share of the latents that is left, the last timestep counts as pure noise."""


class Prediction:
    """The model_sampling of a connected model, as training needs it.

    Args:
        model: ComfyUI's MODEL.

    Attributes:
        sampling: its model_sampling, with the patches of the nodes before ours.
        kind: "epsilon", "v_prediction" or "flow".

    Raises:
        ConfigError: the model predicts something else.
    """

    def __init__(self, model: Any) -> None:
        self.sampling = model.get_model_object(SAMPLING)
        self.kind = _kind(self.sampling)

    def levels(self) -> Tensor:
        """Return ComfyUI's sigma of each timestep of our schedule, (T,) with T at most 1000."""
        sigmas = self.sampling.sigmas
        chosen = torch.linspace(0, len(sigmas) - 1, min(1000, len(sigmas))).round().long()
        return sigmas.detach().cpu().clone()[chosen]

    def schedule(self) -> NoiseSchedule:
        levels = self.levels().double()
        kept = (1.0 - levels) ** 2 if self.kind == "flow" else 1.0 / (1.0 + levels**2)
        return NoiseSchedule(kept.float(), self.kind)

    @property
    def ends_in_pure_noise(self) -> bool:
        """Whether the schedule was rescaled to zero terminal SNR."""
        last = float(self.schedule().alphas_cumprod[-1])
        return self.kind == "v_prediction" and last < _PURE_NOISE


def _kind(sampling: Any) -> str:
    from comfy import model_sampling

    kinds = {model_sampling.V_PREDICTION: "v_prediction", model_sampling.CONST: "flow"}
    kinds[model_sampling.EPS] = "epsilon"  # the base class of velocity: asked last
    others = (model_sampling.EDM, model_sampling.X0, model_sampling.ModelSamplingContinuousEDM)
    if not isinstance(sampling, others) and hasattr(sampling, "sigmas"):
        for cls, kind in kinds.items():
            if isinstance(sampling, cls):
                return kind
    raise ConfigError(
        f"models that are sampled with {type(sampling).__mro__[1].__name__} are not trained here",
        where="model",
        fix="connect a model that predicts noise, velocity or flow",
    )
