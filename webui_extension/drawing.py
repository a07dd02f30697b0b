"""Draw one picture with the host's own txt2img and report what it was drawn with."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.errors import FormatError
from webui_extension import forge
from webui_extension.painter import Drawn, LoadedNetwork, Order


def draw(order: Order, networks: Any, *, in_forge: bool) -> Drawn | None:
    """Draw a picture; the caller must hold the host's queue lock.

    Args:
        order: what to draw; an adapter's <lora:...> tag is the last in its prompt.
        networks: the `networks` module of the host's Lora extension.
        in_forge: whether the host is Forge.

    Returns:
        The picture and what the host reports about it; None if the user interrupted it.

    Raises:
        FormatError: Forge failed while it merged the adapter into its weights.
    """
    from modules import processing, shared

    # The host's refresh button and other extensions may have replaced this list meanwhile.
    _, asked, rest = order.prompt.rpartition("<lora:")
    wanted = rest.partition(":")[0] if asked else ""
    if wanted and wanted not in networks.available_networks:
        networks.list_available_networks()
    shared.state.begin(job="lycoris_ext")
    try:
        with closing(_task(order)) as task:
            try:
                result = processing.process_images(task)
            except RuntimeError as error:
                # Running out of memory is not the adapter's fault.
                if not (in_forge and wanted) or isinstance(error, torch.cuda.OutOfMemoryError):
                    raise
                raise FormatError(f"the host broke off: {error}", where=wanted) from error
            parameters = _with_tag(result.infotexts[0], order.prompt, task)
            comments = _complaints(task)
        state = shared.state
        if state.interrupted or state.skipped or getattr(state, "stopping_generation", False):
            return None
        loaded = tuple(_described(network, in_forge) for network in networks.loaded_networks)
        picture = result.images[result.index_of_first_image].convert("RGB")
        model = shared.sd_model.sd_checkpoint_info.title
        return Drawn(picture, parameters, model, loaded, comments)
    finally:
        shared.state.end()


def _task(order: Order) -> Any:
    """Turn an order into the host's txt2img task."""
    from modules import processing, shared

    settings = order.settings
    overrides = {
        "sd_model_checkpoint": order.model,
        "CLIP_stop_at_last_layers": settings.clip_skip,
        # Networks that the host adds to every prompt.
        "sd_lora": "None",
        "sd_hypernetwork": "None",
    }
    task = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model,
        prompt=order.prompt,
        negative_prompt=order.negative_prompt,
        seed=order.seed,
        sampler_name=settings.sampler,
        steps=settings.steps,
        cfg_scale=settings.cfg_scale,
        width=settings.width,
        height=settings.height,
        restore_faces=False,
        do_not_save_samples=True,
        do_not_save_grid=True,
        override_settings={
            name: value for name, value in overrides.items() if name in shared.opts.data_labels
        },
    )
    # Scripts of other extensions could change the picture.
    task.scripts = None
    return task


def _described(network: Any, in_forge: bool) -> LoadedNetwork:
    path = Path(network.network_on_disk.filename)
    if in_forge:
        return forge.loaded_network(path)
    return LoadedNetwork(path, network.te_multiplier, network.unet_multiplier, len(network.modules))


def _complaints(task: Any) -> tuple[str, ...]:
    """Return the host's comments about adapters; leave out others, such as a long prompt."""
    comments = getattr(task, "comments", None) or ()
    return tuple(text for text in comments if "etworks with errors" in text or "not found" in text)


def _with_tag(parameters: str, prompt: str, task: Any) -> str:
    """Put the full prompt back into a picture's parameters.

    Without scripts the host leaves the <lora:...> tags out of this text.
    """
    stripped = task.prompts[0] if getattr(task, "prompts", None) else prompt
    if not parameters.startswith(stripped):
        return parameters
    return prompt + parameters[len(stripped) :]
