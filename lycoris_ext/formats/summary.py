"""Describing an adapter file: its algorithms, layers, sizes, metadata, and whether it is intact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.algorithms import Plan, detect
from lycoris_ext.errors import FormatError
from lycoris_ext.formats.adapter_file import AdapterFile, AdapterState, read_adapter_file
from lycoris_ext.formats.cloneofsimo import is_numbered, numbered
from lycoris_ext.formats.container import Container
from lycoris_ext.formats.doubts import changed, doubtful_values
from lycoris_ext.formats.embeddings import embedded_words
from lycoris_ext.formats.hashes import HASH_KEY, HashCheck, compare
from lycoris_ext.formats.keys import PEFT, split_key, target_of
from lycoris_ext.formats.metadata import trigger_words
from lycoris_ext.formats.misread import misread_by
from lycoris_ext.formats.namings import tools_of

#: Tensors' names that occur in any model; a file with no other names is no adapter.
_ANYBODYS = ("weight", "bias")


@dataclass(frozen=True)
class LayerGroup:
    """The layers of a file that have the same algorithm, options, rank and alpha.

    Args:
        tucker: whether they have Tucker cores.
        rank, alpha: 0 if the stored tensors have no rank.
        form: the options that can be seen in the tensors, such as "dora_wd", and what is stored
            beside the algorithm's tensors, such as "with bias".
        modules: number of these layers.
    """

    algorithm: str
    tucker: bool
    rank: int
    alpha: float
    form: tuple[str, ...]
    modules: int


@dataclass(frozen=True)
class AdapterSummary:
    """The description of an adapter file, as ``lycoris-ext info`` shows it.

    Args:
        algorithms: names of the algorithms in it.
        layers: its layers in groups, the largest group first.
        modules: model ("unet", "text_encoder", ...) -> number of adapted layers.
        parameters: count of numbers in all tensors, without alphas.
        bytes: size of the file.
        dtypes: of the tensors, without alphas.
        keys: tools whose naming the layers have in the file: kohya, LyCORIS, diffusers, PEFT,
            ComfyUI, cloneofsimo/lora.
        hash: whether the data fit the stored hash.
        triggers: trigger words, if the metadata name any.
        misread_by: a sentence for each host that is known to read this file wrongly.
        metadata: all of it, sorted by name.
        embeddings: words of the textual inversions that are bundled with the adapter.
        doubts: what is strange about its content, one sentence each.
    """

    path: str
    algorithms: tuple[str, ...]
    layers: tuple[LayerGroup, ...]
    modules: dict[str, int]
    parameters: int
    bytes: int
    dtypes: tuple[str, ...]
    keys: tuple[str, ...]
    hash: HashCheck
    triggers: tuple[str, ...]
    misread_by: tuple[str, ...]
    metadata: dict[str, str]
    embeddings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def summarize(path: Path) -> AdapterSummary:
    """Read an adapter file and describe it.

    Raises:
        DataError: there is no such file.
        FormatError: the file is damaged, no adapter, or holds keys of no known algorithm.
    """
    return describe_file(read_adapter_file(path, refuse_other_files))


def describe_file(file: AdapterFile) -> AdapterSummary:
    """Describe an adapter file that is in memory already.

    Raises:
        FormatError: the file holds NaN or infinity, or keys of no known algorithm.
    """
    state = file.state()
    plans = plans_of(state)
    # ``state`` has names for the layers of a file that only numbers them.
    keys = numbered([entry.key for entry in file.header.entries]) or state.tensors.keys()
    metadata = {**file.header.metadata, **state.metadata}
    check = compare(metadata.get(HASH_KEY, ""), file.data_hash())
    factors = {key: t for key, t in state.tensors.items() if not key.endswith(".alpha")}
    return AdapterSummary(
        path=str(file.path),
        algorithms=_algorithm_names(plans.values()),
        layers=_group(plans.values()),
        modules=dict(sorted(Counter(map(target_of, plans)).items(), reverse=True)),
        parameters=sum(tensor.numel() for tensor in factors.values()),
        bytes=file.size,
        dtypes=tuple(sorted({str(t.dtype).removeprefix("torch.") for t in factors.values()})),
        keys=tools_of(keys),
        hash=check,
        triggers=trigger_words(metadata),
        misread_by=misread_by(keys, plans, metadata),
        doubts=(*changed(check), *doubtful_values(plans, state.layers())),
        metadata=dict(sorted(metadata.items())),
        embeddings=embedded_words(state.tensors),
    )


def plans_of(state: AdapterState) -> dict[str, Plan]:
    """Find out how each layer of a file is adapted, from the tensors alone.

    Args:
        state: the file's content.

    Returns:
        Layer's name in the file -> its algorithm, rank and shapes.

    Raises:
        FormatError: some keys are of no known layer or algorithm, or shapes contradict each other;
            the message names the file.
    """
    with state.named_in_errors():
        return {prefix: detect(tensors, prefix) for prefix, tensors in state.layers().items()}


def refuse_other_files(header: Container, where: str) -> None:
    """Raise an error if a file is no adapter, by its header alone.

    As ``check`` of ``read_adapter_file`` it spares reading the gigabytes of a whole model.

    Raises:
        FormatError: no key belongs to an adapter.
    """
    keys = [entry.key for entry in header.entries]
    if is_numbered(keys) or any(key.startswith(PEFT) for key in keys):
        return  # what of PEFT is not read has a reason, see ``peft_unread``
    if not {split_key(key)[1] for key in keys} - {"", *_ANYBODYS}:
        raise FormatError(
            f"none of its {len(header.entries)} tensors belongs to an adapter",
            where=where,
            fix="choose a LoRA, LoCon, LoHa or LoKr; this is a model or something else",
        )


def _algorithm_names(plans: Collection[Plan]) -> tuple[str, ...]:
    names = {plan.algorithm.name for plan in plans}
    # LoCon is LoRA whose file also adapts kernels larger than 1x1.
    if any(plan.algorithm.name == "lora" and plan.layer.is_spatial for plan in plans):
        names = names - {"lora"} | {"locon"}
    return tuple(sorted(names))


def _group(plans: Iterable[Plan]) -> tuple[LayerGroup, ...]:
    groups = Counter(
        (
            plan.algorithm.name,
            plan.uses_core,
            plan.rank if plan.has_rank else 0,
            float(plan.alpha) if plan.has_rank else 0.0,
            _form(plan),
        )
        for plan in plans
    )
    return tuple(LayerGroup(*group, modules=n) for group, n in groups.most_common())


def _form(plan: Plan) -> tuple[str, ...]:
    shown = (
        option if value is True else f"{option} {value:.3g}"
        for option, value in plan.shown_options().items()
        if option != "use_tucker"
    )
    return (*shown, *(f"with {one.title}" for one in plan.beside))
