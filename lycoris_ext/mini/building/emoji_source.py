"""Pictures from three sets of emoji, which draw the same concepts in three styles.

Reads three npm packages of the Iconify project, unpacked or as `.tgz` files, from one folder:
`noto` (Apache-2.0, Google), `twemoji` (CC-BY-4.0, Twitter and contributors) and `fluent-emoji-
flat` (MIT, Microsoft). Nothing is downloaded. Needs resvg-py (SVG to pixels) and emoji (names of
code points).
"""

from __future__ import annotations

import io
import json
import random
import re
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

from lycoris_ext.mini.drawings.pictures import SIZE, Picture

PACKAGES = {"noto": "noto", "twemoji": "twemoji", "fluent": "fluent-emoji-flat"}
CATEGORIES = {
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Objects": "objects",
    "Activities": "activities",
    "Travel & Places": "places",
    "Smileys & Emotion": "smileys",
}
FAMILY = "cat"
"""Emoji with this word in their name are the "character": the base model is not trained on them."""

# Near duplicates, and concepts that look alike at 64 pixels.
SKIPPED = re.compile(
    r"\b(with|oclock|o’clock|thirty|button|sign|symbol|mailbox|banknote|tray|file|page|card|quarter|"
    r"crescent|gibbous|oncoming|speaker|inbox|outbox|locked|clock|sun behind|bullet|metro|tram|"
    r"railway|departure|arrival|globe|post|moon|medal|mobile|folder|dividers|womans|woman’s|man’s)\b"
)
# Longer names are mostly variants of shorter ones; animals and foods may have two words.
MAX_NAME_WORDS = {
    "Animals & Nature": 2,
    "Food & Drink": 2,
    "Objects": 1,
    "Activities": 1,
    "Travel & Places": 1,
}
MASTER = 192


def _read_json(folder: Path, package: str, member: str) -> Any:
    """Read a JSON file of an npm package, which is in `folder` unpacked or as an archive."""
    for place in sorted(folder.glob(f"*{package}-[0-9]*")):
        if place.is_dir():
            for inner in (place, place / "package"):
                if (inner / member).is_file():
                    return json.loads((inner / member).read_text(encoding="utf-8"))
        elif place.suffix in (".tgz", ".gz"):
            with tarfile.open(place) as archive:
                stream = archive.extractfile(f"package/{member}")
                if stream is not None:
                    return json.load(stream)
    raise FileNotFoundError(f"{folder}: no npm package *{package}-<version> that holds {member}")


class EmojiSource:
    """The `PictureSource` of emoji; Noto and Twemoji are the base styles, adapters learn Fluent."""

    name = "emoji"
    base_styles: tuple[str, ...] = ("noto", "twemoji")
    learned_style = "fluent"
    character = FAMILY

    def __init__(self, folder: Path) -> None:
        self._svg: dict[tuple[str, str], str] = {}
        self._category: dict[str, str] = {}
        self._family: list[str] = []
        self._masters: dict[tuple[str, str], Image.Image] = {}
        self._load(folder)
        self.subjects = tuple(sorted(set(self._category) - set(self._family)))
        self.learned_subjects = self.subjects[::8]

    def _load(self, folder: Path) -> None:
        import emoji

        icons = {style: _read_json(folder, name, "icons.json") for style, name in PACKAGES.items()}
        chars = {style: _read_json(folder, name, "chars.json") for style, name in PACKAGES.items()}
        groups = _read_json(folder, PACKAGES["noto"], "metadata.json")["categories"]
        group_of = {icon: group for group, members in groups.items() for icon in members}
        for code in sorted(set.intersection(*(set(table) for table in chars.values()))):
            character = "".join(chr(int(part, 16)) for part in code.split("-"))
            name = (
                emoji.demojize(character, delimiters=("", ""))
                .replace("_", " ")
                .replace("-", " ")
                .lower()
            )
            group = group_of.get(chars["noto"][code], "")
            words = name.split()
            family = FAMILY in words
            if group not in CATEGORIES or not name.isascii() or SKIPPED.search(name):
                continue
            if not family and len(words) > MAX_NAME_WORDS.get(group, 0):
                continue
            for style in PACKAGES:
                self._svg[style, name] = _svg(icons[style], chars[style][code])
            self._category[name] = CATEGORIES[group]
            if family:
                self._family.append(name)

    def _master(self, style: str, subject: str) -> Image.Image:
        """Return the emoji on white at MASTER pixels, so that subpixel shifts stay sharp."""
        import resvg_py

        if (style, subject) not in self._masters:
            png = resvg_py.svg_to_bytes(
                svg_string=self._svg[style, subject], width=MASTER, height=MASTER
            )
            drawing = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
            paper = Image.new("RGB", (MASTER, MASTER), "white")
            paper.paste(
                drawing, ((MASTER - drawing.width) // 2, (MASTER - drawing.height) // 2), drawing
            )
            self._masters[style, subject] = paper
        return self._masters[style, subject]

    def draw(self, style: str, subject: str, seed: int) -> Picture:
        """Return the emoji, slightly moved and scaled at random."""
        rng = random.Random(f"{style}/{subject}/{seed}")
        scale = MASTER / SIZE * rng.uniform(1.04, 1.12)
        middle = MASTER / 2
        left = middle - scale * (SIZE / 2 + rng.uniform(-1, 1))
        top = middle - scale * (SIZE / 2 + rng.uniform(-1, 1))
        box = (left, top, left + scale * SIZE, top + scale * SIZE)
        grown = Image.new("RGB", (MASTER + 64, MASTER + 64), "white")
        grown.paste(self._master(style, subject), (32, 32))
        shifted = (box[0] + 32, box[1] + 32, box[2] + 32, box[3] + 32)
        image = grown.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=shifted)
        return Picture(image, style, subject, (self._category[subject],))

    def draw_character(self, style: str, seed: int) -> Picture:
        """Return an emoji of the family that the base model is not trained on."""
        return self.draw(style, self._family[seed % len(self._family)], seed)


def _svg(icons: dict[str, Any], name: str) -> str:
    icon = icons["icons"].get(name) or icons["icons"][icons["aliases"][name]["parent"]]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    return f"{head}{icon['body']}</svg>"
