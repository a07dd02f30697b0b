"""What is done to a caption each time its picture is shown: shuffling and dropping, as sd-scripts
does it.
"""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.randomness import python_random
from lycoris_ext.errors import DataError


def read_caption(path: Path) -> tuple[str, bool]:
    """Read a caption file: its first line, as sd-scripts does, and whether more lines follow.

    A UTF-8 byte order mark, which Windows' Notepad writes, is dropped.

    Raises:
        DataError: the file is not UTF-8; the message gives the byte.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise DataError(
            f"the caption is {kind} (byte {error.start} is 0x{raw[error.start]:02x})",
            where=str(path),
            fix="save the file as UTF-8",
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else ""), len(lines) > 1


def caption_for(caption: str, config: DataConfig, *, seed: int, epoch: int, sample_id: int) -> str:
    """The caption of one showing: dropped, shuffled and thinned as a function of (seed, epoch,
    sample id).

    Args:
        caption: the text of the caption file.
        config: shuffle_caption, keep_tokens and the two dropout rates.
        seed, epoch, sample_id: what the random decisions depend on, and nothing else.

    Returns:
        The caption to encode; "" when it was dropped.
    """
    dropout = python_random(seed, "caption dropout", epoch, sample_id).random()
    if dropout < config.caption_dropout_rate:
        return ""
    if not config.shuffle_caption and config.caption_tag_dropout_rate <= 0.0:
        return caption
    tags = [tag.strip() for tag in caption.split(config.caption_separator)]
    tags = [tag for tag in tags if tag]
    kept, loose = tags[: config.keep_tokens], tags[config.keep_tokens :]
    if config.shuffle_caption:
        python_random(seed, "caption shuffle", epoch, sample_id).shuffle(loose)
    if config.caption_tag_dropout_rate > 0.0:
        rng = python_random(seed, "tag dropout", epoch, sample_id)
        loose = [tag for tag in loose if rng.random() >= config.caption_tag_dropout_rate]
    return ", ".join(kept + loose)
