"""`lycoris-ext size`: how large an adapter will be, before anything is trained."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from math import prod

from lycoris_ext.models import build_meta
from lycoris_ext.models.part_configs import LOADED
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
    """Count an adapter's modules, parameters and bytes; returns the exit code."""
    options = _parser().parse_args(arguments)
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
        counts = (f"{_WORDS[target]} {count}" for target, count in size["modules"].items())
        print(f"modules     {', '.join(counts)}")
        print(f"parameters  {size['parameters']:,}")
        print(f"file        {file_size(size['bytes'])} (fp16, without metadata)")
    return 0


def measure(family: str, config: NetworkConfig) -> dict:
    """Build the network of a config on a family's real shapes, without weights, and count.

    Args:
        family: a key of `models.part_configs.LOADED`.
        config: the network.

    Returns:
        {"modules": {"unet": n, "text_encoder": n}, "parameters": n, "bytes": n}, for SDXL also
        "text_encoder_2"; the parameters leave the alphas out, the bytes are those of an fp16 file
        without metadata.

    Raises:
        ConfigError: the family is not known, or the config adapts nothing.
    """
    base = build_meta(family)
    network = build_network(base, config)
    shapes: dict[str, tuple[int, ...]] = {}
    modules = dict.fromkeys(base, 0)
    for key, layer in network.layers.items():
        modules[network.sites[key].target] += 1
        shapes |= {f"{key}.{name}": shape for name, shape in layer.plan.shapes().items()}
    parameters = sum(map(prod, shapes.values()))
    shapes |= {f"{key}.alpha": () for key in network.layers}
    return {"modules": modules, "parameters": parameters, "bytes": file_bytes(shapes)}


def file_bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the size of a safetensors file of fp16 tensors, header included, without metadata."""
    header, end = {}, 0
    for key in sorted(shapes):
        start, end = end, end + prod(shapes[key]) * _FP16_BYTES
        header[key] = {"dtype": "F16", "shape": shapes[key], "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = -(-len(text) // _HEADER_ALIGNMENT) * _HEADER_ALIGNMENT
    return _HEADER_ALIGNMENT + padded + end


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lycoris-ext size",
        description="Count an adapter's modules, parameters and bytes without training it.",
    )
    parser.add_argument(
        "--family",
        default="sd1",
        type=lambda name: "sd1" if name == "sd15" else name,
        choices=sorted(LOADED),
        help="base family; sd15 is sd1 too",
    )
    parser.add_argument("--algo", default="loha", help="lora, locon, loha or lokr (default: loha)")
    parser.add_argument("--dim", type=int, default=8, help="rank of linear layers (default: 8)")
    parser.add_argument("--conv-dim", type=int, help="rank of convolutions (default: as training)")
    parser.add_argument("--alpha", type=float, default=1.0, help="does not change the size")
    parser.add_argument("--preset", default="full", help="which layers (default: full)")
    parser.add_argument("--tucker", action="store_true", help="Tucker form for convolutions")
    parser.add_argument(
        "--no-text-encoder", action="store_true", help="adapt the U-Net and nothing else"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
