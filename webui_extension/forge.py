"""What Forge does in another way than AUTOMATIC1111: its thread, its loader of networks.

Imported inside functions, because the host's modules are there in the host alone.
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

#: Of more tensors without a place than this it takes none (extensions-builtin/sd_forge_lora).
MOST_WITHOUT_PLACE = 12

Result = TypeVar("Result")


def on_main_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function where Forge wants everything that uses the model; exceptions come back."""
    from modules_forge import main_thread

    kept: list[Any] = []

    def work() -> None:
        # Its loop prints an exception and drops it.
        try:
            kept.append((function(*arguments), None))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            kept.append((None, error))

    main_thread.run_and_wait_result(work)
    result, error = kept[0]
    if error is not None:
        raise error
    returned: Result = result
    return returned


def applied_layers(path: Path) -> dict[str, LayerSpec | None]:
    """The layers of a file that Forge applies, found by its own loader.

    Raises:
        EnvironmentFault: there is no base model.
        FormatError: it would leave out the whole file.
    """
    from backend.patcher.lora import load_lora, model_lora_keys_clip, model_lora_keys_unet

    objects = _loaded_objects()
    state = load_adapter(path)
    without_place = state.tensors
    places: dict[str, tuple[Any, str]] = {}
    for model, find in (
        (objects.unet.model, model_lora_keys_unet),
        (objects.clip.cond_stage_model, model_lora_keys_clip),
    ):
        # Its default for the second is one dict for all models that were ever loaded.
        names = find(model, {})
        _, without_place = load_lora(without_place, names)
        parameters = {name for name, _ in model.named_parameters()}
        places |= {name: (model, key) for name, key in names.items() if key in parameters}
    if len(without_place) > MOST_WITHOUT_PLACE:
        raise FormatError(
            f"Forge leaves out the whole file: {len(without_place)} of its tensors have no place "
            f"in the loaded model, the first is {min(without_place)}",
            where=path.name,
        )
    left_out = {split_key(key)[0] for key in without_place}
    return {
        layer: _spec(*places[layer])
        for layer in state.layers()
        if layer in places and layer not in left_out
    }


def loaded_network(path: Path) -> LoadedNetwork:
    """How strongly Forge applied a network to its model, and how many layers of it.

    Args:
        path: of the network's file.
    """
    from modules import shared

    objects = shared.sd_model.forge_objects_after_applying_lora
    text_encoder, of_text = _patched(objects.clip.patcher, path)
    unet, of_unet = _patched(objects.unet, path)
    return LoadedNetwork(path, text_encoder, unet, of_text + of_unet)


def _patched(patcher: Any, path: Path) -> tuple[float | None, int]:
    """A network's strength in a part of the model, None where it has none, and its layers there."""
    for (file, strength, _, _), patches in patcher.lora_patches.items():
        if Path(file) == path:
            return strength, len(patches)
    return None, 0


def _loaded_objects() -> Any:
    from modules import sd_models, shared

    objects = getattr(shared.sd_model, "forge_objects_original", None)
    if objects is not None:
        return objects
    # It loads a model with its first picture, so here is none of another model's to lose.
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
