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
