"""The order of the training samples as a function, so that a run can go on anywhere on any number of workers.

The stream of samples is permutation(seed, 0), permutation(seed, 1), … joined end to end. A position is the number of
samples consumed by all ranks together; global batch k holds the samples k·B to (k+1)·B − 1. A batch that reaches
over the end of an epoch is filled up with the first samples of the next: no sample is dropped, every batch is full.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=2)
def permutation(samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of `samples` indices in an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def batch_indices(
    samples: int, seed: int, position: int, batch: int, rank: int = 0, world: int = 1
) -> NDArray[np.int64]:
    """Indices of one rank's slice of the global batch that starts at `position`.

    Args:
        samples: Size of the training set.
        seed: Of the whole run.
        position: Samples consumed so far by all ranks.
        batch: Global batch size, a multiple of `world`.
        rank: This worker, 0 ≤ rank < world.
        world: Number of workers.

    Returns:
        Int64[batch / world].
    """
    share = batch // world
    places = np.arange(position + rank * share, position + (rank + 1) * share)
    epochs, offsets = np.divmod(places, samples)
    return np.concatenate([permutation(samples, seed, int(e))[offsets[epochs == e]] for e in np.unique(epochs)])


_MATES = 1
"""Keeps the draws of mates apart from the permutations of the same seed."""


class StudyMates:
    """For every image the images of its study: other views of, mostly, the same region.

    As second view they teach what crops and turns of one image cannot: that a lateral projection shows the same
    region (Azizi et al., arXiv 2101.05224, section 3.2; Sowrirajan et al., arXiv 2102.10663).

    Args:
        studies: Number of each image's study, −1 where unknown.
        largest: Studies of more images than this are left out: they show many regions.
    """

    def __init__(self, studies: NDArray[np.int64], largest: int = 6) -> None:
        self._order = np.argsort(studies, kind="stable")
        self._place = np.argsort(self._order)
        ranked = studies[self._order]
        self._first = np.searchsorted(ranked, studies, side="left")
        self._count = np.searchsorted(ranked, studies, side="right") - self._first
        self._count[(studies < 0) | (self._count > largest)] = 0

    def draw(self, index: NDArray[np.int64], share: float, seed: tuple[int, ...]) -> NDArray[np.int64]:
        """The image that gives the second view of each image of the global batch.

        Args:
            index: Int64[batch], images of the first views.
            share: Probability, 0 to 1, that another image of the study is taken where there is one.
            seed: The same numbers give the same draw.

        Returns:
            Int64[batch].
        """
        chance = np.random.default_rng((*seed, _MATES)).random((2, len(index)))
        first, others = self._first[index], self._count[index] - 1
        own = self._place[index] - first
        offset = np.minimum((chance[1] * others).astype(np.int64), others - 1)
        offset += offset >= own  # every mate but the image itself
        mate = self._order[np.where(others > 0, first + offset, 0)]
        return np.where((others > 0) & (chance[0] < share), mate, index)


class GroupedOrder:
    """The order of samples where a table is read in whole row groups, in pieces of the stream.

    An epoch is a permutation of the groups, joined end to end, cut where the stream reaches a multiple of `chunk`,
    and permuted within each piece: every sample once an epoch, and a chunk needs few groups. Within a batch samples
    stand in the order of the table, so that ranks of one batch need different groups.

    Args:
        first: Int64[groups + 1]: the first sample of each group; the last entry is their number.
        seed: Of the whole run.
        chunk: Samples that are permuted together.
    """

    def __init__(self, first: NDArray[np.int64], seed: int, chunk: int) -> None:
        self._first, self._seed, self.chunk = first, seed, chunk
        self._samples = int(first[-1])

    @lru_cache(maxsize=4)  # noqa: B019 (few orders, each as long as the training)
    def piece(self, number: int) -> NDArray[np.int64]:
        """The samples at stream positions `number` × chunk to (`number` + 1) × chunk − 1."""
        start, parts = number * self.chunk, []
        for epoch in range(start // self._samples, (start + self.chunk - 1) // self._samples + 1):
            low = max(start - epoch * self._samples, 0)
            high = min(start + self.chunk - epoch * self._samples, self._samples)
            groups = permutation(len(self._first) - 1, self._seed, epoch)
            ends = np.cumsum(self._first[groups + 1] - self._first[groups])
            places = np.arange(low, high)
            which = np.searchsorted(ends, places, side="right")
            found = self._first[groups[which] + 1] - (ends[which] - places)
            parts.append(np.random.default_rng([self._seed, epoch, number]).permutation(found))
        return np.concatenate(parts)

    def batch(self, position: int, size: int) -> NDArray[np.int64]:
        """The samples of the batch of `size` that starts at `position`."""
        numbers = range(position // self.chunk, (position + size - 1) // self.chunk + 1)
        pieces = np.concatenate([self.piece(number) for number in numbers])
        start = position - numbers[0] * self.chunk
        return np.sort(pieces[start : start + size])
