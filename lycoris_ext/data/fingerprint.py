"""Hash everything in a data set that influences training, so that resuming can compare it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.scan import CheckedPicture
from lycoris_ext.data.subset import Subset, SubsetOptions


def fingerprint(config: DataConfig, checked: Sequence[CheckedPicture]) -> str:
    """Hash names, bytes, captions and repeats of all pictures, and the options of subsets.

    Args:
        config: the options of the whole data set. They are not part of the hash, because resuming
            compares them one by one; only a subset's options that differ from them are.
        checked: every picture that is trained.

    Returns:
        32 hexadecimal digits.
    """
    subsets = {id(one.picture.subset): one.picture.subset for one in checked}
    own = {key: _own_options(subset, config) for key, subset in subsets.items()}
    content = [
        [
            one.picture.path.relative_to(one.picture.root).as_posix(),
            one.file.digest,
            one.picture.caption,
            one.picture.repeats,
            *(["reg"] if one.picture.is_reg else []),
            *own[id(one.picture.subset)],
        ]
        for one in checked
    ]
    text = json.dumps(content, ensure_ascii=False)
    # surrogatepass: a file name on Linux need not be text in any encoding.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _own_options(subset: Subset, config: DataConfig) -> list[dict[str, object]]:
    """Return the options in which a subset differs from the data set; repeats are hashed above."""
    own = {
        name: getattr(subset, name)
        for name in SubsetOptions.options()
        if name != "num_repeats" and getattr(subset, name) != getattr(config, name)
    }
    return [own] if own else []
