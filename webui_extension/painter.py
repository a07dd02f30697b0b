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
from lycoris_ext.grids.entrants import Entrant, Use
from lycoris_ext.grids.fit import Fit
from lycoris_ext.grids.plan import Cell
from lycoris_ext.grids.settings import Settings
from lycoris_ext.words import count
from webui_extension.staging import Staged

#: What a host saves where it does not look for NaN itself (Forge; AUTOMATIC1111 if told so).
BLACK = (
    "the picture is black from edge to edge: in the host it became NaN or infinite, by the "
    "adapter, its strength, or a VAE in half precision"
)
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
    """One txt2img request to the host.

    Args:
        prompt, negative_prompt: without tags of networks.
        seed: seed of the starting noise.
        model: the base model's full title.
        settings: size, steps, sampler and so on.
        adapters: the adapters to draw with.
    """

    prompt: str
    negative_prompt: str
    seed: int
    model: str
    settings: Settings
    adapters: tuple[Staged, ...] = ()


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
            FormatError: the host failed because of the adapter, or the picture became NaN.
        """


class WebuiPainter:
    """The `Painter` that draws a grid's cells with AUTOMATIC1111 or Forge.

    Args:
        host: draws the pictures.
        stage: copies an adapter to where nobody changes it, and names it for the host.
        check: compares an adapter with the base model that the host has loaded.
    """

    def __init__(
        self,
        host: DrawingHost,
        stage: Callable[[Use], Staged],
        check: Callable[[Entrant], Fit],
    ) -> None:
        self._host = host
        self._stage = stage
        self._check = check
        self._fits: dict[tuple[str, str], Fit] = {}
        self._models: dict[str, str] = {}

    def decides(self, base_model: str) -> dict[str, str]:
        """Return everything but the cell that decides a picture, as part of its key in a cache.

        A base model's name is looked up once per grid, so that "" (the loaded model) means the
        same model in all cells.
        """
        return self._host.decides(self._model(base_model))

    def paint(self, cells: Sequence[Cell]) -> Generator[Painted, None, None]:
        """Draw the cells one by one, as `Painter.paint` says."""
        for cell in cells:
            painted = self._paint(cell)
            if painted is None:
                return
            yield painted

    def _model(self, name: str) -> str:
        if name not in self._models:
            self._models[name] = self._host.model_named(name)
        return self._models[name]

    def _paint(self, cell: Cell) -> Painted | None:
        """Draw a cell and check it; return None if the user interrupted it."""
        row, model = cell.row, self._model(cell.row.base_model)
        uses = uses_of(cell)
        staged = tuple(map(self._stage, uses))
        order = Order(
            row.test.prompt, row.test.negative_prompt, row.seed, model, row.settings, staged
        )
        try:
            drawn = self._host.draw(order)
            if drawn is not None and drawn.model != model:
                # The user has chosen another base model at that moment.
                drawn = self._host.draw(order)
        except FormatError as error:
            misfit = next((f for f in (self._fit(u, model) for u in uses) if not f.works), None)
            size = (row.settings.width, row.settings.height)
            fault = error.what if misfit is None else str(misfit)
            return Painted(Image.new("RGB", size), row.test.prompt, fault)
        if drawn is None:
            return None
        return Painted(drawn.picture, drawn.parameters, self._fault(uses, staged, drawn, model))

    def _fault(
        self, uses: Sequence[Use], staged: Sequence[Staged], drawn: Drawn, model: str
    ) -> str:
        """Return what is wrong with a drawn cell; "" if its adapters were fully applied."""
        if drawn.model != model:
            return f"drawn with {drawn.model}, not with {model}"
        if drawn.picture.getbbox() is None:  # no pixel differs from black
            return BLACK
        names = ", ".join(network.path.stem for network in drawn.networks)
        if not uses:
            return f"drawn with {names}, and should be without" if names else ""
        if not drawn.networks:
            return "the host did not load this adapter"
        if [network.path for network in drawn.networks] != [each.path for each in staged]:
            return f"the host loaded {names} instead"
        for use, network in zip(uses, drawn.networks, strict=True):
            if fault := self._fault_of(use, network, drawn, model):
                return fault if len(uses) == 1 else f"{use.entrant.name}: {fault}"
        return ""

    def _fault_of(self, use: Use, network: LoadedNetwork, drawn: Drawn, model: str) -> str:
        """Return what is wrong with one of the adapters of a drawn cell."""
        used = (network.text_encoder, network.unet)
        wanted = (float(f"{use.strength.text_encoder:g}"), float(f"{use.strength.unet:g}"))
        if None not in used and used != wanted:
            return f"the host used the strengths {used[0]}:{used[1]}, not {use.strength}"
        if drawn.comments:
            return "; ".join(drawn.comments)
        fit = self._fit(use, model)
        if not fit.works:
            return str(fit)
        if network.layers is not None and network.layers < fit.layers:
            return f"the host applied {network.layers} of {count(fit.layers, 'layer')}"
        return ""

    def _fit(self, use: Use, model: str) -> Fit:
        """Check an adapter against the loaded base model, which must be `model`.

        Call it only after a picture was drawn with that model.
        """
        key = (use.entrant.hash, model)
        if key not in self._fits:
            self._fits[key] = self._check(use.entrant)
        return self._fits[key]


def uses_of(cell: Cell) -> tuple[Use, ...]:
    """Return the adapters with which a cell is drawn: those of its row, then its column's."""
    column = cell.column
    own = () if column.entrant is None else (Use(column.entrant, column.strength),)
    return (*cell.row.beside, *own)


def refuse_tags(prompt: str) -> None:
    """Refuse a prompt with a tag of a network that `asked` did not read out of it.

    Raises:
        ConfigError: the prompt holds a tag such as <hypernet:...>.
    """
    found = next((tag for tag in _TAGS if tag in prompt.lower()), None)
    if found:
        raise ConfigError(
            f"the prompt holds {found}...>, which the grid cannot check",
            where=prompt[:60],
            fix="write it as <lora:NAME:0.8> or <lora:NAME:0.5:1>, in the prompt and not in the "
            "negative one: then all its pictures are drawn with that adapter, too",
        )
