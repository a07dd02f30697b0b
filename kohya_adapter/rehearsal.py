"""Trying early what a run of sd-scripts does late, so that none is lost at its first save or step.

The trainer saves for the first time, limits norms and changes dtypes long after it has made the
network. What could fail then is tried when it shows the network its options.

Source: sd-scripts 48d368f, train_network.py and library/train_util.py, prepare_dtype.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.errors import ConfigError, EnvironmentFault, Faults
from lycoris_ext.formats import in_precision
from lycoris_ext.formats.atomic import check_folder, nearest_folder
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import Network
from lycoris_ext.network.sites import DENOISERS
from lycoris_ext.words import count, file_size

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "float": torch.float32}
#: Optimizers that refuse groups of different learning rates, as sd-scripts spells them in lower
#: case.
_ONE_RATE = ("prodigy", "prodigyopt.prodigy", "dadaptation", "dadaptadam")


def rehearse(network: Network, args: Any) -> None:
    """Try what the trainer will do with a new network, and raise all that would end the run.

    Args:
        network: as ``create_network`` made it.
        args: the trainer's options; those that are missing count as not given.

    Raises:
        ConfigError: options of the trainer do not go together with the network.
        EnvironmentFault: the adapter cannot be written into ``--output_dir``.
    """
    layers = {
        key: layer
        for key, layer in network.layers.items()
        if network.sites[key].target in _trained(network.targets, args)
    }
    faults = Faults()
    if getattr(args, "scale_weight_norms", None):
        with faults:
            for layer in layers.values():
                layer.norm_degree()
    with faults:
        _check_stored(layers, args)
    with faults:
        _check_quantised(network, layers, args)
    with faults:
        _check_folder(layers, args)
    faults.raise_all()


def check_rates(groups: Sequence[Mapping[str, Any]], args: Any) -> None:
    """Refuse different learning rates for an optimizer that would refuse them with less words.

    Args:
        groups: of parameters, each with its "lr".
        args: the trainer's options, or None.

    Raises:
        ConfigError: the optimizer takes one rate alone, and the groups have several.
    """
    optimizer = str(getattr(args, "optimizer_type", None) or "")
    rates = sorted({group["lr"] for group in groups})
    if optimizer.lower() in _ONE_RATE and len(rates) > 1:
        raise ConfigError(
            f"{optimizer} finds the step size itself, so it takes one learning rate for all, and "
            f"the network has {', '.join(f'{rate:g}' for rate in rates)}",
            where="learning_rate, unet_lr, text_encoder_lr, network_args",
            fix="give all models the same rate (usually 1), and leave out the ratios of LoRA+ and "
            "the rates of single layers",
        )


def _trained(targets: Iterable[str], args: Any) -> set[str]:
    """Return the models that the trainer will train."""
    unet_only = getattr(args, "network_train_unet_only", False)
    text_only = getattr(args, "network_train_text_encoder_only", False)
    left_out = {*(TEXT_ENCODERS if unet_only else ()), *(DENOISERS if text_only else ())}
    return set(targets) - left_out


def _check_stored(layers: Mapping[str, AdapterLayer], args: Any) -> None:
    """Check that every number of the network can be held in the dtypes of training and of files."""
    full = bool(getattr(args, "full_fp16", False))
    precision = getattr(args, "save_precision", None)
    saved_in = _DTYPES.get(str(precision))
    too_large = [*_too_large(layers, full, saved_in)]
    if too_large:
        name, number = too_large[0]
        more = f" (and {count(len(too_large) - 1, 'more tensor')})" if too_large[1:] else ""
        raise ConfigError(
            f"float16 holds numbers up to 65504, and {name} has {number:g}{more}, so the first "
            "save would fail",
            where="full_fp16" if full else f"save_precision = {precision}",
            fix="choose bf16",
        )


def _too_large(
    layers: Mapping[str, AdapterLayer], full: bool, saved_in: torch.dtype | None
) -> Iterator[tuple[str, float]]:
    """Yield name and largest number of each tensor that float16 cannot hold."""
    if not (full or saved_in == torch.float16):
        return
    for key, layer in layers.items():
        for name, tensor in layer.stored().items():
            held = tensor.half() if full and name != "alpha" else tensor
            if not tensor.is_meta and not bool(in_precision(saved_in, name, held).isfinite().all()):
                yield f"{key}.{name}", tensor.abs().max().item()


def _check_quantised(network: Network, layers: Mapping[str, AdapterLayer], args: Any) -> None:
    """Refuse --fp8_base for formulas that read the values of the weights, which are cast later."""
    of_all = bool(getattr(args, "fp8_base", False))
    of_unet = of_all or bool(getattr(args, "fp8_base_unet", False))
    for key, layer in layers.items():
        site = network.sites[key]
        cast = of_unet if site.target in DENOISERS else of_all
        if cast and layer.plan.needs_base_weight:
            reads = "dora_wd" if layer.plan.dora else f"algo={layer.plan.algorithm.name}"
            raise ConfigError(
                f"{reads} reads the numbers of the weights, which --fp8_base quantises",
                where=f"fp8_base, {site.name}",
                fix="leave fp8_base out, or use plain loha or lora",
            )


def _check_folder(layers: Mapping[str, AdapterLayer], args: Any) -> None:
    """Check that output_dir takes a file, and that the disk has room for one.

    Options without output_dir, of a program that saves in another way, are not checked.
    """
    if not hasattr(args, "output_dir"):
        return
    if not args.output_dir:
        raise ConfigError(
            "no folder is given, so the first save would fail",
            where="output_dir",
            fix="set --output_dir",
        )
    folder = Path(args.output_dir)
    check_folder(folder, "output_dir")
    bytes_each = _DTYPES.get(str(getattr(args, "save_precision", None)), torch.float32).itemsize
    wanted = bytes_each * sum(
        tensor.numel() for layer in layers.values() for tensor in layer.tensors().values()
    )
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < wanted:
        raise EnvironmentFault(
            f"{file_size(free)} are free, and one file of this network takes {file_size(wanted)}",
            where=f"output_dir {folder}",
            fix="free some disk space, or choose another output_dir",
        )
