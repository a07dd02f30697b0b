"""A hash of all that a data set brings to training: the same hash, the same training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.scan import CheckedPicture
from lycoris_ext.data.subset import Subset, SubsetOptions


def fingerprint(config: DataConfig, checked: Sequence[CheckedPicture]) -> str:
    """Hash names, bytes, captions and repeats, and what subsets decide for themselves.

    Args:
        config: the data set's own options, which are compared by themselves.
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
    """Options of a subset that differ from the data set's; repeats are those of the picture."""
    own = {
        name: getattr(subset, name)
        for name in SubsetOptions.options()
        if name != "num_repeats" and getattr(subset, name) != getattr(config, name)
    }
    return [own] if own else []
