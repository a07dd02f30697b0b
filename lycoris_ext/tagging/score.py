"""Run a tagger over pictures; what is done is kept, so that nothing is done twice.

The confidences of a picture are kept in a cache under a hash of its bytes and of the tagger. A run
that was killed goes on where it was, and one with other thresholds computes nothing.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lycoris_ext.data.pictures import hashed_picture, quiet_pillow
from lycoris_ext.data.store import TensorStore, cache_key
from lycoris_ext.errors import DataError
from lycoris_ext.tagging.model import OnnxTagger
from lycoris_ext.tagging.options import TaggingOptions
from lycoris_ext.tagging.preprocess import prepared

SCORES_VERSION = 1
"""Part of every key. Raise it when pictures are decoded or prepared differently."""
KEPT_FROM = 0.05
"""Confidences below are not kept, unless a threshold is lower: of thousands, nearly all are."""
MOST_THREADS = 4
Scores = dict[int, float]


@dataclass(frozen=True)
class Scored:
    """What became of a picture.

    Args:
        path: the file.
        scores: output -> confidence, without most of the small ones; {} if there is an error.
        error: why it could not be read.
        was_kept: whether an earlier run computed it.
    """

    path: Path
    scores: Scores
    error: DataError | None = None
    was_kept: bool = False


@dataclass(frozen=True)
class _Read:
    """A picture that a thread has read: its key, and what is kept under it, or its pixels."""

    path: Path
    key: str = ""
    kept: Scores | None = None
    pixels: NDArray[np.float32] | None = None
    error: DataError | None = None


def score_pictures(
    paths: Sequence[Path], tagger: OnnxTagger, store: TensorStore, options: TaggingOptions
) -> Iterator[Scored]:
    """Yield the confidences of pictures, in any order; a picture that is damaged stops nothing.

    Args:
        paths: the files.
        tagger: what is run.
        store: keeps the confidences.
        options: batch_size, threads and thresholds are read.

    Raises:
        FormatError: the tagger is none.
        EnvironmentFault: the cache cannot be read or written.
    """
    scorer = _Scorer(tagger, store, min(KEPT_FROM, options.lowest()))
    size = tagger.batch or options.batch_size
    batch: list[_Read] = []
    for read in _read_ahead(paths, scorer.read, _threads(options), size):
        if read.pixels is not None:
            batch.append(read)
            if len(batch) == size:
                yield from scorer.run(batch)
                batch = []
        else:
            yield Scored(read.path, read.kept or {}, read.error, was_kept=read.kept is not None)
    if batch:
        yield from scorer.run(batch)


class _Scorer:
    def __init__(self, tagger: OnnxTagger, store: TensorStore, least: float) -> None:
        self._tagger, self._store, self._least = tagger, store, least
        self._always = np.array(tagger.labels.of("rating", "quality"), dtype=np.int64)

    def read(self, path: Path) -> _Read:
        """Read a picture, in any thread."""
        kept: list[Scores] = []

        def is_known(digest: str) -> bool:
            found = self._store.load(self._key(digest))
            if found is not None:
                numbers, values = found["outputs"].tolist(), found["confidences"].tolist()
                kept.append(dict(zip(numbers, values, strict=True)))
            return bool(kept)

        try:
            digest, picture = hashed_picture(path, is_known)
        except DataError as error:
            return _Read(path, error=error)
        if picture is None:
            return _Read(path, kept=kept[0])
        return _Read(path, self._key(digest), pixels=prepared(picture, self._tagger.size))

    def run(self, batch: Sequence[_Read]) -> Iterator[Scored]:
        """Run the tagger on a batch, and keep what it says."""
        answers = self._tagger.scores(
            np.stack([one.pixels for one in batch if one.pixels is not None])
        )
        for one, confidences in zip(batch, answers, strict=True):
            wanted = np.union1d(np.flatnonzero(confidences >= self._least), self._always)
            found = confidences[wanted]
            self._store.save(
                one.key,
                {"outputs": torch.tensor(wanted), "confidences": torch.tensor(found)},
            )
            yield Scored(one.path, dict(zip(wanted.tolist(), found.tolist(), strict=True)))

    def _key(self, digest: str) -> str:
        return cache_key(
            kind="tags",
            version=SCORES_VERSION,
            picture=digest,
            tagger=self._tagger.digest,
            by_confidence=self._tagger.labels.by_confidence,
            always=self._always.tolist(),
            least=self._least,
        )


def _threads(options: TaggingOptions) -> int:
    return options.max_data_loader_n_workers or min(MOST_THREADS, os.cpu_count() or 1)


def _read_ahead(
    paths: Sequence[Path], read: Callable[[Path], _Read], threads: int, batch: int
) -> Iterator[_Read]:
    """Read files in threads, in their order, but only a batch ahead of who takes them."""
    waiting: deque[Future[_Read]] = deque()
    with quiet_pillow(), ThreadPoolExecutor(threads) as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(read, path))
                if len(waiting) >= threads + batch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
