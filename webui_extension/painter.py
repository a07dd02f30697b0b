"""Draw the cells of a grid with the host and check that each picture really used its adapter.

When an adapter is missing, fails to load, loads in part, or has DoRA that the host ignores, the
host still draws a picture and at best logs a line. The painter finds this out and marks the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL import Image

from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.grids.cells import Painted
from lycoris_ext.grids.entrants import Entrant
from lycoris_ext.grids.fit import Fit
from lycoris_ext.grids.plan import Cell
from lycoris_ext.grids.settings import Settings
from lycoris_ext.words import count
from webui_extension.staging import Staging

_TAGS = ("<lora:", "<lyco:", "<hypernet:")


@dataclass(frozen=True)
class LoadedNetwork:
    """An adapter that the host applied to a picture, as the host reports it.

    Args:
        path: the adapter file.
        text_encoder, unet: the strengths that were used; None if the host does not report them.
        layers: number of layers that were applied; None if the host does not report it.
    """

    path: Path
    text_encoder: float | None = None
    unet: float | None = None
    layers: int | None = None


@dataclass(frozen=True)
class Order:
    """One txt2img request to the host; `model` is the base model's full title."""

    prompt: str
    negative_prompt: str
    seed: int
    model: str
    settings: Settings


@dataclass(frozen=True)
class Drawn:
    """A picture from the host, with what the host reports about it.

    Args:
        picture: RGB.
        parameters: the generation parameters as text, as the host embeds them in PNGs.
        model: full title of the base model that was used.
        networks: the adapters that were applied.
        comments: the host's complaints about adapters.
    """

    picture: Image.Image
    parameters: str
    model: str
    networks: tuple[LoadedNetwork, ...] = ()
    comments: tuple[str, ...] = field(default_factory=tuple)


class DrawingHost(Protocol):
    """The methods of a host that `WebuiPainter` calls."""

    def model_named(self, name: str) -> str:
        """Return the full title of a base model; "" names the loaded one."""

    def decides(self, model: str) -> dict[str, str]:
        """Return everything but the cell that decides a picture, such as version and settings.

        It becomes part of the key under which the picture is cached.
        """

    def draw(self, order: Order) -> Drawn | None:
        """Draw one picture; return None if the user interrupted it.

        Raises:
            FormatError: the host failed because of the adapter.
        """


class WebuiPainter:
    """The `Painter` that draws a grid's cells with AUTOMATIC1111 or Forge.

    Args:
        host: draws the pictures.
        staging: copies the adapters to where the host finds them.
        check: compares an adapter with the base model that the host has loaded.
    """

    def __init__(
        self, host: DrawingHost, staging: Staging, check: Callable[[Entrant], Fit]
    ) -> None:
        self._host = host
        self._staging = staging
        self._check = check
        self._fits: dict[tuple[str, str], Fit] = {}
        self._models: dict[str, str] = {}

    def decides(self, base_model: str) -> dict[str, str]:
        """Return everything but the cell that decides a picture, as part of its key in a cache.

        A base model's name is looked up once per grid, so that "" (the loaded model) means the
        same model in all cells.
        """
        model = self._models.setdefault(base_model, self._host.model_named(base_model))
        return self._host.decides(model)

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """Draw the cells one by one, as `Painter.paint` says."""
        for cell in cells:
            painted = self._paint(cell)
            if painted is None:
                return
            yield painted

    def _paint(self, cell: Cell) -> Painted | None:
        """Draw a cell and check it; return None if the user interrupted it."""
        test = cell.row.test
        for text in (test.prompt, test.negative_prompt):
            refuse_tags(text)
        entrant, prompt = cell.column.entrant, test.prompt
        staged = None
        if entrant is not None:
            staged = self._staging.stage(entrant.file, entrant.hash)
            strength = cell.column.strength
            prompt += f" <lora:{staged.stem}:{strength.text_encoder:g}:{strength.unet:g}>"
        model = self._models.setdefault(
            cell.row.base_model, self._host.model_named(cell.row.base_model)
        )
        settings = cell.row.settings
        settings.refuse_extra()
        order = Order(prompt, test.negative_prompt, cell.row.seed, model, settings)
        try:
            drawn = self._host.draw(order)
        except FormatError as error:
            if entrant is None:
                raise
            fit = self._fit(entrant, model)
            blank = Image.new("RGB", (settings.width, settings.height))
            return Painted(blank, prompt, error.what if fit.works else str(fit))
        if drawn is None:
            return None
        fault = self._fault(cell, entrant, staged, drawn, model)
        return Painted(drawn.picture, drawn.parameters, fault)

    def _fault(
        self, cell: Cell, entrant: Entrant | None, staged: Path | None, drawn: Drawn, model: str
    ) -> str:
        """Return what is wrong with a drawn cell, as text; "" if the adapter was fully applied."""
        if drawn.model != model:
            return f"drawn with {drawn.model}, not with {model}"
        if entrant is None or staged is None:
            names = ", ".join(network.path.stem for network in drawn.networks)
            return f"drawn with {names}, and should be without" if names else ""
        if not drawn.networks:
            return "the host did not load this adapter"
        if [network.path for network in drawn.networks] != [staged]:
            names = ", ".join(network.path.stem for network in drawn.networks)
            return f"the host loaded {names} instead"
        network, strength = drawn.networks[0], cell.column.strength
        used = (network.text_encoder, network.unet)
        wanted = (float(f"{strength.text_encoder:g}"), float(f"{strength.unet:g}"))
        if None not in used and used != wanted:
            return f"the host used the strengths {used[0]}:{used[1]}, not {strength}"
        if drawn.comments:
            return "; ".join(drawn.comments)
        fit = self._fit(entrant, model)
        if not fit.works:
            return str(fit)
        if network.layers is not None and network.layers < fit.layers:
            return f"the host applied {network.layers} of {count(fit.layers, 'layer')}"
        return ""

    def _fit(self, entrant: Entrant, model: str) -> Fit:
        """Check an adapter against the loaded base model, which must be `model`.

        Call it only after a picture was drawn with that model.
        """
        if (entrant.hash, model) not in self._fits:
            self._fits[entrant.hash, model] = self._check(entrant)
        return self._fits[entrant.hash, model]


def refuse_tags(prompt: str) -> None:
    """Refuse a prompt that names a network itself, since the grid adds its adapters' tags.

    Raises:
        ConfigError: the prompt holds a tag such as <lora:...>.
    """
    found = next((tag for tag in _TAGS if tag in prompt.lower()), None)
    if found:
        raise ConfigError(
            f"the prompt holds {found}...>, which would also change the column without adapter",
            where=prompt[:60],
            fix="take it out: the grid adds each adapter itself",
        )
