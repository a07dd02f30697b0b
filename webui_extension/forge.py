"""Forge's own ways, where they differ from AUTOMATIC1111: its main thread and its LoRA loader.

Forge's modules are imported inside functions, because they exist only inside Forge.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lycoris_ext.errors import EnvironmentFault, FormatError
from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.keys import split_key
from lycoris_ext.functional import LayerSpec, spec_of
from webui_extension.painter import LoadedNetwork

#: If more tensors than this match no weight of the model, Forge ignores the whole file
#: (extensions-builtin/sd_forge_lora).
MOST_UNMATCHED = 12

Result = TypeVar("Result")


def on_main_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function on Forge's main thread, which must run all that uses the model.

    Returns its result or raises its exception in the calling thread.
    """
    from modules_forge import main_thread

    outcome: list[Any] = []

    def work() -> None:
        # Forge's loop would print an exception and drop it.
        try:
            outcome.append((function(*arguments), None))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.append((None, error))

    main_thread.run_and_wait_result(work)
    result, error = outcome[0]
    if error is not None:
        raise error
    returned: Result = result
    return returned


def applied_layers(path: Path) -> dict[str, LayerSpec | None]:
    """Load an adapter with Forge's own loader and return the layers that Forge would apply.

    Returns:
        Layer name in the file -> shapes of the model's layer; None where they are unknown.

    Raises:
        EnvironmentFault: Forge has no base model.
        FormatError: Forge would ignore the whole file.
    """
    from backend.patcher.lora import load_lora, model_lora_keys_clip, model_lora_keys_unet

    objects = _loaded_objects()
    state = load_adapter(path)
    unmatched = state.tensors
    weights: dict[str, tuple[Any, str]] = {}
    for model, find in (
        (objects.unet.model, model_lora_keys_unet),
        (objects.clip.cond_stage_model, model_lora_keys_clip),
    ):
        # Without the {} Forge would use one dict for all models that were ever loaded.
        names = find(model, {})
        _, unmatched = load_lora(unmatched, names)
        parameters = {name for name, _ in model.named_parameters()}
        weights |= {name: (model, key) for name, key in names.items() if key in parameters}
    if len(unmatched) > MOST_UNMATCHED:
        raise FormatError(
            f"Forge leaves out the whole file: {len(unmatched)} of its tensors have no place "
            f"in the loaded model, the first is {min(unmatched)}",
            where=path.name,
        )
    left_out = {split_key(key)[0] for key in unmatched}
    return {
        layer: _spec(*weights[layer])
        for layer in state.layers()
        if layer in weights and layer not in left_out
    }


def loaded_network(path: Path) -> LoadedNetwork:
    """Report the strengths and the number of layers with which Forge applied an adapter.

    Args:
        path: the adapter file.
    """
    from modules import shared

    objects = shared.sd_model.forge_objects_after_applying_lora
    text_encoder, of_text = _patched(objects.clip.patcher, path)
    unet, of_unet = _patched(objects.unet, path)
    return LoadedNetwork(path, text_encoder, unet, of_text + of_unet)


def _patched(patcher: Any, path: Path) -> tuple[float | None, int]:
    """Return an adapter's strength and number of patched layers in one model; (None, 0) if none."""
    for (file, strength, _, _), patches in patcher.lora_patches.items():
        if Path(file) == path:
            return strength, len(patches)
    return None, 0


def _loaded_objects() -> Any:
    from modules import sd_models, shared

    objects = getattr(shared.sd_model, "forge_objects_original", None)
    if objects is not None:
        return objects
    # Forge loads its model with the first picture, so no loaded model is replaced here.
    if not sd_models.checkpoints_list:
        raise EnvironmentFault(
            "the host has no base model",
            where="models/Stable-diffusion",
            fix="put one there, then refresh the host's list",
        )
    model, _ = sd_models.forge_model_reload()
    return model.forge_objects_original


def _spec(model: Any, key: str) -> LayerSpec | None:
    return spec_of(model.get_submodule(key.rpartition(".")[0]))
