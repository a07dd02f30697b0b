"""The nodes that describe the training data: a folder, or images and captions of other nodes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris_ext.data import DataConfig, Picture, finding_lines, scan_folders
from lycoris_ext.data.caption_files import CAPTION_SUFFIXES
from lycoris_ext.data.folders import options_for
from lycoris_ext.data.picture_files import is_picture, list_folder
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import make_folder
from lycoris_ext.words import count

from .host.images import png, to_pictures
from .host.places import picture_folder, temporary_folder
from .host.widgets import Options, Widget, advanced, check, inputs, option, read_options

TYPE = "LYCORIS_DATASET"

_CUT = (
    option("resolution", unset=0),
    option("train_batch_size"),
    option("num_repeats"),
    option("enable_bucket"),
)
_CAPTIONS = (
    option("shuffle_caption"),
    option("keep_tokens"),
    option("caption_dropout_rate"),
    option("caption_tag_dropout_rate"),
    option("caption_prefix"),
    option("caption_suffix"),
)
_FOLDER = Widget(
    "folder",
    "STRING",
    {
        "default": "",
        "tooltip": "A folder of pictures, each with a caption file of the same name (cat.png, "
        'cat.txt); or the parent of folders named "10_name", where 10 shows each picture 10 times '
        "in an epoch. Write the whole path, or the name below ComfyUI's input folder.",
    },
)
_READING = advanced(
    option("caption_extension"),
    option("allow_missing_captions"),
    option("flip_aug"),
    option("alpha_mask"),
    option("bucket_no_upscale"),
    option("enable_wildcard"),
    option("keep_tokens_separator"),
    Widget(
        "reg_folder",
        "STRING",
        {
            "default": "",
            "tooltip": "Folder of regularisation pictures: the parent of folders named "
            '"1_class", such as "1_woman". Empty: no regularisation.',
        },
    ),
)


@dataclass(frozen=True)
class Dataset:
    """The output of a dataset node, an input of Train.

    Args:
        options: options of the section `data` by name.
        conditionings: caption -> ComfyUI's CONDITIONING, if other nodes encoded the captions.
    """

    options: Options
    conditionings: Mapping[str, Any] = field(default_factory=dict)


class DatasetFolder:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Reads the pictures and captions of a folder, to train on them. A folder in which a file "
        "changed is read again."
    )
    RETURN_TYPES = (TYPE, "STRING")
    RETURN_NAMES = ("dataset", "summary")
    OUTPUT_TOOLTIPS = ("For Train.", "What was found, for a text preview.")
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return inputs((_FOLDER, *_CUT), (*_CAPTIONS, *_READING))

    @classmethod
    def VALIDATE_INPUTS(cls, folder: str | None = None) -> bool | str:
        """Refuse a wrong folder before the workflow runs; None comes from another node, later."""
        if folder is None:
            return True
        try:
            _check_folder(picture_folder(folder))
        except LycorisExtError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(
        cls,
        folder: str | None = None,
        reg_folder: str | None = None,
        caption_extension: str | None = None,
        **_: Any,
    ) -> str | float:
        """Return a text that changes with the pictures and captions that are read.

        If the folder comes from another node, the data set is read each time; Train then finds out
        that it has trained on the same pictures already.
        """
        if folder is None:
            return float("nan")
        return "".join(
            fingerprint(text, caption_extension) for text in (folder, reg_folder) if text
        )

    def read(self, folder: str, reg_folder: str = "", **values: Any) -> tuple[Dataset, str]:
        options = read_options((*_CUT, *_CAPTIONS, *_READING), values)
        path = picture_folder(folder)
        _check_folder(path)
        options["image_dir" if "image_dir" in options_for(path) else "train_data_dir"] = str(path)
        if reg_folder.strip():
            options["reg_data_dir"] = str(picture_folder(reg_folder))
        check(options)
        scan = scan_folders(DataConfig(**options))
        summary = "\n".join([*_summary(scan.pictures), *finding_lines(scan.findings)])
        return Dataset(options), summary


class DatasetImages:
    CATEGORY = "LyCORIS"
    DESCRIPTION = (
        "Makes a dataset of images from other nodes, with a caption or conditioning for each image."
    )
    RETURN_TYPES = (TYPE, "STRING")
    RETURN_NAMES = ("dataset", "summary")
    OUTPUT_TOOLTIPS = ("For Train.", "What was found, for a text preview.")
    FUNCTION = "read"
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        images = Widget("images", "IMAGE", {"tooltip": "Batches or lists of images, of any sizes."})
        captions = Widget(
            "captions",
            "STRING",
            {
                "default": "",
                "multiline": True,
                "tooltip": "One caption on each line, or a list of captions from another node: "
                "one for each image, or a single one for all images.",
            },
        )
        encoded = Widget(
            "conditioning",
            "CONDITIONING",
            {
                "tooltip": "Encoded captions, which replace the texts of captions: one for each "
                "image, or a single one for all images. Train then needs no CLIP."
            },
        )
        return inputs((images, captions, *_CUT), (encoded, *_CAPTIONS))

    def read(
        self,
        images: list[Tensor],
        captions: list[str],
        conditioning: list[Any] | None = None,
        **values: list[Any],
    ) -> tuple[Dataset, str]:
        options = read_options((*_CUT, *_CAPTIONS), {name: v[0] for name, v in values.items()})
        pictures = [png(picture) for batch in images for picture in to_pictures(batch)]
        texts = [line.strip() for text in captions for line in text.splitlines() if line.strip()]
        encoded = {}
        if conditioning:
            single = [[entry] for given in conditioning for entry in given]
            _check_count(len(single), len(pictures), "conditionings")
            texts = [f"conditioning {number}" for number in range(len(single))]
            encoded = dict(zip(texts, single, strict=True))
        _check_count(len(texts), len(pictures), "captions")
        texts = texts * (len(pictures) if len(texts) == 1 else 1)
        options["image_dir"] = str(_write(pictures, texts))
        check(options)
        return Dataset(options, encoded), "\n".join(
            _summary(scan_folders(DataConfig(**options)).pictures)
        )


def fingerprint(folder: str, caption_extension: str | None = None) -> str:
    """Hash what is read of a folder: sizes and times of pictures, and the texts of captions.

    Args:
        folder: as the user wrote it.
        caption_extension: ending of caption files; None: any that captioning tools use.

    Returns:
        32 hexadecimal digits; "" if there is no such folder.
    """
    try:
        root = picture_folder(folder)
    except LycorisExtError:
        return ""  # running the node reports the reason
    digest = hashlib.blake2b(digest_size=16)
    endings = (caption_extension,) if caption_extension else CAPTION_SUFFIXES
    for path in _files_below(root):
        if is_picture(path):
            state = path.stat()
            known = f"{state.st_size}:{state.st_mtime_ns}".encode()
        elif path.name.endswith(endings):
            known = path.read_bytes()
        else:
            continue
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogatepass")
        digest.update(b"%s:%d:%s\n" % (name, len(known), known))
    return digest.hexdigest()


def _files_below(folder: Path, levels: int = 4) -> Iterator[Path]:
    """Return the files below a folder, without hidden ones and those of operating systems.

    Args:
        folder: in which links may lead to other folders, and even back to it.
        levels: how many folders deep files are looked for.
    """
    paths, _ = list_folder(folder)
    for path in paths:
        if not path.is_dir():
            yield path
        elif levels > 1:
            yield from _files_below(path, levels - 1)


def _check_folder(path: Path) -> None:
    if not any(True for _ in path.iterdir()):
        raise ConfigError(
            "the folder is empty", where=str(path), fix="put pictures and their captions there"
        )


def _check_count(found: int, pictures: int, what: str) -> None:
    if found not in (1, pictures):
        raise ConfigError(
            f"{found} {what} for {count(pictures, 'image')}",
            where=what,
            fix=f"give {pictures} {what}, or one for all",
        )


def _write(pictures: list[bytes], captions: list[str]) -> Path:
    """Write images and captions into a temporary folder, named by their hash, and return it."""
    digest = hashlib.blake2b(digest_size=16)
    for picture, caption in zip(pictures, captions, strict=True):
        digest.update(picture + caption.encode("utf-8", "surrogatepass"))
    folder = temporary_folder() / f"lycoris_ext_{digest.hexdigest()}"
    make_folder(folder, "temp folder")
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        atomic_write(folder / f"{number:05d}.png", picture)
        text = re.sub(r"\s+", " ", caption)
        atomic_write(folder / f"{number:05d}.txt", text.encode("utf-8"))
    return folder


def _summary(pictures: tuple[Picture, ...]) -> list[str]:
    folders = Counter((picture.folder, picture.repeats) for picture in pictures)
    lines = [f"{name}: {count(found, 'picture')} x {n}" for (name, n), found in folders.items()]
    shown = sum(picture.repeats for picture in pictures)
    first = pictures[0].caption.split("\n")[0]
    return [
        *lines,
        f"{count(len(pictures), 'picture')}, {shown} an epoch",
        f"first caption: {first}",
    ]
