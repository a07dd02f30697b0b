"""The nodes that describe the training data: a folder, or images and captions of other nodes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris_ext.config import all_options
from lycoris_ext.data import DataConfig, Picture, Scan, finding_lines, scan_folders
from lycoris_ext.data.folders import options_for
from lycoris_ext.data.picture_files import list_folder
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import make_folder
from lycoris_ext.formats.families import LONGEST_TEXT
from lycoris_ext.words import count

from .advanced import Advanced, Values, grouped, joined, more
from .host.conditionings import encoded_captions
from .host.folder_content import fingerprint
from .host.given_latents import Latents
from .host.images import png, to_pictures
from .host.places import input_folders, picture_folder, temporary_folder
from .host.widgets import Options, Widget, check, chooser, inputs, link, option, read_options

TYPE = "LYCORIS_DATASET"
_ADVANCED = "LYCORIS_DATASET_ADVANCED"
_NAME = "Dataset"

_TYPED, _NO_FOLDER = "(path below)", "(none)"
_CUT = ("resolution", "train_batch_size", "num_repeats", "enable_bucket", "shuffle_caption")
_OF_FILES = ("flip_aug",)
_GROUPS = {
    "tags": (
        "keep_tokens", "keep_tokens_separator", "caption_tag_dropout_rate", "caption_separator",
        "secondary_separator", "token_warmup_min", "token_warmup_step",
    ),
    "captions": (
        "caption_prefix", "caption_suffix", "caption_dropout_rate",
        "caption_dropout_every_n_epochs", "enable_wildcard", "caption_extension",
        "allow_missing_captions", "max_token_length",
    ),
    "pictures": (
        "alpha_mask", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps",
        "bucket_no_upscale", "prior_loss_weight",
    ),
}  # fmt: skip
#: Said by the nodes, or of no use inside ComfyUI, where latents and captions are in memory.
_ELSEWHERE = (
    "train_data_dir", "image_dir", "reg_data_dir", "in_json", "cache_latents_to_disk",
    "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "cache_dir",
    "cache_limit_gb", "caption_mode", "caption_set", "caption_variants", "tag_list_dropout_rate",
    "caption_fields", "level_rules", "max_data_loader_n_workers", "silence", "validation_split",
    "validation_seed", "conditioning_data_dir", "masked_loss", "loss_weight",
    "random_crop", "color_aug", "face_crop_aug_range",
)  # fmt: skip
_NOT_READ = "captions are not used: the conditionings replace them"
_SENTENCES = {"num_repeats": "Number of times that an epoch shows each image."}
_FOLDER = (
    "A folder of pictures, each with a caption file of the same name (cat.png, cat.txt); or the "
    'parent of folders named "10_name", where 10 shows each picture 10 times in an epoch.'
)
_REG_FOLDER = (
    'Folder of regularisation pictures: the parent of folders named "1_class", such as "1_woman".'
)


def _options_of(group: str) -> list[str]:
    known = all_options()
    more_of_data = {
        name: known[name]
        for name in (*DataConfig.options(), "max_token_length", "prior_loss_weight")
    }
    elsewhere = (*_CUT, *_OF_FILES, *_ELSEWHERE)
    return grouped(_GROUPS, more_of_data, elsewhere, lambda new: "pictures")[group]


def widget(name: str, sentence: str | None = None) -> Widget:
    """Return the widget of an option, with the default that it has in ComfyUI."""
    if name == "max_token_length":
        # ComfyUI itself reads prompts of any length.
        return option(name, default=LONGEST_TEXT)
    return option(name, unset=0 if name == "resolution" else None, sentence=sentence)


def _folder(name: str, tooltip: str, first: str) -> tuple[Widget, Widget]:
    """Make a list of the folders below ComfyUI's input folder, and a field for any other path.

    Args:
        name: of the list; the field is called path for "folder", reg_path for "reg_folder".
        tooltip: what lies in the folder.
        first: the entry of the list for none of its folders.
    """
    typed = {
        "default": "",
        "display_name": "other folder" if name == "folder" else "other regularisation folder",
        "tooltip": "The whole path of a folder that is not in the list above, or its name below "
        "ComfyUI's input folder. Empty: the folder that is chosen above.",
    }
    listed = f"{tooltip} The list has the folders below ComfyUI's input folder."
    return (
        chooser(name, input_folders(), listed, first),
        Widget(name.replace("folder", "path"), "STRING", typed),
    )


@dataclass(frozen=True)
class Dataset:
    """The output of a dataset node, an input of Train.

    Args:
        options: options of the section `data` by name.
        conditionings: caption -> ComfyUI's CONDITIONING, if other nodes encoded the captions.
        latents: those that the pictures stand for, if other nodes encoded the pictures.
    """

    options: Options
    conditionings: Mapping[str, Any] = field(default_factory=dict)
    latents: Latents = field(default_factory=dict)

    def check_links(self, clip: Any, vae: Any) -> None:
        """Refuse to train without a CLIP or a VAE where one is needed.

        Raises:
            ConfigError: pictures, captions, or the empty text that caption dropout needs, cannot be
                encoded.
        """
        if vae is None and not self.latents:
            raise ConfigError(
                "no VAE is connected, and the dataset has pictures to encode",
                where="vae",
                fix="connect a VAE, or a dataset of latents",
            )
        if clip is not None:
            return
        if not self.conditionings:
            raise ConfigError(
                "no CLIP is connected, and the dataset has captions to read",
                where="clip",
                fix="connect a CLIP, or a dataset of images with conditionings",
            )
        if "" in self.conditionings:
            return
        for name in ("caption_dropout_rate", "caption_dropout_every_n_epochs"):
            if self.options.get(name):
                raise ConfigError(
                    "caption dropout shows the model an empty text, and there is no encoding of it",
                    where=name,
                    fix="connect a CLIP to Train, or the conditioning of an empty text to the "
                    f"input empty_conditioning of the dataset; or set {name} = 0",
                )


class DatasetFolder:
    CATEGORY = "LyCORIS/dataset"
    DESCRIPTION = (
        "Reads the pictures and captions of a folder, to train a LoRA on them. A folder in which a "
        "file changed is read again."
    )
    SEARCH_ALIASES = ("training data", "image folder", "captions", "load images")
    RETURN_TYPES = (TYPE, "STRING")
    RETURN_NAMES = ("dataset", "summary")
    OUTPUT_TOOLTIPS = ("The pictures to train on, for Train LoRA.", "What was found, as a text.")
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        folder = _folder("folder", _FOLDER, _TYPED)
        return inputs((*folder, *map(widget, (*_CUT, *_OF_FILES))), (more(_ADVANCED, _NAME),))

    @classmethod
    def VALIDATE_INPUTS(cls, folder: str | None = None, path: str | None = None) -> bool | str:
        """Refuse a wrong folder before the workflow runs; None comes from another node, later."""
        if folder is None or path is None:
            return True
        try:
            _check_folder(picture_folder(_chosen(folder, path)))
        except LycorisExtError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(
        cls, folder: str | None = None, path: str | None = None, **_: Any
    ) -> str | float:
        """Return a text that changes with the pictures and captions that are read.

        If the folder comes from another node, the data set is read each time; Train then finds out
        that it has trained on the same pictures already.
        """
        if folder is None or path is None:
            return float("nan")
        return fingerprint(_chosen(folder, path))

    def read(
        self, folder: str, path: str = "", advanced: Values | None = None, **values: Any
    ) -> tuple[Dataset, str]:
        given = joined(advanced, values)
        options = _read(given)
        root = picture_folder(_chosen(folder, path))
        _check_folder(root)
        options["image_dir" if "image_dir" in options_for(root) else "train_data_dir"] = str(root)
        reg_folder = _chosen(given.get("reg_folder", ""), given.get("reg_path", ""))
        if reg_folder:
            options["reg_data_dir"] = str(picture_folder(reg_folder))
        check(options)
        scan = _scanned(options)
        summary = "\n".join([*_summary(scan.pictures), *finding_lines(scan.findings)])
        return Dataset(options), summary


IMAGES = link("images", "IMAGE", "Batches or lists of images, of any sizes.")
TEXTS = Widget(
    "captions",
    "STRING",
    {
        "default": "",
        "multiline": True,
        "tooltip": "One caption on each line, or a list of captions from another node: one for "
        "each image, or a single one for all images.",
    },
)
ENCODED = link(
    "conditioning",
    "CONDITIONING",
    "Encoded captions, which are used instead of the texts in captions: one for each image, or a "
    "single one for all images. Train LoRA then needs no CLIP.",
)
EMPTY = link(
    "empty_conditioning",
    "CONDITIONING",
    "The encoding of an empty text, which caption dropout shows in place of some conditionings. "
    "Not connected: Train LoRA's CLIP makes it.",
)


class DatasetImages:
    CATEGORY = "LyCORIS/dataset"
    DESCRIPTION = (
        "Makes a dataset to train a LoRA on of images from other nodes, with a caption or "
        "conditioning for each image."
    )
    SEARCH_ALIASES = ("training data", "captions")
    RETURN_TYPES = (TYPE, "STRING")
    RETURN_NAMES = ("dataset", "summary")
    OUTPUT_TOOLTIPS = ("The pictures to train on, for Train LoRA.", "What was found, as a text.")
    FUNCTION = "read"
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        cut = [widget(name, _SENTENCES.get(name)) for name in _CUT]
        return inputs((IMAGES, TEXTS, *cut), (ENCODED, more(_ADVANCED, _NAME), EMPTY))

    def read(
        self,
        images: list[Tensor],
        captions: list[str],
        conditioning: list[Any] | None = None,
        advanced: list[Values] | None = None,
        empty_conditioning: list[Any] | None = None,
        **values: list[Any],
    ) -> tuple[Dataset, str]:
        own = {name: value[0] for name, value in values.items()}
        options = _read(joined(advanced[0] if advanced else None, own))
        pictures = [png(picture) for batch in images for picture in to_pictures(batch)]
        texts = [line.strip() for text in captions for line in text.splitlines() if line.strip()]
        encoded: dict[str, Any] = {}
        notes = [_NOT_READ] if texts and conditioning else []
        if conditioning:
            texts, encoded = encoded_captions(conditioning, empty_conditioning, options)
            check_count(len(texts), len(pictures), "conditionings")
        check_count(len(texts), len(pictures), "captions")
        texts = texts * (len(pictures) if len(texts) == 1 else 1)
        options["image_dir"] = str(write(pictures, texts))
        check(options)
        summary = [*_summary(_scanned(options).pictures), *notes]
        return Dataset(options, encoded), "\n".join(summary)


class _More(Advanced):
    TYPE, PLAIN = _ADVANCED, _NAME
    CATEGORY = "LyCORIS/dataset/advanced"
    GROUP = ""

    @classmethod
    def widgets(cls) -> Sequence[Widget]:
        return [widget(name) for name in _options_of(cls.GROUP)]


class DatasetTags(_More):
    DESCRIPTION = "Which tags of captions keep their place, and which are left out at times."
    GROUP = "tags"


class DatasetCaptions(_More):
    DESCRIPTION = "Texts around captions, wildcards, pictures without captions, long captions."
    GROUP = "captions"


class DatasetPictures(_More):
    DESCRIPTION = "How pictures are cut, masks by transparency, and regularisation pictures."
    GROUP = "pictures"

    @classmethod
    def widgets(cls) -> Sequence[Widget]:
        return [*super().widgets(), *_folder("reg_folder", _REG_FOLDER, _NO_FOLDER)]

    @classmethod
    def VALIDATE_INPUTS(cls, reg_folder: str | None = None) -> bool:
        """Leave a folder that the list lacks to the Dataset node, which says what is wrong."""
        return True

    @classmethod
    def IS_CHANGED(
        cls, reg_folder: str | None = None, reg_path: str | None = None, **_: Any
    ) -> str | float:
        """Return a text that changes when a file is added, removed or written."""
        if reg_folder is None or reg_path is None:  # comes from another node
            return float("nan")
        chosen = _chosen(reg_folder, reg_path)
        return fingerprint(chosen) if chosen else ""


def _scanned(options: Options) -> Scan:
    own = {name: value for name, value in options.items() if name in DataConfig.options()}
    return scan_folders(DataConfig(**own))


def _read(given: Values) -> Options:
    return read_options([widget(name) for name in given if name in all_options()], given)


def _chosen(folder: str, path: str) -> str:
    """Return the folder that a list and a field for another path name; "" for neither."""
    return path.strip() or ("" if folder in (_TYPED, _NO_FOLDER) else folder)


def _check_folder(path: Path) -> None:
    if list_folder(path) == ([], ""):
        raise ConfigError(
            "the folder is empty", where=str(path), fix="put pictures and their captions there"
        )


def check_count(found: int, pictures: int, what: str) -> None:
    if found not in (1, pictures):
        raise ConfigError(
            f"{found} {what} for {count(pictures, 'image')}",
            where=what,
            fix=f"give {pictures} {what}, or one for all",
        )


def write(pictures: list[bytes], captions: list[str]) -> Path:
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
