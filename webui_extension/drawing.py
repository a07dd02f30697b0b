"""Draw one picture with the host's own txt2img and report what it was drawn with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.errors import FormatError
from webui_extension import forge
from webui_extension.host_axes import task_arguments
from webui_extension.painter import Drawn, LoadedNetwork, Order
from webui_extension.staging import Staged


def draw(order: Order, networks: Any, *, in_forge: bool) -> Drawn | None:
    """Draw a picture; the caller must hold the host's queue lock.

    Args:
        order: what to draw.
        networks: the `networks` module of the host's Lora extension.
        in_forge: whether the host is Forge.

    Returns:
        The picture and what the host reports about it; None if the user interrupted it.

    Raises:
        FormatError: the picture became NaN, or Forge failed while it merged the adapter into its
            weights.
    """
    from modules import devices, processing, shared

    shared.state.begin(job="lycoris_ext")
    try:
        with lent(networks, order.adapters), closing(_task(order)) as task, _own_options(task):
            try:
                result = processing.process_images(task)
            except devices.NansException as error:
                said = str(error).partition(".")[0]
                raise FormatError(f"the host broke off: {said}") from error
            except RuntimeError as error:
                # Running out of memory is not the adapter's fault.
                if not (in_forge and order.adapters) or isinstance(
                    error, torch.cuda.OutOfMemoryError
                ):
                    raise
                where = order.adapters[-1].shown
                raise FormatError(f"the host broke off: {error}", where=where) from error
            parameters = _with_tags(result.infotexts[0], order, task)
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


@contextmanager
def lent(networks: Any, adapters: Sequence[Staged]) -> Iterator[None]:
    """Let the host find adapters by their names for a `with` block."""
    for adapter in adapters:
        lend(networks, adapter)
    try:
        yield
    finally:
        for adapter in adapters:
            networks.available_network_aliases.pop(adapter.name, None)


def lend(networks: Any, adapter: Staged) -> None:
    """Let the host find an adapter by its name until it lists its LoRA folder again.

    It is entered among the aliases alone, where the host looks names up: its cards come from
    another list, and no alias of the user's own adapters is touched.
    """
    networks.available_network_aliases[adapter.name] = network_on_disk(adapter)


def network_on_disk(adapter: Staged) -> Any:
    """Return the host's description of an adapter file.

    The host's own constructor would enter the file's metadata and hash into the host's caches, and
    make it the file that is found by that hash.
    """
    network = sys.modules["network"]
    entry = object.__new__(network.NetworkOnDisk)
    entry.name = entry.alias = adapter.name
    entry.filename = str(adapter.path)
    entry.metadata = {}
    entry.is_safetensors = True
    entry.hash = adapter.model_hash or adapter.name
    entry.shorthash = adapter.model_hash[:12]
    entry.sd_version = network.SdVersion.Unknown
    return entry


def _task(order: Order) -> Any:
    """Turn an order into the host's txt2img task."""
    from modules import processing, shared

    settings = order.settings
    own = task_arguments(settings)
    if "hr_cfg" in own:
        own["hr_cfg"] = settings.cfg_scale
    overrides = {
        "sd_model_checkpoint": order.model,
        "CLIP_stop_at_last_layers": settings.clip_skip,
        # Networks that the host adds to every prompt.
        "sd_lora": "None",
        "sd_hypernetwork": "None",
        **{name: value for name, value in own.items() if name in shared.opts.data_labels},
    }
    kind = processing.StableDiffusionProcessingTxt2Img
    known = {each.name for each in fields(kind)}
    prompt = " ".join([_stripped(order.prompt), *(adapter.tag for adapter in order.adapters)])
    task = kind(
        sd_model=shared.sd_model,
        prompt=prompt,
        negative_prompt=_stripped(order.negative_prompt),
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
            name: value for name, value in overrides.items() if not _is_set(name, value)
        },
        # `_own_options` restores them.
        override_settings_restore_afterwards=False,
        **{name: value for name, value in own.items() if name in known},
    )
    # Scripts of other extensions could change the picture.
    task.scripts = None
    return task


def _is_set(name: str, value: Any) -> bool:
    """Return whether the host has an option of this value, or none of this name."""
    from modules import sd_models, shared

    if name not in shared.opts.data_labels:
        return True
    now = getattr(shared.opts, name)
    if name == "sd_model_checkpoint":
        info = sd_models.checkpoint_aliases.get(now)
        return info is not None and info.title == value
    return bool(now == value)


@contextmanager
def _own_options(task: Any) -> Iterator[None]:
    """Restore the options that a task sets, but none that the user has changed meanwhile.

    The host itself would put all of them back over the user's choice.
    """
    from modules import shared

    wanted = dict(task.override_settings)
    before = {name: getattr(shared.opts, name) for name in wanted}
    try:
        yield
    finally:
        ours = {n: v for n, v in before.items() if _is_set(n, wanted[n]) and not _is_set(n, v)}
        _restore(ours)


def _restore(options: dict[str, Any]) -> None:
    """Put options back as the host itself does after a picture."""
    if not options:
        return
    from modules import processing, shared

    if hasattr(processing, "set_config"):  # Forge, whose models depend on them
        processing.set_config(options, save_config=False)
        return
    for name, value in options.items():
        setattr(shared.opts, name, value)
        if name == "sd_vae":
            processing.sd_vae.reload_vae_weights()


def _stripped(prompt: str) -> str:
    """Take the comments out of a prompt as the host's own script does, which we leave out."""
    from modules import shared

    if not getattr(shared.opts, "enable_prompt_comments", False):
        return prompt
    from modules.processing_scripts import comments

    return str(comments.strip_comments(prompt))


def _described(network: Any, in_forge: bool) -> LoadedNetwork:
    path = Path(network.network_on_disk.filename)
    if in_forge:
        return forge.loaded_network(path)
    return LoadedNetwork(path, network.te_multiplier, network.unet_multiplier, len(network.modules))


def _complaints(task: Any) -> tuple[str, ...]:
    """Return the host's comments about adapters; leave out others, such as a long prompt."""
    comments = getattr(task, "comments", None) or ()
    return tuple(text for text in comments if "etworks with errors" in text or "not found" in text)


def _with_tags(parameters: str, order: Order, task: Any) -> str:
    """Put the adapters' tags back into a picture's parameters, by the names that the user knows.

    Without scripts the host leaves the <lora:...> tags out of this text.
    """
    prompt = _stripped(order.prompt)
    stripped = task.prompts[0] if getattr(task, "prompts", None) else prompt
    tags = "".join(f" {adapter.shown_tag}" for adapter in order.adapters)
    if parameters.startswith(stripped):
        parameters = prompt.rstrip() + tags + parameters[len(stripped) :]
    for adapter in order.adapters:
        parameters = parameters.replace(adapter.tag, adapter.shown_tag)
        parameters = parameters.replace(f"{adapter.name}: ", f"{adapter.shown}: ")
    return parameters
