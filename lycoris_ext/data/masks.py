"""Masks from a folder: pictures whose red channel says how much each place counts in the loss.

sd-scripts calls the folder conditioning_data_dir and switches masks on with masked_loss. There, a
mask is squeezed to its picture's bucket; here it is scaled and cropped as its picture is, so that
the two lie on each other where the crop cuts something off, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lycoris_ext.data.buckets import Resolution
from lycoris_ext.data.picture_files import is_picture, list_folder
from lycoris_ext.data.pictures import open_picture

_SHARE_APART = 0.01
"""Sides of a mask may differ from those of its picture, once scaled, by this share or a pixel."""


@dataclass(frozen=True)
class MaskFolder:
    """The masks of the pictures in one folder.

    Args:
        folder: that holds the masks.
        fault: why it cannot be read, such as "does not exist"; "" if it can be read.
        files: name of each mask without its ending -> the file.
    """

    folder: Path
    fault: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)

    def of(self, picture: Path) -> Path | None:
        """Return the mask of a picture: the file of the same name, whatever its ending."""
        return self.files.get(picture.stem)


def read_masks(folder: Path, pictures: Path) -> MaskFolder:
    """List the masks of a folder of pictures.

    Args:
        folder: conditioning_data_dir. If it has a folder that is called like that of the pictures,
            the masks lie there.
        pictures: the folder of the pictures.
    """
    own = folder / pictures.name
    place = own if pictures.name and own.is_dir() else folder
    if place.resolve() == pictures.resolve():
        return MaskFolder(place, "is the folder of the pictures themselves")
    paths, fault = list_folder(place)
    files: dict[str, Path] = {}
    for path in paths:
        if is_picture(path):
            files.setdefault(path.stem, path)  # of several endings the first, as in sd-scripts
    return MaskFolder(place, fault, files)


def fits(mask: Resolution, picture: Resolution) -> bool:
    """Tell whether a mask has the proportions of its picture; it may be smaller or larger."""
    height = mask[0] * picture[1] / picture[0]
    return abs(height - mask[1]) <= max(1.0, _SHARE_APART * mask[1])


def masked(picture: Image.Image, mask: Path, digest: str | None = None) -> Image.Image:
    """Put a mask into the transparency of a picture, in place of what it had there.

    Args:
        picture: RGB or RGBA.
        mask: the file; its red channel counts, whatever is transparent in it.
        digest: hash of the file, to notice that it changed; None: do not compare.

    Returns:
        RGBA of the picture's size.

    Raises:
        DataError: the mask cannot be read, or has changed.
    """
    red = open_picture(mask, alpha_mask=True, digest=digest).getchannel("R")
    if red.size != picture.size:
        red = red.resize(picture.size, Image.Resampling.BILINEAR)
    bands = picture.split()[:3]
    return Image.merge("RGBA", (*bands, red))
