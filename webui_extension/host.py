"""Everything of AUTOMATIC1111's and Forge's own that is touched; what differs between the two.

Imported inside functions, because the host's modules are there in the host alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lycoris_ext.errors import ConfigError, EnvironmentFault, FormatError
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.grids.fit import HostTraits
from webui_extension import forge
from webui_extension.drawing import draw
from webui_extension.painter import Drawn, Order

RUN_FOLDERS = "lycoris_ext_run_folders"
TRAIN_PYTHON = "lycoris_ext_train_python"
SECTION = ("lycoris_ext", "LyCORIS Ext")

#: Sections of the host's settings that can change a picture.
_DECIDING = ("sd", "sdxl", "sd3", "vae", "optimizations", "compatibility", "sampler-params")
#: Settings outside them that can, too: Forge keeps what its bar at the top chooses in no section.
_DECIDING_ALONE = ("forge_unet_storage_dtype", "forge_additional_modules")
#: Settings in them that do not, or that a cell says itself.
_NOT_DECIDING = ("sd_model_checkpoint", "sd_checkpoint_hash", "CLIP_stop_at_last_layers")

Result = TypeVar("Result")


class WebuiHost:
    """The running host."""

    def __init__(self) -> None:
        self._drawing = False

    @property
    def is_forge(self) -> bool:
        return "modules_forge" in sys.modules

    @property
    def version(self) -> str:
        from modules import launch_utils

        name = "Forge" if self.is_forge else "AUTOMATIC1111"
        return f"{name} {str(launch_utils.git_tag()).removeprefix('v')}"

    # Folders

    def lora_folder(self) -> Path:
        """Where networks lie."""
        from modules import shared

        return Path(shared.cmd_opts.lora_dir)

    def output_folder(self) -> Path:
        """Where grids and cells go."""
        from modules import paths

        return Path(paths.data_path) / "outputs" / "lycoris-ext"

    def font(self) -> Path | None:
        """A font for labels."""
        from modules import paths

        path = Path(paths.script_path) / "modules" / "Roboto-Regular.ttf"
        return path if path.is_file() else None

    def allowed_folders(self) -> list[Path]:
        """What the host serves, its networks, and what the user added in the settings."""
        from modules import shared

        given = shared.cmd_opts
        named = [self.option(RUN_FOLDERS).splitlines(), given.gradio_allowed_path or []]
        folders = [Path(line.strip()) for lines in named for line in lines if line.strip()]
        others = (given.lora_dir, getattr(given, "lyco_dir_backcompat", None))
        return [*folders, *(Path(folder) for folder in others if folder)]

    def option(self, name: str) -> str:
        """A setting of this extension, as text."""
        from modules import shared

        return str(getattr(shared.opts, name, "") or "")

    def has_api(self) -> bool:
        """Whether the host was asked for routes."""
        from modules import shared

        return bool(shared.cmd_opts.api or shared.cmd_opts.nowebui)

    def train_python(self) -> str:
        """The interpreter that trains, as the settings name it."""
        return self.option(TRAIN_PYTHON).strip()

    def may_start_programs(self) -> bool:
        """Whether this host lets whoever sees its page install code: not when it is shared."""
        from modules import shared

        return not getattr(shared.cmd_opts, "disable_extension_access", True)

    # What can be chosen

    def base_models(self) -> list[str]:
        from modules import sd_models

        return [info.title for info in sd_models.checkpoints_list.values()]

    def samplers(self) -> list[str]:
        from modules import sd_samplers

        return [sampler.name for sampler in sd_samplers.all_samplers]

    def model_named(self, name: str) -> str:
        """The full title of a base model; "" is the one that the host has loaded.

        Raises:
            ConfigError: there is none of that name.
        """
        return str(self._model(name).title)

    def _model(self, name: str) -> Any:
        from modules import sd_models, shared

        wanted = name or shared.opts.sd_model_checkpoint
        info = sd_models.checkpoint_aliases.get(wanted)
        if info is None and not name:
            info = next(iter(sd_models.checkpoints_list.values()), None)
        if info is None:
            raise ConfigError(
                f"the host has no base model {wanted!r}",
                where="base models",
                fix="choose one from the list; a new file is there after a refresh",
            )
        if info.sha256 is None:
            info.calculate_shorthash()
        return info

    # Checking

    def traits(self) -> HostTraits:
        """What decides whether a file fits."""
        from modules import shared

        model = shared.sd_model
        # The host's models have a flag for each family that it knows: is_sd1, is_sdxl, ...
        known = (f for f in FAMILIES.values() if getattr(model, f"is_{f.id}", False))
        module = sys.modules.get("network")
        decomposes = hasattr(getattr(module, "NetworkModule", None), "apply_weight_decompose")
        return HostTraits(self.version, next(known, None), self.is_forge or decomposes)

    def applied_layers(self, path: Path, name: str) -> dict[str, LayerSpec | None]:
        """The layers of a file that this host applies, found by its own loader.

        Args:
            path: of the adapter.
            name: no other file's; the host caches under it.

        Raises:
            FormatError: its loader refuses the file.
        """
        return self._alone(self._applied_layers, path, name)

    def _applied_layers(self, path: Path, name: str) -> dict[str, LayerSpec | None]:
        if self.is_forge:
            return forge.applied_layers(path)
        networks, network = self._networks(), sys.modules["network"]
        try:
            loaded = networks.load_network(name, network.NetworkOnDisk(name, str(path)))
        except (AssertionError, RuntimeError, ValueError, KeyError) as error:
            raise FormatError(f"the host refuses it: {error}", where=path.name) from error
        return {
            module.network_key.partition(".")[0]: spec_of(module.sd_module)
            for module in loaded.modules.values()
        }

    # Drawing

    def decides(self, model: str) -> dict[str, str]:
        """See `Draws`."""
        from modules import devices, shared

        # Until a model was loaded, the devices do not tell in which precision it is used.
        _ = shared.sd_model
        info = self._model(model)
        base = info.sha256 or f"{info.filename} {os.stat(info.filename).st_mtime_ns}"
        settings = {
            name: str(shared.opts.data.get(name, option.default))
            for name, option in shared.opts.data_labels.items()
            if name not in _NOT_DECIDING
            and (name in _DECIDING_ALONE or (option.section and option.section[0] in _DECIDING))
        }
        return {
            "program": self.version,
            "base": base,
            "settings": _digest(settings),
            # A prompt may call an embedding by its name.
            "embeddings": _digest(_files_below(Path(shared.cmd_opts.embeddings_dir))),
            "device": f"{devices.device} {devices.dtype} {devices.dtype_unet}",
        }

    def draw(self, order: Order) -> Drawn | None:
        """See `Draws`."""
        return self._alone(self._draw, order)

    def _draw(self, order: Order) -> Drawn | None:
        self._drawing = True
        try:
            return draw(order, self._networks(), in_forge=self.is_forge)
        finally:
            self._drawing = False

    def interrupt(self) -> None:
        """Stop our picture, as the host's own button does; somebody else's goes on."""
        from modules import shared

        if self._drawing:
            shared.state.interrupt()

    def refresh_networks(self) -> None:
        """Let the host see new files in its folder of networks."""
        self._networks().list_available_networks()

    def _alone(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function while nobody else uses the model; Forge wants its main thread for it."""
        from modules import call_queue

        with call_queue.queue_lock:
            if not self.is_forge:
                return function(*arguments)
            return forge.on_main_thread(function, *arguments)

    @staticmethod
    def _networks() -> Any:
        module = sys.modules.get("networks")
        if module is None:
            raise EnvironmentFault(
                "the host's own extension for networks is switched off",
                where="Extensions > Lora",
                fix="switch it on, then restart the host",
            )
        return module


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8")).hexdigest()


def _files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Name -> (size, time of change) of each file."""
    found = {str(path): path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in found.items()}
