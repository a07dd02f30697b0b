"""Build the small base model: draw pictures, train autoencoder, denoiser and judges, export all.

    python -m lycoris_ext.mini.building --source drawn --state FOLDER

Every stage writes its result into FOLDER and is skipped if the result exists; a training stage
that was stopped continues from its last checkpoint. FOLDER/log.jsonl and FOLDER/grids show the
progress. On two CPU cores `--source drawn` takes two to three hours. It needs the extra `[train]`;
`--source emoji` also needs resvg-py, emoji, and a folder with the npm packages that
`emoji_source.py` names.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from lycoris_ext.mini.building.autoencoder import (
    build_autoencoder,
    encode_all,
    polish_decoder,
    reconstruct,
    train_autoencoder,
)
from lycoris_ext.mini.building.denoiser import (
    Denoiser,
    build_text_encoder,
    build_unet,
    generate,
    train_denoiser,
)
from lycoris_ext.mini.building.export import export_base, export_training_set
from lycoris_ext.mini.building.grids import save_grid
from lycoris_ext.mini.building.judge_training import WIDTHS, save_judge, share_right, train_judge
from lycoris_ext.mini.building.picture_sets import PictureSet, draw_set, make_source, orders_of
from lycoris_ext.mini.building.stage import Budget, save_atomically
from lycoris_ext.mini.building.words import build_tokenizer
from lycoris_ext.mini.drawings.pictures import Picture, PictureSource
from lycoris_ext.training.memory import keep_freed_memory

PACKAGE = Path(__file__).parent
# First seeds for testing the judges and for the shipped training sets; training uses lower seeds.
TEST_SEEDS = 1_000_000
SHIPPED_SEEDS = 2_000_000
CHARACTER_PICTURES = 36
SEEN_BY_AUTOENCODER = ("base", "learned", "character")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of the command line; see `--help`."""

    source: str
    state: Path
    emoji_folder: Path | None
    target: Path
    pictures: int
    autoencoder_steps: int
    decoder_steps: int
    denoiser_steps: int
    judge_steps: int
    workers: int
    device: str
    pause_file: Path | None

    def budget(self, steps: int) -> Budget:
        return Budget(steps, self.workers, self.device, self.pause_file)


