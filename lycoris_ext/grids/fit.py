"""Check before drawing whether an adapter fits a host's loaded model, and say what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.doubts import doubts
from lycoris_ext.formats.embeddings import embedded_words
from lycoris_ext.formats.families import Family, family_of_version
from lycoris_ext.functional import LayerSpec
from lycoris_ext.words import and_more, count

_LISTED = 6


@dataclass(frozen=True)
class HostTraits:
    """What `check_fit` must know about a host besides the model's layers.

    Args:
        name: the host's name and version, for messages.
        family: family of the loaded base model, such as SDXL; None if it is unknown.
        reads_dora: whether the host applies DoRA's magnitudes.
        reads_words: whether the host reads textual inversions bundled with an adapter.
    """

    name: str
    family: Family | None = None
    reads_dora: bool = True
    reads_words: bool = True


@dataclass(frozen=True)
class Fit:
    """The result of comparing an adapter file with a host's model.

    Args:
        layers: number of layers in the file.
        unmatched: names of layers that the host leaves out.
        misshapen: names of layers whose shape differs from the model's.
        problems: sentences for the user; empty if everything fits.
        remarks: more sentences, about what is no fault of the host or the model.
    """

    layers: int
    unmatched: tuple[str, ...]
    misshapen: tuple[str, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether the host will apply the whole adapter."""
        return not self.problems

    def __str__(self) -> str:
        fits = "the only layer fits" if self.layers == 1 else f"all {self.layers} layers fit"
        return " ".join([*(self.problems or (fits,)), *self.remarks])


def check_fit(
    state: AdapterState, applied: Mapping[str, LayerSpec | None], host: HostTraits
) -> Fit:
    """Compare an adapter file with the layers that a host would apply.

    Args:
        state: the content of the adapter file.
        applied: the layers that the host would apply: name in the file -> shapes of the model's
            layer, None if they are unknown.
        host: what else must fit.

    Raises:
        FormatError: the file holds keys of no known algorithm.
    """
    stored = state.layers()
    unmatched = tuple(layer for layer in stored if layer not in applied)
    misshapen = []
    with_dora, plans = 0, {}
    for layer, tensors in stored.items():
        plan = plans[layer] = detect(tensors, layer)
        with_dora += plan.dora is not None
        spec = applied.get(layer)
        if spec is not None and not plan.algorithm.of_norms:
            try:
                detect(tensors, layer, spec)
            except FormatError:
                misshapen.append(layer)
    problems = [
        *_family_problem(state.metadata, host),
        *_count_problem(unmatched, len(stored), f"{host.name} has no place for", "left out"),
        *_count_problem(misshapen, len(stored), "the model has another shape for", "refused"),
    ]
    if with_dora and not host.reads_dora:
        problems.append(
            f"{host.name} ignores DoRA's lengths without a word: "
            f"{count(with_dora, 'layer comes', 'layers come')} out wrong. "
            "Use AUTOMATIC1111 1.9 or newer, or Forge."
        )
    words = embedded_words(state.embeddings())
    remarks = [f"{said[0].upper()}{said[1:]}." for said in doubts(state, plans)]
    if words and not host.reads_words:
        are = "word that is" if len(words) == 1 else "words that are"
        listed = and_more(words, _LISTED)
        remarks.append(f"{host.name} leaves out the {are} bundled with it: {listed}.")
    return Fit(len(stored), unmatched, tuple(misshapen), tuple(problems), tuple(remarks))


def _family_problem(metadata: Mapping[str, str], host: HostTraits) -> list[str]:
    trained = family_of_version(metadata.get("ss_base_model_version", ""))
    if trained and host.family and trained is not host.family:
        return [f"It was trained on {trained.title}, and the loaded model is {host.family.title}."]
    return []


def _count_problem(
    layers: list[str] | tuple[str, ...], total: int, what: str, then: str
) -> list[str]:
    if not layers:
        return []
    listed, are = and_more(layers, _LISTED), "is" if len(layers) == 1 else "are"
    sentence = f"{what} {len(layers)} of its {count(total, 'layer')}, which {are} {then}: {listed}."
    return [sentence[0].upper() + sentence[1:]]
