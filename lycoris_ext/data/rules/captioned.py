"""What rules about captions look at: the pictures that have one, and their tags."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lycoris_ext.data.scan import Picture, Scan

COUNTS = re.compile(r"\d+\+? ?(?:girls?|boys?|others?)|multiple .*|solo|no humans", re.I)
"""Tags of booru sites for what is counted in a picture; they stand first, and belong to nobody."""


def captioned(scan: Scan) -> Iterator[Picture]:
    """Yield each picture file that has a caption of its own once."""
    pictures = {picture.path: picture for picture in scan.pictures if picture.has_caption_file}
    yield from pictures.values()


def tags_of(picture: Picture) -> list[str]:
    """Return the tags in the first line of a caption, empty ones included."""
    first_line = picture.caption.partition("\n")[0]
    return [tag.strip() for tag in first_line.split(picture.subset.caption_separator)]
