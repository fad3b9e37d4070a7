"""What the loop takes: batches of images at a position of the sample stream, from memory or from a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from radray.images.places import spread_evenly
from radray.pretrain.order import StudyMates, batch_indices

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The part of the sample stream that one rank wants: its share of each batch from `position` to `end`."""

    seed: int
    position: int
    """Samples consumed so far by all ranks."""
    end: int
    """The last batch starts before it."""
    batch: int
    """Samples that all ranks take together at a time, a multiple of `world`."""
    rank: int = 0
    world: int = 1
    study_mates: float = 0.0
    """Probability that a second view comes from another image of the same study; 0 for one image a sample."""

    @property
    def share(self) -> int:
        """Samples of this rank in a batch."""
        return self.batch // self.world


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One rank's share of a batch; n = share."""

    position: int
    """Where the whole batch starts."""
    rows: Rows
    """Int64[n]: rows of the training set."""
    pixels: Pixels
    """UInt8[n, side, side]."""
    labels: Rows
    """Int64[n]; −1 where there is no label."""
    mate_rows: Rows | None = None
    """Int64[n]: rows that the second views come from, where they may be other images."""
    mate_pixels: Pixels | None = None
    """UInt8[n, side, side]."""


class Samples(Protocol):
    """A training set, the same on every rank."""

    @property
    def side_px(self) -> int:
        """Side of the stored images."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Int64[samples]; −1 where there is no label."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the classes."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(self, wanted: Slice) -> Iterator[Batch]:
        """One rank's shares of successive batches."""

    def names(self, rows: Rows) -> list[str]:
        """URLs of some images, to tell which batch cannot be trained on."""

    def read(self, rows: Rows) -> Pixels:
        """Pixels of some images: UInt8[rows, side, side]."""

    def with_labels(self, labels: NDArray[np.int64]) -> Samples:
        """The same images with other labels, Int64[samples]."""

    def take(self, rows: Rows) -> Samples:
        """Only some of the images, in rising order of rows."""

    def spread(self, rows: Rows, most: int) -> Rows:
        """Up to `most` of some rows, spread over the table and cheap to read."""


@dataclass(frozen=True)
class TrainingSet:
    """Images in memory, or memory-mapped from this machine's disk."""

    images: Pixels
    """UInt8[samples, side, side]."""
    labels: NDArray[np.int64]
    """Int64[samples]; −1 where there is no label."""
    uris: list[str]
    """Their URLs."""
    regions: tuple[str, ...]
    """Names of the classes."""
    studies: NDArray[np.int64] | None = None
    """Int64[samples]: number of each image's study, −1 where unknown; None where nothing is known."""
    places: NDArray[np.int64] | None = None
    """Int64[samples]: where in `images` each sample is; None where they are in the same order."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    def side_px(self) -> int:
        """Side of the stored images."""
        return int(self.images.shape[-1])

    def names(self, rows: Rows) -> list[str]:
        """URLs of some images."""
        return [self.uris[row] for row in rows]

    def read(self, rows: Rows) -> Pixels:
        """Pixels of some images: UInt8[rows, side, side]."""
        return self.images[rows if self.places is None else self.places[rows]]

    def with_labels(self, labels: NDArray[np.int64]) -> TrainingSet:
        """The same images with other labels, Int64[samples]."""
        return dataclasses.replace(self, labels=labels)

    def take(self, rows: Rows) -> TrainingSet:
        """Only some of the images."""
        studies = None if self.studies is None else self.studies[rows]
        places = rows if self.places is None else self.places[rows]
        return TrainingSet(self.images, self.labels[rows], self.names(rows), self.regions, studies, places)

    def spread(self, rows: Rows, most: int) -> Rows:
        """Up to `most` of some rows, spread over the table."""
        return spread_evenly(rows, most)

    @cached_property
    def _mates(self) -> StudyMates | None:
        return None if self.studies is None else StudyMates(self.studies)

    def batches(self, wanted: Slice) -> Iterator[Batch]:
        """One rank's shares of successive batches, in the order of `radray.pretrain.order`."""
        mine = slice(wanted.rank * wanted.share, (wanted.rank + 1) * wanted.share)
        for position in range(wanted.position, wanted.end, wanted.batch):
            everyone = batch_indices(len(self), wanted.seed, position, wanted.batch)
            rows, shown = everyone[mine], None
            if wanted.study_mates and self._mates is not None:
                # Drawn for the whole batch, so that the number of ranks changes nothing.
                shown = self._mates.draw(everyone, wanted.study_mates, (wanted.seed, position))[mine]
            yield Batch(
                position=position,
                rows=rows,
                pixels=self.read(rows),
                labels=self.labels[rows],
                mate_rows=shown,
                mate_pixels=None if shown is None else self.read(shown),
            )
