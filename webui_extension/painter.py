"""One cell of a grid, drawn by the host and then checked: was the network really there?

The host draws on when a network is missing, fails to load, loads in part or leaves DoRA out, and
says so in its log at best. Here the cell says it.
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
from webui_extension.staging import Staging

_TAGS = ("<lora:", "<lyco:", "<hypernet:")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that the host applied.

    Args:
        path: of its file.
        text_encoder, unet: its strengths; None where the host does not tell.
        layers: how many it applied; None where the host does not tell.
    """

    path: Path
    text_encoder: float | None = None
    unet: float | None = None
    layers: int | None = None


@dataclass(frozen=True)
class Order:
    """What the host is asked to draw."""

    prompt: str
    negative_prompt: str
    seed: int
    model: str
    settings: Settings


@dataclass(frozen=True)
class Drawn:
    """What it drew, and with what."""

    picture: Image.Image
    parameters: str
    model: str
    networks: tuple[LoadedNetwork, ...] = ()
    comments: tuple[str, ...] = field(default_factory=tuple)


class Draws(Protocol):
    """The part of the host that a painter needs."""

    def model_named(self, name: str) -> str:
        """The full title of a base model; "" is the loaded one."""

    def decides(self, model: str) -> dict[str, str]: ...

    def draw(self, order: Order) -> Drawn | None:
        """Draw one picture; None where it was interrupted.

        Raises:
            FormatError: the host broke off over the adapter.
        """


class WebuiPainter:
    """A `Painter` of the host's.

    Args:
        host: who draws.
        staging: where the adapters lie.
        check: what the host makes of an adapter with the model that it has loaded.
    """

    def __init__(self, host: Draws, staging: Staging, check: Callable[[Entrant], Fit]) -> None:
        self._host = host
        self._staging = staging
        self._check = check
        self._fits: dict[tuple[str, str], Fit] = {}
        self._models: dict[str, str] = {}

    def decides(self, base_model: str) -> dict[str, str]:
        """See `Painter`; a model is looked up once a grid, so that "the loaded one" stays one."""
        model = self._models.setdefault(base_model, self._host.model_named(base_model))
        return self._host.decides(model)

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """See `Painter`."""
        for cell in cells:
            painted = self._paint(cell)
            if painted is None:
                return
            yield painted

    def _paint(self, cell: Cell) -> Painted | None:
        """Draw a cell and check it; None where it was interrupted on the way."""
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
        told = (network.text_encoder, network.unet)
        wanted = (float(f"{strength.text_encoder:g}"), float(f"{strength.unet:g}"))
        if None not in told and told != wanted:
            return f"the host used the strengths {told[0]}:{told[1]}, not {strength}"
        if drawn.comments:
            return "; ".join(drawn.comments)
        fit = self._fit(entrant, model)
        if not fit.works:
            return str(fit)
        if network.layers is not None and network.layers < fit.layers:
            return f"the host applied {network.layers} of {fit.layers} layers"
        return ""

    def _fit(self, entrant: Entrant, model: str) -> Fit:
        """To be asked after a picture alone: then this model is the loaded one."""
        if (entrant.hash, model) not in self._fits:
            self._fits[entrant.hash, model] = self._check(entrant)
        return self._fits[entrant.hash, model]


def refuse_tags(prompt: str) -> None:
    """A grid puts its adapters into the prompts itself.

    Raises:
        ConfigError: the prompt has a network's tag.
    """
    found = next((tag for tag in _TAGS if tag in prompt.lower()), None)
    if found:
        raise ConfigError(
            f"the prompt holds {found}...>, which would be in the column without adapter, too",
            where=prompt[:60],
            fix="take it out: the grid adds each adapter itself",
        )
