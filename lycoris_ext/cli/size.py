"""`lycoris-ext size`: predict an adapter's number of parameters and file size without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod

from lycoris_ext.cli.arguments.size import parser
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.models import build_meta
from lycoris_ext.network import NetworkConfig, build_network
from lycoris_ext.words import file_size

_FP16_BYTES = 2
_HEADER_ALIGNMENT = 8
_WORDS = {
    "unet": "U-Net",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print an adapter's number of modules, parameters and bytes; return the exit code."""
    options = parser().parse_args(arguments)
    config = NetworkConfig(
        algo=options.algo,
        network_dim=options.dim,
        network_alpha=options.alpha,
        conv_dim=options.conv_dim,
        preset=options.preset,
        use_tucker=options.tucker,
        network_train_unet_only=options.no_text_encoder,
    )
    size = measure(options.family, config)
    if options.json:
        print(json.dumps(size))
    else:
        print(f"base model  {FAMILIES[options.family].title} (--family {options.family})")
        counts = (f"{_WORDS[target]} {count}" for target, count in size["modules"].items())
        print(f"modules     {', '.join(counts)}")
        print(f"parameters  {size['parameters']:,}")
        print(f"file        {file_size(size['bytes'])} (fp16, without metadata)")
    return 0


def measure(family: str, config: NetworkConfig) -> dict:
    """Count the parameters and bytes of a network on a model family's layers, without weights.

    Args:
        family: the model family, a key of `models.part_configs.LOADED`.
        config: the network's options.

    Returns:
        {"modules": {"unet": n, "text_encoder": n}, "parameters": n, "bytes": n}. For SDXL,
        "modules" also has "text_encoder_2". The parameters do not count the alphas; the bytes are
        those of an fp16 file without metadata.

    Raises:
        ConfigError: the family is unknown, or the config adapts no layer.
    """
    base = build_meta(family)
    network = build_network(base, config, warn=False)
    shapes: dict[str, tuple[int, ...]] = {}
    modules = dict.fromkeys(base, 0)
    for key, layer in network.layers.items():
        modules[network.sites[key].target] += 1
        shapes |= {f"{key}.{name}": shape for name, shape in layer.plan.shapes().items()}
    parameters = sum(map(prod, shapes.values()))
    shapes |= {f"{key}.alpha": () for key in network.layers}
    return {"modules": modules, "parameters": parameters, "bytes": file_bytes(shapes)}


def file_bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the bytes of a safetensors file of fp16 tensors, with header, without metadata.

    Args:
        shapes: key -> shape of each tensor.
    """
    header, end = {}, 0
    for key in sorted(shapes):
        start, end = end, end + prod(shapes[key]) * _FP16_BYTES
        header[key] = {"dtype": "F16", "shape": shapes[key], "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = -(-len(text) // _HEADER_ALIGNMENT) * _HEADER_ALIGNMENT
    return _HEADER_ALIGNMENT + padded + end