class Build:
    """The stages of the build; `run` calls them in order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = settings.state
        self.source: PictureSource = make_source(settings.source, settings.emoji_folder)

    def pictures(self, name: str) -> PictureSet:
        """Draw or load one of the sets "base", "learned" (the style for adapters), "character"
        and "test" (pictures of all styles for testing the judges)."""
        source, count = self.source, self.settings.pictures
        every = (*source.base_styles, source.learned_style)
        orders = {
            "base": lambda: orders_of(source.base_styles, source.subjects, count),
            "learned": lambda: orders_of([source.learned_style], source.subjects, -(-count // 5)),
            "character": lambda: orders_of(every, [""], 150),
            "test": lambda: orders_of(every, source.subjects, 10, TEST_SEEDS),
        }[name]()
        path = self.state / "pictures" / f"{name}.pt"
        return draw_set(
            path, orders, source.name, self.settings.emoji_folder, self.settings.workers
        )

    def autoencoder(self) -> AutoencoderKL:
        """Train or load the autoencoder.

        It is trained on all styles, as Stable Diffusion's is; only the denoiser must not see the
        style that adapters learn.
        """
        folder = self.state / "vae"
        if not (folder / "config.json").is_file():
            pixels = torch.cat([self.pictures(name).pixels for name in SEEN_BY_AUTOENCODER])
            torch.manual_seed(0)
            vae = build_autoencoder()
            settings = self.settings
            train_autoencoder(vae, pixels, self.state, settings.budget(settings.autoencoder_steps))
            means = self.means(vae)
            polish_decoder(vae, pixels, means, self.state, settings.budget(settings.decoder_steps))
            vae.register_to_config(scaling_factor=1.0 / float(means[:2048].std()))
            vae.save_pretrained(folder)
        return AutoencoderKL.from_pretrained(folder).eval().requires_grad_(False)

    def means(self, vae: AutoencoderKL) -> Tensor:
        """Return the latent means [N, C, 8, 8] of the autoencoder's training pictures.

        The pictures of the base set come first.
        """
        path = self.state / "means.pt"
        if not path.is_file():
            pixels = torch.cat([self.pictures(name).pixels for name in SEEN_BY_AUTOENCODER])
            save_atomically(encode_all(vae, pixels), path)
        means: Tensor = torch.load(path, weights_only=True)
        return means

    def denoiser(self, vae: AutoencoderKL) -> Denoiser:
        """Train or load the U-Net and text encoder; return their moving average."""
        captions = self.pictures("base").captions
        torch.manual_seed(0)
        tokenizer = build_tokenizer(captions, self.state / "tokenizer")
        channels = int(vae.config.latent_channels)
        model = Denoiser(build_unet(channels), build_text_encoder(tokenizer), tokenizer)
        reserved = (self.source.learned_style, self.source.character)
        budget = self.settings.budget(self.settings.denoiser_steps)
        latents = self.means(vae)[: len(captions)] * vae.config.scaling_factor
        shown = self.shown_captions()
        return train_denoiser(model, vae, latents, captions, shown, reserved, self.state, budget)

    def shown_captions(self) -> list[str]:
        """Return captions for sample grids, one per subject, that no training picture has."""
        styles = self.source.base_styles
        drawn = (
            self.source.draw(styles[i % len(styles)], subject, TEST_SEEDS + i)
            for i, subject in enumerate(self.source.subjects[:96])
        )
        return [picture.caption for picture in drawn]

    def judges(self, vae: AutoencoderKL) -> None:
        """Train both judges on drawn pictures of all styles, test them on others, and save them."""
        base, learned, test = (self.pictures(name) for name in ("base", "learned", "test"))
        # Use equally many pictures of each style.
        base_count = len(learned.styles) * len(self.source.base_styles)
        shown = PictureSet(
            base.pixels[:base_count],
            base.styles[:base_count],
            base.subjects[:base_count],
            base.captions[:base_count],
        )
        shown = shown + learned
        versions = [shown.pixels, reconstruct(vae, shown.pixels)]
        soft = reconstruct(vae, test.pixels)
        accuracy: dict[str, dict[str, float]] = {}
        for name in WIDTHS:
            answers = shown.styles if name == "style" else shown.subjects
            truth = test.styles if name == "style" else test.subjects
            budget = self.settings.budget(self.settings.judge_steps)
            judge = train_judge(name, versions, answers, self.state, budget)
            accuracy[name] = {
                "pictures": len(truth),
                "real": share_right(judge, test.pixels, truth),
                "reconstructed": share_right(judge, soft, truth),
            }
            save_judge(judge, self.settings.target / "judges" / f"{name}.safetensors")
        text = json.dumps(accuracy, indent=2) + "\n"
        (self.settings.target / "judges" / "accuracy.json").write_text(text, encoding="utf-8")
        print(text, flush=True)

    def training_sets(self) -> None:
        """Draw and export the training sets for adapters: the style and the character."""
        source, target = self.source, self.settings.target / "data"
        repeats = max(1, 48 // len(source.learned_subjects))
        style = [
            source.draw(source.learned_style, subject, SHIPPED_SEEDS + i)
            for i in range(repeats)
            for subject in source.learned_subjects
        ]
        export_training_set(style[:60], target / "style" / f"10_{source.learned_style}")
        # Pictures in styles that the base model knows; `style_folder` says what they are for.
        known = [
            source.draw(base_style, subject, SHIPPED_SEEDS + 500_000 + 10 * i)
            for i, subject in enumerate(source.learned_subjects)
            for base_style in source.base_styles
        ]
        export_training_set(known, target / "style" / "3_base")
        character: list[Picture] = [
            source.draw_character(
                source.base_styles[i % len(source.base_styles)], SHIPPED_SEEDS + i
            )
            for i in range(CHARACTER_PICTURES)
        ]
        export_training_set(character, target / "character" / f"10_{source.character}")

    def final_grid(self, model: Denoiser, vae: AutoencoderKL) -> None:
        """Generate every subject in every base style and save the grid with its captions."""
        rng = random.Random(0)
        subjects = list(self.source.subjects[:48])
        captions, seeds = [], []
        for style in self.source.base_styles:
            for number, subject in enumerate(subjects):
                tags = self.source.draw(style, subject, TEST_SEEDS + rng.randrange(1000)).caption
                captions.append(tags)
                seeds.append(number)
        pictures = generate(model, vae, captions, seeds)
        save_grid(pictures, self.state / "grids" / "final.png", columns=16, enlarge=2)
        lines = "\n".join(
            f"{seed}\t{caption}" for seed, caption in zip(seeds, captions, strict=True)
        )
        (self.state / "grids" / "final.txt").write_text(lines + "\n", encoding="utf-8")

    def run(self) -> None:
        """Run all stages that have no result yet, and export the model."""
        self.training_sets()
        vae = self.autoencoder()
        model = self.denoiser(vae)
        size = export_base(model, vae, self.settings.target / "base")
        print(
            f"base: {size / 2**20:.1f} MiB of weights in {self.settings.target / 'base'}",
            flush=True,
        )
        self.final_grid(model, vae)
        self.judges(vae)


def parse(arguments: list[str] | None = None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lycoris_ext.mini.building", description=__doc__
    )
    parser.add_argument("--source", choices=("drawn", "emoji"), default="drawn")
    parser.add_argument(
        "--state", type=Path, required=True, help="folder for checkpoints, log and grids"
    )
    parser.add_argument(
        "--emoji-folder", type=Path, help="folder with the npm packages for --source emoji"
    )
    parser.add_argument(
        "--target", type=Path, default=PACKAGE, help="folder to write base/, judges/ and data/ into"
    )
    parser.add_argument(
        "--pictures", type=int, default=280, help="number per subject and base style"
    )
    parser.add_argument("--autoencoder-steps", type=int, default=4000)
    parser.add_argument("--decoder-steps", type=int, default=4400)
    parser.add_argument("--denoiser-steps", type=int, default=12_000)
    parser.add_argument("--judge-steps", type=int, default=1200)
    parser.add_argument("--workers", type=int, default=2, help="number of CPU cores to use")
    parser.add_argument("--device", default="cpu", help='"cpu", or "cuda" with --workers 1')
    parser.add_argument("--pause-file", type=Path, help="pause training while this file exists")
    return Settings(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Run all stages of the build that have no result yet."""
    settings = parse()
    keep_freed_memory()
    torch.set_num_threads(1)  # each worker is a thread of our own, see shares.py
    Build(settings).run()


if __name__ == "__main__":
    main()
