"""The arguments of `lycoris-ext sample`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(
        prog="lycoris-ext sample", description="Draw pictures with a base model and adapters."
    )
    add = made.add_argument
    add(
        "--prompt",
        action="append",
        default=[],
        help="a prompt of any length; may be repeated, and may end in options such as "
        "--n blurry --w 512 --d 1",
    )
    add(
        "--sample-prompts",
        metavar="FILE",
        help="a file of prompts in sd-scripts' form: .txt with one prompt per line "
        '("a cat --n blurry --w 512 --h 768 --d 1 --s 28 --l 7 --ss euler_a"), .toml or .json',
    )
    add(
        "files",
        nargs="*",
        metavar="FILE[:STRENGTH]",
        help="an adapter file, the same as --adapter FILE",
    )
    add("--negative-prompt", default="", help="negative prompt of all prompts without their own")
    add(
        "--adapter",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="an adapter file, such as my_style.safetensors:0.8; without strength, 1 is used; "
        "may be repeated",
    )
    _add_model(made)
    add(
        "--output-dir",
        type=Path,
        default=Path("samples"),
        help="folder for the pictures (default: samples)",
    )
    _add_settings(made)
    _add_grid(made)
    add(
        "--batch-size",
        type=int,
        default=8,
        help="number of pictures that are drawn at once; does not change them (default: 8)",
    )
    add("--device", default="auto", help='"auto" (a GPU if there is one), "cpu", "cuda:1"')
    add(
        "--precision",
        choices=["bf16", "fp16", "fp32"],
        help="precision of the model (default: fp16 on a GPU, fp32 on a CPU)",
    )
    return made


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model",
        default="mini",
        help="a Stable Diffusion 1.x, 2.x or XL model, as a file or a diffusers folder "
        "(default: mini, the small model that ships with the package)",
    )
    add("--vae", help="a VAE to use instead of the model's own, as a file or a folder")
    add(
        "--v-parameterization",
        action=argparse.BooleanOptionalAction,
        help="whether the model predicts velocity (default: read from the model)",
    )


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grid",
        action="store_true",
        help="draw one comparison grid: every prompt without adapter and with each adapter alone",
    )
    parser.add_argument(
        "--strengths",
        type=float,
        nargs="+",
        default=[],
        help="with --grid: draw every adapter at these strengths instead of those after --adapter",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options for seed, steps, size and so on, which a prompt's own options override."""
    add = parser.add_argument
    add(
        "-n",
        "--number",
        type=int,
        default=1,
        help="number of pictures per prompt, with consecutive seeds (default: 1)",
    )
    add("--seed", type=int, default=0, help="seed of each prompt's first picture (default: 0)")
    add("--steps", type=int, default=20, help="number of denoising steps (default: 20)")
    add("--cfg-scale", type=float, default=7.0, help="guidance scale; 1 is off (default: 7)")
    add(
        "--sampler",
        default="Euler",
        help='a sampler of AUTOMATIC1111, such as "Euler a" or "DPM++ 2M Karras", or of '
        "sd-scripts, such as euler_a (default: Euler)",
    )
    add("--width", type=int, help="width in pixels (default: the model's native size)")
    add("--height", type=int, help="height in pixels (default: the model's native size)")
    add(
        "--clip-skip",
        type=int,
        default=1,
        help="use the text encoder's layer N from the end (default: 1, the last)",
    )
