"""Hash everything in a data set that influences training, so that resuming can compare it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.scan import CheckedPicture
from lycoris_ext.data.subset import Subset, SubsetOptions

_PARTS = {"the picture": 3, "its caption": 3, "its repeats or options": 2}
"""What the hash of a picture tells apart -> bytes of the hash. They only say what changed; that
something did is found by the fingerprint."""

_HASHED_OTHERWISE = ("num_repeats", "level_rules")
"""Options of subsets of which only the effect is hashed, on repeats and captions."""


def fingerprint(config: DataConfig, checked: Sequence[CheckedPicture]) -> str:
    """Hash names, bytes, captions and repeats of all pictures, and the options of subsets.

    Args:
        config: the options of the whole data set. They are not part of the hash, because resuming
            compares them one by one; only a subset's options that differ from them are.
        checked: every picture that is trained.

    Returns:
        32 hexadecimal digits.
    """
    return _hash([[name, *parts, *rest] for name, *parts, rest in _rows(config, checked)], 16)


def picture_hashes(config: DataConfig, checked: Sequence[CheckedPicture]) -> dict[str, str]:
    """Hash each picture for itself, so that ``changes`` can name those that are not as they were.

    Args:
        config, checked: as for ``fingerprint``.

    Returns:
        The picture's path below the folder that the config names -> 16 hexadecimal digits.
        Pictures of the same path in several such folders are numbered.
    """
    seen: Counter[str] = Counter()
    hashes = {}
    for name, digest, caption, repeats, rest in _rows(config, checked):
        # A file name on Linux need not be text; the state holds text alone.
        text = name.encode("utf-8", "backslashreplace").decode("utf-8")
        seen[text] += 1
        unique = text if seen[text] == 1 else f"{text} ({seen[text]})"
        parts = zip((digest, caption, [repeats, *rest]), _PARTS.values(), strict=True)
        hashes[unique] = "".join(_hash(part, size) for part, size in parts)
    return hashes


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Say of each picture that is not as it was what changed, such as "a.png: its caption changed".

    Args:
        before, after: what ``picture_hashes`` returned then and now.
    """
    told = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            told.append(f"{name}: is gone")
        elif name not in before:
            told.append(f"{name}: is new")
        elif before[name] != after[name]:
            told.append(f"{name}: {' and '.join(_changed(before[name], after[name]))} changed")
    return told


def _changed(before: str, after: str) -> list[str]:
    start, found = 0, []
    for part, size in _PARTS.items():
        end = start + 2 * size
        found += [part] if before[start:end] != after[start:end] else []
        start = end
    return found


def _rows(config: DataConfig, checked: Sequence[CheckedPicture]) -> list[list[Any]]:
    """Return [name, hash of the bytes, caption, repeats, [whatever else is not usual]] of each."""
    subsets = {id(one.picture.subset): one.picture.subset for one in checked}
    own = {key: _own_options(subset, config) for key, subset in subsets.items()}
    return [
        [
            one.picture.path.relative_to(one.picture.root).as_posix(),
            one.file.digest,
            [list(field) for field in one.picture.fields] or one.picture.caption,
            one.picture.repeats,
            [
                *(["reg"] if one.picture.is_reg else []),
                *(["held out"] if one.picture.is_held_out else []),
                *own[id(one.picture.subset)],
            ],
        ]
        for one in checked
    ]


def _hash(content: object, size: int) -> str:
    text = json.dumps(content, ensure_ascii=False)
    # surrogatepass: a file name on Linux need not be text in any encoding.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _own_options(subset: Subset, config: DataConfig) -> list[dict[str, object]]:
    """Return the options in which a subset differs from the data set."""
    own = {
        name: getattr(subset, name)
        for name in SubsetOptions.options()
        if name not in _HASHED_OTHERWISE and getattr(subset, name) != getattr(config, name)
    }
    return [own] if own else []
