"""The only module that touches the host's own code, with drawing, forge, host_axes and vae.

The host's modules are imported inside functions, because they exist only inside the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from lycoris_ext.errors import ConfigError, EnvironmentFault, FormatError
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.grids.fit import HostTraits
from webui_extension import forge, vae
from webui_extension.door import Openness
from webui_extension.drawing import draw, lend, network_on_disk
from webui_extension.host_axes import HOST_AXES
from webui_extension.painter import Drawn, Order
from webui_extension.staging import Staged

RUN_FOLDERS = "lycoris_ext_run_folders"
TRAIN_PYTHON = "lycoris_ext_train_python"
SECTION = ("lycoris_ext", "LyCORIS Ext")

#: Sections of the host's settings whose options can change a picture.
_DECIDING = ("sd", "sdxl", "sd3", "vae", "optimizations", "compatibility", "sampler-params")
#: Options outside these sections that can change a picture: those of Forge's top bar have none.
_DECIDING_ALONE = ("forge_unet_storage_dtype", "forge_additional_modules")
#: Options in these sections that cannot change a picture, or that each cell sets itself.
_NOT_DECIDING = ("sd_model_checkpoint", "sd_checkpoint_hash", "CLIP_stop_at_last_layers")

Result = TypeVar("Result")


class WebuiHost:
    """The running AUTOMATIC1111 or Forge, as the laboratory uses it."""

    def __init__(self) -> None:
        self._drawing = False

    @property
    def is_forge(self) -> bool:
        """Whether the host is Forge, not AUTOMATIC1111."""
        return "modules_forge" in sys.modules

    @property
    def version(self) -> str:
        """The host's name and version, such as "AUTOMATIC1111 1.10.1"."""
        from modules import launch_utils

        name = "Forge" if self.is_forge else "AUTOMATIC1111"
        return f"{name} {str(launch_utils.git_tag()).removeprefix('v')}"

    # Folders

    def lora_folder(self) -> Path:
        """Return the host's LoRA folder (--lora-dir)."""
        from modules import shared

        return Path(shared.cmd_opts.lora_dir)

    def output_folder(self) -> Path:
        """Return the folder for grids, their cached pictures and training logs."""
        from modules import paths

        return Path(paths.data_path) / "outputs" / "lycoris-ext"

    def font(self) -> Path | None:
        """Return the font file that the host ships, or None if it has none."""
        from modules import paths

        path = Path(paths.script_path) / "modules" / "Roboto-Regular.ttf"
        return path if path.is_file() else None

    def allowed_folders(self) -> list[Path]:
        """Return the folders that may be read and written.

        They are the LoRA folders, those of --gradio-allowed-path and those in our settings.
        """
        from modules import shared

        given = shared.cmd_opts
        named = [self.option(RUN_FOLDERS).splitlines(), given.gradio_allowed_path or []]
        folders = [Path(line.strip()) for lines in named for line in lines if line.strip()]
        others = (given.lora_dir, getattr(given, "lyco_dir_backcompat", None))
        return [*folders, *(Path(folder) for folder in others if folder)]

    def option(self, name: str) -> str:
        """Return an option of this extension from the host's settings, as text."""
        from modules import shared

        return str(getattr(shared.opts, name, "") or "")

    def has_api(self) -> bool:
        """Whether the host was started with an API (--api or --nowebui)."""
        from modules import shared

        return bool(shared.cmd_opts.api or shared.cmd_opts.nowebui)

    def has_open_api(self) -> bool:
        """Whether the host has an API that asks for no password (--api-auth)."""
        from modules import shared

        return self.has_api() and not shared.cmd_opts.api_auth

    def train_python(self) -> str:
        """Return the path of the Python that trains, as typed into the settings; "" if unset."""
        return self.option(TRAIN_PYTHON).strip()

    def may_start_programs(self) -> bool:
        """Whether users of the page may run programs; a host started with --share says no."""
        from modules import shared

        return not getattr(shared.cmd_opts, "disable_extension_access", True)

    def openness(self) -> Openness:
        """Say who may reach the host, by its command line."""
        from modules import shared

        given = shared.cmd_opts
        shared_by = ("listen", "share", "ngrok", "server_name", "subpath")
        origins = getattr(given, "cors_allow_origins", None) or ""
        return Openness(
            local=not any(getattr(given, name, None) for name in shared_by),
            origins=tuple(origin.strip() for origin in origins.split(",") if origin.strip()),
            pattern=getattr(given, "cors_allow_origins_regex", None) or "",
        )

    def tells_folders(self) -> bool:
        """Whether messages may name the host's folders; those of a shared host may not."""
        from modules import shared

        return self.openness().local and not getattr(shared.cmd_opts, "hide_ui_dir_config", False)

    # What can be chosen

    def base_models(self) -> list[str]:
        """Return the titles of all base models that the host lists."""
        from modules import sd_models

        return [info.title for info in sd_models.checkpoints_list.values()]

    def samplers(self) -> list[str]:
        """Return the names of the host's samplers."""
        from modules import sd_samplers

        return [sampler.name for sampler in sd_samplers.all_samplers]

    def choices(self, axis: str) -> list[str] | None:
        """Return the values that the host lists for a setting.

        Args:
            axis: name of one of `ALL_AXES`.

        Returns:
            The values; [] if any may be written, None if this host has no such setting.
        """
        if axis == "sampler":
            return self.samplers()
        known = {each.axis.name: each for each in HOST_AXES}
        return known[axis].choices() if axis in known else []

    def vae_titled(self, name: str) -> str:
        """Return the name of a VAE with the first digits of its content's hash in brackets."""
        return vae.titled(name)

    def styles(self) -> dict[str, tuple[str, str]]:
        """Return the host's styles: name -> (prompt, negative prompt)."""
        from modules import shared

        known = shared.prompt_styles.styles.values()
        return {
            style.name: (style.prompt or "", style.negative_prompt or "")
            for style in known
            if getattr(style, "path", None) != "do_not_save"
        }

    def network_named(self, name: str) -> Path | None:
        """Return the file that a <lora:NAME:1> tag in a prompt names; None if there is none."""
        networks = self._networks()
        known = networks.available_network_aliases
        if name.lower() in networks.forbidden_network_aliases:
            known = networks.available_networks
        entry = known.get(name)
        return None if entry is None else Path(entry.filename)

    def name_of_network(self, path: Path) -> str | None:
        """Return the name by which a tag in a prompt finds a file; None if the host lacks it."""
        for entry in list(self._networks().available_networks.values()):
            if Path(entry.filename) == path:
                return str(entry.get_alias())
        return None

    def model_named(self, name: str) -> str:
        """Return the full title of a base model.

        Args:
            name: any name by which the host knows it; "" for the one chosen in the host.

        Raises:
            ConfigError: the host has no base model of that name.
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
                fix="choose one from the list; refresh the list after adding a file",
            )
        if info.sha256 is None:
            info.calculate_shorthash()
        return info

    # Checking

    def traits(self) -> HostTraits:
        """Describe the host for `check_fit`: name, family of its model, whether it reads DoRA."""
        from modules import shared

        model = shared.sd_model
        # The host's models have a flag for each family that it knows: is_sd1, is_sdxl, ...
        known = (f for f in FAMILIES.values() if getattr(model, f"is_{f.id}", False))
        module = sys.modules.get("network")
        decomposes = hasattr(getattr(module, "NetworkModule", None), "apply_weight_decompose")
        return HostTraits(
            self.version,
            next(known, None),
            reads_dora=self.is_forge or decomposes,
            reads_words=not self.is_forge,
        )

    def applied_layers(self, path: Path, name: str) -> dict[str, LayerSpec | None]:
        """Load an adapter with the host's own loader and return the layers that it would apply.

        Args:
            path: the adapter file.
            name: a name that belongs to no other file, because the host caches under it.

        Returns:
            Layer name in the file -> shapes of the model's layer; None where they are unknown.

        Raises:
            FormatError: the host's loader refuses the file.
        """
        return self._alone(self._applied_layers, path, name)

    def _applied_layers(self, path: Path, name: str) -> dict[str, LayerSpec | None]:
        if self.is_forge:
            return forge.applied_layers(path)
        networks = self._networks()
        try:
            loaded = networks.load_network(name, network_on_disk(Staged(name, path, name)))
        except (AssertionError, RuntimeError, ValueError, KeyError) as error:
            raise FormatError(f"the host refuses it: {error}", where=path.name) from error
        return {
            module.network_key.partition(".")[0]: spec_of(module.sd_module)
            for module in loaded.modules.values()
        }

    # Drawing

    def decides(self, model: str) -> dict[str, str]:
        """See `DrawingHost`."""
        from modules import devices, shared

        # `devices` knows the model's precision only once a model is loaded: load one.
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
            "vae": _digest(vae.content_of_vaes(info.filename, in_forge=self.is_forge)),
            # A prompt may use a textual-inversion embedding by its name.
            "embeddings": _digest(_files_below(Path(shared.cmd_opts.embeddings_dir))),
            "device": f"{devices.device} {devices.dtype} {devices.dtype_unet}",
        }

    def draw(self, order: Order) -> Drawn | None:
        """See `DrawingHost`."""
        return self._alone(self._draw, order)

    def _draw(self, order: Order) -> Drawn | None:
        self._drawing = True
        try:
            vae.reload_changed(in_forge=self.is_forge)
            return draw(order, self._networks(), in_forge=self.is_forge)
        finally:
            self._drawing = False

    def interrupt(self) -> None:
        """Interrupt the picture that we draw, if any; pictures of other users continue."""
        from modules import shared

        if self._drawing:
            shared.state.interrupt()

    def lend(self, adapter: Staged) -> None:
        """Let the host find an adapter by its name until it lists its LoRA folder again."""
        lend(self._networks(), adapter)

    def forget(self, names: Iterable[str]) -> None:
        """Drop adapters that the host keeps in memory after a grid, by their names."""
        kept = getattr(self._networks(), "networks_in_memory", {})
        for name in names:
            kept.pop(name, None)

    def refresh_networks(self) -> None:
        """Make the host list its LoRA folder again."""
        self._networks().list_available_networks()

    def _alone(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function under the host's queue lock; in Forge also on its main thread."""
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
                "the host's built-in Lora extension is switched off",
                where="Extensions > Lora",
                fix="switch it on, then restart the host",
            )
        return module


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8")).hexdigest()


def _files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Return path -> (bytes, modification time in ns) of every file below a folder."""
    found = {str(path): path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in found.items()}
